"""Who reads transcripts: the task page, the download and the API. The last two are audited, and who takes a result."""

import tempfile
from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO, Final, cast

import orjson

from agents.models import Step, Task
from agents.queue import task_event
from agents.transcript.telling import NOTHING, Told, tell_run
from audit import bodies
from audit.events import EventType
from audit.exceptions import StoreUnavailable
from audit.exploring.queries import find_decision_seqs
from audit.ledger import record
from audit.transactions import write_transaction
from audit.transcript_reading import Transcript, read_transcript
from toolgate.models import DecisionRecord

MAX_PAGE: Final = 1_000
_PAGE_BYTES: Final = 2_000_000  # of entries that a task page reads; the steps tell of the rest
_SPOOL_BYTES: Final = 4_000_000  # of a download that stay in memory


def tell_task(task: Task, *, steps: Sequence[Step], decisions: Sequence[DecisionRecord]) -> tuple[Told, bool]:
    """Return the moments of an agent's own run, and whether only its steps could be asked: the store is away."""
    if task.skill_id:
        return NOTHING, False
    try:
        entries = read_transcript(task.id, limit=MAX_PAGE, max_bytes=_PAGE_BYTES).entries
        seqs = find_decision_seqs(task.id)
    except StoreUnavailable:
        return tell_run([], steps=steps, decisions=decisions, seqs={}), True
    return tell_run(entries, steps=steps, decisions=decisions, seqs=seqs), False


def open_transcript(task: Task, *, actor: str, now: datetime) -> BinaryIO:
    """Return a task's whole transcript as a JSON file, opened at its beginning, with its audit event.

    Raises: StoreUnavailable.
    """
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))  # noqa: SIM115  (handed out open)
    try:
        count = _write(file, task)
        _record_read(task, actor=actor, now=now, way="download", entries=count)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def read_page(task: Task, *, after: int, limit: int, actor: str, now: datetime) -> Transcript:
    """Return a part of a task's transcript, with its audit event.

    Raises: StoreUnavailable.
    """
    page = read_transcript(task.id, after=after, limit=limit)
    _record_read(task, actor=actor, now=now, way="api", entries=len(page.entries))
    return page


def _write(file: BinaryIO, task: Task) -> int:
    file.write(b'{"taskId":' + orjson.dumps(task.id) + b',"agentId":' + orjson.dumps(task.agent_id) + b',"entries":[')
    count = 0
    after: int | None = 0
    while after is not None:
        page = read_transcript(task.id, after=after)
        for entry in page.entries:
            file.write((b",\n" if count else b"\n") + orjson.dumps(entry))
            count += 1
        after = page.next_after
    file.write(b"\n]}\n")
    return count


def _record_read(task: Task, *, actor: str, now: datetime, way: str, entries: int) -> None:
    body = bodies.TranscriptRead(way=way, entries=entries)
    with write_transaction():
        record(task_event(EventType.TRANSCRIPT_READ, task, actor=actor, now=now, body=body, cause_id=""))


def record_result_read(task: Task, *, actor: str, now: datetime) -> None:
    """Write down that somebody takes a task's whole result out."""
    body = bodies.PayloadRead(way="download")
    with write_transaction():
        record(task_event(EventType.PAYLOAD_READ, task, actor=actor, now=now, body=body, cause_id=""))
