"""Exports of the trail: ordered, taken once as a stream, recorded at both ends, kept with what came out.

What a list shows goes out as lines, the log itself as a bundle that proves itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from django.utils import timezone

from audit.background import STALE, Hold
from audit.bundles.bundle import iterate_bundle, prepare_bundle
from audit.events import Event, EventType
from audit.exceptions import RunUnknown
from audit.exploring.filters import Filters, read_filters
from audit.exploring.redaction import redact, reveal
from audit.exploring.rows import Format, make_writer
from audit.exploring.search import find_bounds, list_events
from audit.ids import new_id
from audit.ledger import record
from audit.models import RunState, TrailRun, TrailRunKind
from audit.transactions import write_transaction

FETCH_WITHIN: Final = timedelta(minutes=10)
BUNDLE: Final = "bundle"
_PAGE: Final = 200  # events in memory at once


def order_export(filters: Filters, *, format_: Format, asked_by: str, sees_payload: bool, now: datetime) -> TrailRun:
    """Order an export of what `filters` let through now; it is taken by its id within ten minutes, once.

    Raises: StoreUnavailable.
    """
    lowest, below = find_bounds(filters, before=None)
    details = {"format": format_.value, "filters": filters.describe(), "payload": sees_payload}
    return _order(details, first=lowest, last=max(below - 1, lowest - 1), asked_by=asked_by, now=now)


def order_bundle(*, after: int, asked_by: str, sees_payload: bool, now: datetime) -> TrailRun:
    """Order a bundle of all events after number `after`, up to the newest checkpoint; it is taken as an export is.

    Raises: BadQuery for a range that cannot be had; NotSignedYet.
    """
    bundle = prepare_bundle(after=after, made_by=f"user:{asked_by}", redacted=not sees_payload)
    details = {"format": BUNDLE, "filters": {}, "payload": sees_payload}
    return _order(details, first=bundle.after + 1, last=bundle.to, asked_by=asked_by, now=now)


def _order(details: dict[str, Any], *, first: int, last: int, asked_by: str, now: datetime) -> TrailRun:
    run = TrailRun(
        id=new_id(),
        kind=TrailRunKind.EXPORT,
        asked_by=asked_by,
        created_at=now,
        first_seq=first,
        last_seq=last,
        total=last - first + 1,
        details=details | {"orderedEvent": new_id()},
    )
    with write_transaction():
        run.save(force_insert=True)
        record(_make_event(run, stage="ordered", now=now))
    return run


def take_export(run_id: str, *, asked_by: str, now: datetime) -> "Export":
    """Begin an export that this person ordered. Raises: RunUnknown if there is none that can still be begun."""
    mine = TrailRun.objects.filter(
        id=run_id,
        kind=TrailRunKind.EXPORT,
        asked_by=asked_by,
        state=RunState.WAITING,
        created_at__gt=now - FETCH_WITHIN,
    )
    with write_transaction():
        if not mine.update(state=RunState.RUNNING, beat_at=now):
            raise RunUnknown(
                "There is no export of yours under this address that can still be fetched; order it again."
            )
    run = TrailRun.objects.get(id=run_id)
    return BundleExport(run) if run.details["format"] == BUNDLE else ListExport(run)


@dataclass(slots=True)
class _Counted:
    events: int = 0
    bytes: int = 0


class Export(ABC):
    """One export under way: `parts` gives its bytes, a page in memory at a time; then `finish`, or `give_up`."""

    content_type: str  # what the bytes are
    file_name: str

    def __init__(self, run: TrailRun) -> None:
        self.run = run
        self._hold = Hold(run)
        self._count = _Counted()
        self._hash = sha256()

    @abstractmethod
    def parts(self) -> Iterator[bytes]:
        """Give the export but for what `finish` returns. Raises: StoreUnavailable; Lost."""

    @abstractmethod
    def _end(self, digest: str) -> bytes:
        """Return what stands last; `digest` is of all before it."""

    def finish(self) -> bytes:
        """Record that it is whole and return what stands last. Raises: Lost."""
        digest = self._hash.hexdigest()
        last = self._end(digest)
        counted = {"events": self._count.events, "sha256": digest}
        event = _make_event(self.run, stage="complete", now=timezone.now(), **counted)
        self._hold.finish(counted | {"bytes": self._count.bytes}, tell=lambda: record(event))
        return last

    def give_up(self, why: str) -> None:
        """Record that it was cut off."""
        with write_transaction():
            self._hold.end(state=RunState.FAILED, ended_at=timezone.now(), error=why[:500])
            record(_make_event(self.run, stage="interrupted", now=timezone.now(), events=self._count.events))

    def _take(self, part: bytes) -> bytes:
        self._hash.update(part)
        self._count.bytes += len(part)
        return part


class ListExport(Export):
    """What the filters let through, newest first."""

    def __init__(self, run: TrailRun) -> None:
        super().__init__(run)
        format_ = Format(run.details["format"])
        self._writer = make_writer(format_)
        self._filters = read_filters(run.details["filters"]).filters
        self._show = reveal if run.details["payload"] else redact
        self._cursor: int | None = run.last_seq + 1
        self.content_type = self._writer.content_type
        self.file_name = f"audit-{run.first_seq}-{run.last_seq}.{format_}"

    def parts(self) -> Iterator[bytes]:
        """Give all lines but the last, a page of them at a time."""
        yield self._take(self._writer.begin())
        while self._cursor is not None:
            page = list_events(self._filters, before=self._cursor, limit=_PAGE)
            self._cursor = page.next_before
            self._count.events += len(page.events)
            yield self._take(b"".join(self._writer.write(self._show(event)) for event in page.events))
            self._hold.beat(self.run.last_seq + 1 - page.reached)

    def _end(self, digest: str) -> bytes:
        return self._writer.end(export_id=self.run.id, events=self._count.events, sha256=digest)


class BundleExport(Export):
    """The log after a number, up to the checkpoint that was the newest when it was ordered."""

    content_type = "application/gzip"

    def __init__(self, run: TrailRun) -> None:
        super().__init__(run)
        redacted = not run.details["payload"]
        actor = f"user:{run.asked_by}"
        self._bundle = prepare_bundle(after=run.first_seq - 1, to=run.last_seq, made_by=actor, redacted=redacted)
        self.file_name = self._bundle.file_name

    def parts(self) -> Iterator[bytes]:
        """Give the whole bundle; its own last line says that it is."""
        for part in iterate_bundle(self._bundle, progress=self._hold.beat):
            yield self._take(part)
        self._count.events = self.run.total

    def _end(self, digest: str) -> bytes:
        return b""


def _make_event(run: TrailRun, *, stage: str, now: datetime, **more: Any) -> Event:
    """Return the event that tells of an export; that of its end names that of its order as its cause."""
    details = run.details
    body: dict[str, Any] = {
        "after": run.first_seq - 1,
        "to": run.last_seq,
        "format": details["format"],
        "filters": details["filters"],
        "exportId": run.id,
        "stage": stage,
        "redacted": not details["payload"],
    }
    actor, ordered = f"user:{run.asked_by}", details["orderedEvent"]
    if stage == "ordered":
        return Event(type=EventType.TRAIL_EXPORTED, at=now, actor=actor, id=ordered, body=body)
    return Event(type=EventType.TRAIL_EXPORTED, at=now, actor=actor, cause_id=ordered, body=body | more)


def is_cut(run: TrailRun, now: datetime) -> bool:
    """Tell whether an export's stream died without saying so."""
    return run.state == RunState.RUNNING and run.beat_at is not None and run.beat_at < now - STALE
