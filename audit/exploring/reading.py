"""Hand out events as their reader may see them; whoever sees what one held leaves a trace."""

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from audit.bodies import PayloadRead
from audit.events import Event as Trace
from audit.events import EventType
from audit.exploring.redaction import redact, reveal
from audit.ledger import record
from audit.transactions import write_transaction

Event = dict[str, Any]  # in wire form

QUIET: Final = timedelta(minutes=10)  # for so long one person's readings of one entry count as one
_MAX_KEPT: Final = 20_000


class _Recent:
    """Which entries were read by whom a moment ago, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at: dict[tuple[str, int], datetime] = {}

    def pick_unread(self, actor: str, events: Iterable[Event], *, now: datetime) -> list[Event]:
        with self._lock:
            known = self._read_at.get
            return [event for event in events if now - known((actor, event["seq"]), now - QUIET) >= QUIET]

    def note(self, actor: str, events: Iterable[Event], *, now: datetime) -> None:
        with self._lock:
            if len(self._read_at) > _MAX_KEPT:
                self._read_at = {key: at for key, at in self._read_at.items() if now - at < QUIET}
            if len(self._read_at) > _MAX_KEPT:
                self._read_at.clear()  # a trace too many is better than none
            self._read_at |= dict.fromkeys(((actor, event["seq"]) for event in events), now)

    def forget(self) -> None:
        with self._lock:
            self._read_at.clear()


_recent = _Recent()
forget_readings = _recent.forget  # for tests


def show_to(
    events: Sequence[dict[str, Any]], *, actor: str, way: str, sees_payload: bool, now: datetime
) -> list[dict[str, Any]]:
    """Return events in wire form as `actor` may see them: whole, which is recorded before, or redacted.

    `way` says by which door: "page" or "api". One person's readings of one entry within ten minutes count as one.
    """
    if not sees_payload:
        return [redact(event) for event in events]
    held = [event for event in events if event["body"] and event["type"] != EventType.PAYLOAD_READ]
    unread = _recent.pick_unread(actor, held, now=now)
    if unread:
        _record_read(unread, actor=actor, way=way, now=now)
        _recent.note(actor, unread, now=now)
    return [reveal(event) for event in events]


def _record_read(events: Sequence[Event], *, actor: str, way: str, now: datetime) -> None:
    """Write down that `actor` reads what events hold: one entry for all of them."""
    body = PayloadRead(way=way, seqs=[event["seq"] for event in events])
    task_id = ""
    if len(events) == 1:
        body["eventId"], task_id = events[0]["id"], events[0]["taskId"] or ""
    with write_transaction():
        record(Trace(type=EventType.PAYLOAD_READ, at=now, actor=actor, task_id=task_id, body=body))
