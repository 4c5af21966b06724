"""How far the audit trail is behind, seen from any process, and whether it can take the events of another task."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import Final

from django.conf import settings
from django.db.models import Count, Min
from pymongo.errors import DuplicateKeyError

from audit import metrics
from audit.documents import open_store
from audit.exceptions import StoreUnavailable, TrailBehind
from audit.lease import database_now, get_head
from audit.models import Checkpoint, LedgerEvent

logger = logging.getLogger(__name__)

SLOW_SECONDS: Final = 10.0  # an event that waits longer is told of, though nothing has failed


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatus:
    """What waits in the ledger; `fault` says in a sentence why, empty when the store takes events."""

    unnumbered: int  # counted up to just over the limit
    numbered_seq: int
    shipped_seq: int
    shipped_at: datetime | None
    holder: str  # the leading sequencer, empty if there is none
    led: bool  # its lease has not run out
    fault: str
    oldest_at: datetime | None = None  # when the oldest event that waits was recorded
    lag_seconds: float = 0.0  # for how long that one has waited

    @property
    def waiting(self) -> int:
        """Events that are in the ledger but not known to be in the store."""
        return self.unnumbered + self.numbered_seq - self.shipped_seq

    @property
    def is_stalled(self) -> bool:
        """Tell whether events do not move on: the store takes none, or nobody numbers them."""
        return bool(self.fault) or (self.waiting > 0 and not self.led)

    @property
    def is_behind(self) -> bool:
        """Tell whether people should know: events do not move on, or take over ten seconds."""
        return self.is_stalled or self.lag_seconds > SLOW_SECONDS

    @property
    def over_limit(self) -> bool:
        """Tell whether so many wait that new tasks are refused."""
        return self.waiting > settings.AUDIT_BACKLOG_LIMIT


def get_ledger_status() -> LedgerStatus:
    """Return how many events wait in the ledger, from the relational store alone, and set the gauges to it."""
    # In this order: what is numbered meanwhile counts twice for a moment. In the other it would not count at all.
    unnumbered, oldest_at = _look_at_unnumbered(limit=settings.AUDIT_BACKLOG_LIMIT + 1)
    head = get_head()
    now = database_now()
    if head.seq > head.shipped_seq:
        oldest_at = LedgerEvent.objects.filter(seq=head.shipped_seq + 1).values_list("at", flat=True).first()
    status = LedgerStatus(
        unnumbered=unnumbered,
        numbered_seq=head.seq,
        shipped_seq=head.shipped_seq,
        shipped_at=head.shipped_at,
        holder=head.holder,
        led=bool(head.holder) and head.lease_expires_at is not None and head.lease_expires_at > now,
        fault=head.store_fault,
        oldest_at=oldest_at,
        lag_seconds=max(0.0, (now - oldest_at).total_seconds()) if oldest_at else 0.0,
    )
    _set_gauges(status)
    return status


def _look_at_unnumbered(*, limit: int) -> tuple[int, datetime | None]:
    """Return how many events have no number, and when the oldest of them was recorded: each page asks this."""
    waiting = LedgerEvent.objects.filter(seq=None).order_by("id")[:limit]
    found = waiting.aggregate(count=Count("id"), oldest_at=Min("at"))
    return found["count"], found["oldest_at"]


def _set_gauges(status: LedgerStatus) -> None:
    metrics.ledger_lag.set(status.waiting)
    metrics.ledger_lag_seconds.set(status.lag_seconds)
    metrics.ledger_limit.set(settings.AUDIT_BACKLOG_LIMIT)
    if status.shipped_at:
        metrics.shipped_at.set(status.shipped_at.timestamp())


def require_room() -> None:
    """See that the trail can take the events of a new task, by what this process saw at most a second ago.

    Raises: TrailBehind if more events wait than AUDIT_BACKLOG_LIMIT.
    """
    status = _read_status(int(monotonic()))
    if status.over_limit:
        raise TrailBehind(waiting=status.waiting, limit=settings.AUDIT_BACKLOG_LIMIT)


@lru_cache(maxsize=1)
def _read_status(second: int) -> LedgerStatus:
    return get_ledger_status()


forget_status = _read_status.cache_clear  # for tests


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointStatus:
    """Up to where the log is signed, and what of it is not in its second place yet."""

    size: int  # events under the newest checkpoint
    at: datetime | None  # when it was signed
    filed_at: datetime | None  # when it was filed
    unsigned: int  # events with a number that no checkpoint covers yet
    unfiled_since: datetime | None  # when the oldest checkpoint was signed that is not filed yet
    unposted_since: datetime | None  # the same for the webhook, where there is one
    fault: str  # why in a sentence, empty when all is well


def get_checkpoint_status() -> CheckpointStatus:
    """Return up to where the log is signed and filed, from the relational store alone, and set the gauges to it."""
    head = get_head()
    newest = Checkpoint.objects.filter(size__lte=head.seq).order_by("-size").first()
    status = CheckpointStatus(
        size=newest.size if newest else 0,
        at=newest.at if newest else None,
        filed_at=newest.filed_at if newest else None,
        unsigned=head.seq - newest.size if newest else head.seq,
        unfiled_since=_find_waiting("filed_at"),
        unposted_since=_find_waiting("posted_at") if settings.AUDIT_CHECKPOINT_WEBHOOK else None,
        fault=head.checkpoint_fault,
    )
    metrics.checkpoint_size.set(status.size)
    metrics.checkpoint_at.set(status.at.timestamp() if status.at else 0)
    metrics.unfiled_since.set(status.unfiled_since.timestamp() if status.unfiled_since else 0)
    return status


def _find_waiting(column: str) -> datetime | None:
    waiting = Checkpoint.objects.filter(**{f"{column}__isnull": True}).order_by("size")
    return waiting.values_list("at", flat=True).first()


def check_store() -> str:
    """Read from the audit store: return an empty text if it answers within 1.5 s, else why it does not.

    A read, because a server with a full disk still answers a ping.
    """
    try:
        with open_store() as collection:
            collection.find_one({"seq": 1}, {"seq": 1})
    except StoreUnavailable as error:
        return str(error)
    return ""


def check_store_takes_events() -> str:
    """Send the store an event that it has: return why it would take none, else an empty text. Nothing is changed."""
    head = get_head()
    try:
        with open_store() as collection:
            known = collection.find_one({"seq": head.shipped_seq})
            if known is None and head.shipped_seq > head.archived_seq:
                return f"it lacks event {head.shipped_seq}, which it once took: make it anew, manage.py rebuild_audit"
            if known is not None:
                with suppress(DuplicateKeyError):
                    collection.insert_one(known)
    except StoreUnavailable as error:
        return str(error)
    return ""
