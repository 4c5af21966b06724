"""The tree's one head: who may number, where the tree ends, and what has reached the store.

Only the holder of the newest fence may write here, so a holder that was replaced while it slept writes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

from audit.models import TreeHead
from audit.proof.merkle import EMPTY_ROOT, Frontier, load_frontier
from audit.transactions import write_transaction

HEAD: Final = "main"
Clock = Callable[[], datetime]


class LeaseLost(Exception):
    """Another sequencer has taken over; stand by and try to take the lease again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to number, and where to go on from."""

    fence: int
    frontier: Frontier
    shipped_seq: int


def database_now() -> datetime:
    """Return the time by the clock that all sequencers share: the database's, or this machine's on SQLite."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def get_head() -> TreeHead:
    """Return the tree's head, that of an empty tree if nothing was ever numbered."""
    return TreeHead.objects.filter(name=HEAD).first() or TreeHead(name=HEAD, root=EMPTY_ROOT.hex())


def take_lease(holder: str, *, now: datetime, length: timedelta, steal: bool = False) -> Lease | None:
    """Take the lease if it is free, and give a new fence; None while another holds it.

    A lease that ends later than any could at `now` was given before the clock was set back: it is free too.
    """
    TreeHead.objects.get_or_create(name=HEAD, defaults={"root": EMPTY_ROOT.hex()})
    with write_transaction():
        head = TreeHead.objects.select_for_update().get(name=HEAD)
        expires_at = head.lease_expires_at
        held = bool(head.holder) and expires_at is not None and now < expires_at <= now + 2 * length
        if held and head.holder != holder and not steal:
            return None
        head.holder, head.fence, head.lease_expires_at = holder, head.fence + 1, now + length
        head.save(update_fields=["holder", "fence", "lease_expires_at"])
    return Lease(fence=head.fence, frontier=load_frontier(head.seq, bytes(head.frontier)), shipped_seq=head.shipped_seq)


def renew_lease(fence: int, *, now: datetime, length: timedelta) -> None:
    """Hold the lease for another `length`.

    Raises: LeaseLost.
    """
    _update(fence, lease_expires_at=now + length)


def release_lease(fence: int) -> None:
    """Free the lease for the next; harmless if it is lost already."""
    with write_transaction():
        TreeHead.objects.filter(name=HEAD, fence=fence).update(holder="", lease_expires_at=None)


def move_head(lease: Lease, *, from_seq: int, to: Frontier) -> None:
    """Move the end of the tree; to be called inside the transaction that writes the numbers.

    Raises: LeaseLost.
    """
    sql = "UPDATE audit_treehead SET seq = %s, root = %s, frontier = %s WHERE name = %s AND fence = %s AND seq = %s"
    with connection.cursor() as cursor:
        cursor.execute(sql, [to.size, to.root.hex(), to.dump(), HEAD, lease.fence, from_seq])
        if cursor.rowcount != 1:
            raise LeaseLost


def check_fence(fence: int) -> None:
    """See that nobody else has taken over since.

    Raises: LeaseLost.
    """
    if not TreeHead.objects.filter(name=HEAD, fence=fence).exists():
        raise LeaseLost


def save_progress(fence: int, *, shipped_seq: int, shipped_at: datetime | None, store_fault: str) -> None:
    """Write down what has reached the store, for other processes to read.

    Raises: LeaseLost.
    """
    _update(fence, shipped_seq=shipped_seq, shipped_at=shipped_at, store_fault=store_fault[:300])


def save_checkpoint_fault(fence: int, fault: str) -> None:
    """Write down why checkpoints are not signed or filed, empty if they are, for other processes to read.

    Raises: LeaseLost.
    """
    _update(fence, checkpoint_fault=fault[:300])


def _update(fence: int, **values: object) -> None:
    with write_transaction():
        if not TreeHead.objects.filter(name=HEAD, fence=fence).update(**values):
            raise LeaseLost
