"""How far the audit trail is behind, seen from any process."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

from audit.documents import open_store
from audit.exceptions import StoreUnavailable
from audit.lease import database_now, get_head
from audit.metrics import ledger_lag

logger = logging.getLogger(__name__)

WAITING_LIMIT: Final = 100_000  # beyond it the trail is too far behind to be trusted with more
_COUNT_CAP: Final = WAITING_LIMIT + 1


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

    @property
    def waiting(self) -> int:
        """Events that are in the ledger but not known to be in the store."""
        return self.unnumbered + self.numbered_seq - self.shipped_seq

    @property
    def over_limit(self) -> bool:
        """Tell whether so many wait that the orchestrator should take no more work."""
        return self.waiting > WAITING_LIMIT


def get_ledger_status() -> LedgerStatus:
    """Return how many events wait in the ledger, from the relational store alone."""
    head = get_head()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM audit_ledgerevent WHERE seq IS NULL LIMIT %s) AS waiting", [_COUNT_CAP]
        )
        unnumbered = int(cursor.fetchone()[0])
    status = LedgerStatus(
        unnumbered=unnumbered,
        numbered_seq=head.seq,
        shipped_seq=head.shipped_seq,
        shipped_at=head.shipped_at,
        holder=head.holder,
        led=bool(head.holder) and head.lease_expires_at is not None and head.lease_expires_at > database_now(),
        fault=head.store_fault,
    )
    ledger_lag.set(status.waiting)
    return status


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
