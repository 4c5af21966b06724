"""How the audit trail gets on: who numbers it, what is shipped, signed and filed, and what the live feed has read."""

from dataclasses import dataclass
from datetime import datetime

from audit.lease import get_head
from audit.live.standing import HubStanding, list_standings
from audit.status import CheckpointStatus, LedgerStatus, get_checkpoint_status, get_ledger_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """The trail from the ledger to its second place, all by the relational store."""

    ledger: LedgerStatus
    lease_until: datetime | None
    checkpoints: CheckpointStatus
    archived: int

    @property
    def unshipped(self) -> int:
        """Events with a number that are not known to be in the audit store."""
        return self.ledger.numbered_seq - self.ledger.shipped_seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The live feed of this process: `newest` is the last event that was shipped."""

    newest: int
    hubs: list[HubStanding]


def read_trail() -> Trail:
    """Return how far the trail is. Raises: DatabaseError."""
    head = get_head()
    return Trail(
        ledger=get_ledger_status(),
        lease_until=head.lease_expires_at,
        checkpoints=get_checkpoint_status(),
        archived=head.archived_seq,
    )


def read_feed() -> Feed:
    """Return what the hub of this process has read, beside what there is. Raises: DatabaseError."""
    newest = get_head().shipped_seq
    return Feed(newest=newest, hubs=list_standings(newest))
