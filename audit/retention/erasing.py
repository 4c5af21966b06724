"""Erase what the trail holds of a person: who acted and what was in it, of every event that names them.

The events stay, with their numbers and proofs: a leaf covers a salted digest of its private part only. The ledger
comes first, in one transaction with a plan of the rest; store, archives and transcripts follow (`settling`), again
after a crash, so that nothing is ever sent from where it is still whole to where it was erased.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from audit import ledger
from audit.events import Event, EventType
from audit.exceptions import EventsUnderWay
from audit.lease import get_head
from audit.models import ArchivedSegment, Erasure, TranscriptEntry
from audit.retention.archives import archive_path
from audit.retention.erasures import write_ranges
from audit.retention.files import iterate_archived
from audit.wire import read_body

# Where a body names a person without "user:" before it; elsewhere the same word may be something else.
PERSON_KEYS: Final = frozenset({"formerly", "grantedBy", "owner", "submittedBy", "user"})
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Where the trail names a person: numbers of events in the stores, and by archive."""

    seqs: Sequence[int]
    archived: Mapping[str, Sequence[int]]

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self.seqs) + sum(len(seqs) for seqs in self.archived.values())

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({*self.seqs, *(seq for seqs in self.archived.values() for seq in seqs)}))


def make_subject() -> str:
    """Return a name for somebody who is to have none; it is random, since a digest of a name can be guessed."""
    return f"erased-{secrets.token_hex(6)}"


def find_traces(name: str) -> Traces:
    """Return where the trail names a user; to be called while the archives are held.

    Raises: EventsUnderWay if some of it is still on its way to the store; ArchiveFailed.
    """
    shipped = get_head().shipped_seq
    found = [seq for seq, actor, body in ledger.search(name) if names(actor, read_body(body), name)]
    if any(seq is None or seq > shipped for seq in found):
        raise EventsUnderWay("events that name this person are still on their way to the store. Nothing was erased")
    rows = ArchivedSegment.objects.order_by("to_seq")
    archived = {row.file: _search_archive(row.file, name) for row in rows}
    return Traces(
        seqs=[seq for seq in found if seq is not None], archived={file: seqs for file, seqs in archived.items() if seqs}
    )


def _search_archive(file: str, name: str) -> list[int]:
    return [
        document["seq"]
        for document in iterate_archived(archive_path(file))
        if names(document["actor"] or "", read_body(document["body"]), name)
    ]


def names(actor: str, body: Any, name: str) -> bool:
    """Tell whether an event names a user: as its actor, or as a value anywhere in its body."""
    return actor == f"user:{name}" or _mentions(body, name)


def _mentions(value: Any, name: str, *, key: str = "") -> bool:
    match value:
        case dict():
            return any(_mentions(inner, name, key=inner_key) for inner_key, inner in value.items())
        case list():
            return any(_mentions(inner, name, key=key) for inner in value)
    return value == f"user:{name}" or (value == name and key in PERSON_KEYS)


def erase(traces: Traces, *, subject: str, tasks: Collection[str], reason: str, actor: str, now: datetime) -> Erasure:
    """Erase in the ledger and plan the rest, inside the caller's transaction; `settling.settle` carries it out."""
    for start in range(0, len(traces.seqs), _CHUNK):
        ledger.blank(traces.seqs[start : start + _CHUNK])
    TranscriptEntry.objects.filter(task_id__in=tasks).delete()
    body = {
        "subject": subject,
        "reason": reason,
        "events": traces.count,
        "ranges": write_ranges(traces),
        "archives": sorted(traces.archived),
        "transcripts": len(tasks),
    }
    ledger.record(Event(type=EventType.PERSON_ERASED, at=now, actor=actor, body=body))
    return Erasure.objects.create(
        subject=subject, at=now, seqs=list(traces.seqs), archived=dict(traces.archived), tasks=sorted(tasks)
    )


def shorten_journal() -> None:
    """Have SQLite's write-ahead log, which still holds what was, brought in and cut; PostgreSQL has VACUUM."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
