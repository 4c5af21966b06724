"""The sequencer: numbers and chains the ledger's events, one sequencer at a time, and ships them to the store."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from audit import bell, ledger, shipping
from audit.exceptions import StoreDiverged, StoreUnavailable
from audit.lease import (
    Clock,
    Lease,
    LeaseLost,
    database_now,
    move_head,
    release_lease,
    renew_lease,
    save_progress,
    take_lease,
)
from audit.metrics import violations
from audit.transactions import write_transaction
from audit.transcript_shipping import TranscriptShipper
from audit.wire import Document, seal

logger = logging.getLogger(__name__)

BATCH: Final = 500
_LINGER_SECONDS: Final = 0.02  # when busy: fewer, larger batches; when idle it would only cost visibility
_BUSY_AFTER_STEPS: Final = 4
_MAX_BACK_OFF_SECONDS: Final = 1.0
_DIVERGED_RETRY_SECONDS: Final = 5.0
_SAVE_EVERY_SECONDS: Final = 0.25
_RECONCILE_EVERY_SECONDS: Final = 60.0


class StoreState(StrEnum):
    """How the sequencer finds the audit store."""

    UNKNOWN = "unknown"
    OK = "ok"
    AWAY = "away"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencerStatus:
    """A sequencer's own view; for the whole ledger, from any process, see `audit.status`."""

    leading: bool
    numbered_seq: int
    shipped_seq: int
    shipped_at: datetime | None
    store: StoreState
    fault: str


class Sequencer:
    """One candidate for the one place of the sequencer.

    `holder` names it among the candidates. `steal` takes the lease over at the start whoever holds it: for a
    process that owns its state folder alone, after a kill -9. `clock` gives the time that leases are judged by.
    """

    def __init__(
        self,
        holder: str,
        clock: Clock = database_now,
        *,
        steal: bool = False,
        lease_seconds: float = 10.0,
        poll_seconds: float = 0.5,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holder = holder
        self._clock = clock
        self._steal = steal
        self._length = timedelta(seconds=lease_seconds)
        self._poll_seconds = poll_seconds
        self._monotonic = monotonic
        self._lease: Lease | None = None
        self._renewed_at = 0.0
        self._seq, self._hash = 0, ""
        self._shipped_seq, self._saved_seq = 0, 0
        self._shipped_at: datetime | None = None
        self._saved_at = 0.0
        self._newest: list[Document] = []  # the last batch numbered, to spare reading it again
        self._state, self._fault = StoreState.UNKNOWN, ""
        self._saved_fault: str | None = None
        self._transcripts = TranscriptShipper()
        self._reconciled_at: float | None = None
        self._compare_to = 0  # up to here the store may hold some of what is sent: look before inserting
        self._store_retry_at = 0.0
        self._back_off_seconds = 0.0

    def step(self) -> int:
        """Number at most 500 events and ship at most 500; return how many were moved on, 0 when idle or standing by.

        Transcripts are shipped in a step that leaves no events behind.

        Raises: DatabaseError if the ledger's database fails; the next step begins anew.
        """
        try:
            lease = self._lead()
            if lease is None:
                return 0
            numbered = self._number(lease)
            shipped = self._try_to_ship()
            self._save_progress(lease, idle=not numbered)
        except LeaseLost:
            logger.warning("audit sequencer %s: another has taken over", self._holder)
            self._lease = None
            return 0
        except BaseException:
            self._lease = None  # what was committed is unknown: read the head again before going on
            raise
        return max(numbered, shipped)

    def run_forever(self, stop: threading.Event) -> None:
        """Step until `stop` is set, then hand the lease back; ring `bell.recorded` to have `stop` seen at once."""
        busy_steps = 0
        while not stop.is_set():
            moved = self._step_safely()
            busy_steps = busy_steps + 1 if moved else 0
            if not moved:
                bell.recorded.wait(self._wait_seconds())
            elif busy_steps >= _BUSY_AFTER_STEPS and moved < BATCH:
                stop.wait(_LINGER_SECONDS)
        self._drain()

    def status(self) -> SequencerStatus:
        """Return this sequencer's own view of the chain and the store."""
        return SequencerStatus(
            leading=self._lease is not None,
            numbered_seq=self._seq,
            shipped_seq=self._shipped_seq,
            shipped_at=self._shipped_at,
            store=self._state,
            fault=self._fault,
        )

    def release(self) -> None:
        """Hand the lease back, so that the next sequencer need not wait for its end."""
        if self._lease is not None:
            release_lease(self._lease.fence)
            self._lease = None

    def _lead(self) -> Lease | None:
        """Take or renew the lease; None while another leads."""
        if self._lease is None:
            return self._take_lease()
        if self._monotonic() - self._renewed_at > self._length.total_seconds() / 3:
            renew_lease(self._lease.fence, now=self._clock(), length=self._length)
            self._renewed_at = self._monotonic()
        return self._lease

    def _take_lease(self) -> Lease | None:
        lease = take_lease(self._holder, now=self._clock(), length=self._length, steal=self._steal)
        if lease is None:
            return None
        self._lease, self._steal, self._renewed_at = lease, False, self._monotonic()
        self._seq, self._hash = lease.seq, lease.hash
        self._shipped_seq = self._saved_seq = lease.shipped_seq
        self._newest, self._saved_fault, self._reconciled_at = [], None, None
        logger.info("audit sequencer %s leads from event %d with fence %d", self._holder, lease.seq, lease.fence)
        return lease

    def _number(self, lease: Lease) -> int:
        """Number the oldest events. They are read and hashed before the transaction, to hold the write lock briefly."""
        rows = ledger.read_unnumbered(limit=BATCH)
        if not rows:
            return 0
        prev_hash = self._hash
        for seq, row in enumerate(rows, self._seq + 1):
            prev_hash = seal(row.document, seq=seq, prev_hash=prev_hash)
        to_seq = self._seq + len(rows)
        with write_transaction():
            move_head(lease, from_seq=self._seq, to_seq=to_seq, to_hash=prev_hash)
            ledger.write_numbers(rows)
        self._seq, self._hash = to_seq, prev_hash
        self._newest = [row.document for row in rows]
        return len(rows)

    def _try_to_ship(self) -> int:
        if self._monotonic() < self._store_retry_at:
            return 0
        try:
            shipped = self._ship()
        except StoreDiverged as error:
            self._note_fault(StoreState.DIVERGED, error, retry_seconds=_DIVERGED_RETRY_SECONDS)
            return 0
        except StoreUnavailable as error:
            self._back_off_seconds = min(_MAX_BACK_OFF_SECONDS, 2 * self._back_off_seconds or 0.1)
            self._note_fault(StoreState.AWAY, error, retry_seconds=self._back_off_seconds)
            return 0
        if self._state is not StoreState.OK:
            logger.info("audit store answers; %d events wait for it", self._seq - self._shipped_seq)
        self._state, self._fault, self._back_off_seconds = StoreState.OK, "", 0.0
        return shipped

    def _ship(self) -> int:
        """Ship events and, once none wait behind them, transcripts."""
        self._reconcile_when_due()
        shipped = self._ship_events()
        return shipped if shipped == BATCH else max(shipped, self._transcripts.step())

    def _ship_events(self) -> int:
        documents = self._next_documents()
        if not documents:
            return 0
        if documents[0]["seq"] <= self._compare_to:
            shipping.ship_missing(documents)
        else:
            shipping.ship(documents)
        self._shipped_seq = documents[-1]["seq"]
        self._shipped_at = timezone.now()
        bell.shipped.ring()
        return len(documents)

    def _reconcile_when_due(self) -> None:
        now = self._monotonic()
        if self._reconciled_at is not None and now - self._reconciled_at < _RECONCILE_EVERY_SECONDS:
            return
        self._shipped_seq, self._compare_to = shipping.reconcile(
            head_seq=self._seq, head_hash=self._hash, shipped_seq=self._shipped_seq
        )
        self._transcripts.look_for_missing()
        self._reconciled_at = now

    def _next_documents(self) -> list[Document]:
        """Return the next run of numbered events to ship, from memory if they are still there."""
        after, to = self._shipped_seq, min(self._shipped_seq + BATCH, self._seq)
        if after == to:
            return []
        if self._newest and self._newest[0]["seq"] == after + 1:
            return self._newest
        return ledger.read_numbered(after=after, to=to)

    def _note_fault(self, state: StoreState, error: StoreUnavailable, *, retry_seconds: float) -> None:
        self._store_retry_at = self._monotonic() + retry_seconds
        self._reconciled_at = None
        if self._state is not state:
            logger.error("audit store %s: %s", state, error)
            if isinstance(error, StoreDiverged):
                violations.labels(violation_type=error.problem.value).inc()
        self._state, self._fault = state, str(error)

    def _save_progress(self, lease: Lease, *, idle: bool) -> None:
        """Tell other processes what was shipped: at once when idle or in trouble, a few times a second when busy."""
        if self._saved_seq == self._shipped_seq and self._saved_fault == self._fault:
            return
        now = self._monotonic()
        if not idle and self._saved_fault == self._fault and now - self._saved_at < _SAVE_EVERY_SECONDS:
            return
        save_progress(lease.fence, shipped_seq=self._shipped_seq, shipped_at=self._shipped_at, store_fault=self._fault)
        self._saved_seq, self._saved_fault, self._saved_at = self._shipped_seq, self._fault, now

    def _wait_seconds(self) -> float:
        behind = self._lease is not None and self._shipped_seq < self._seq
        until_retry = self._store_retry_at - self._monotonic()
        return max(0.01, min(self._poll_seconds, until_retry)) if behind else self._poll_seconds

    def _step_safely(self) -> int:
        """Step; whatever goes wrong is logged, and tried again after a poll."""
        try:
            return self.step()
        except DatabaseError:
            logger.exception("audit sequencer: the ledger's database failed")
            close_old_connections()
        except Exception:
            logger.exception("audit sequencer: a step failed")
        return 0

    def _drain(self) -> None:
        """Move on what is in the ledger already, as far as the store takes it, and hand the lease back."""
        deadline = self._monotonic() + 2.0
        while self._state is not StoreState.AWAY and self._monotonic() < deadline and self._step_safely():
            pass
        try:
            self.release()
        except DatabaseError:
            logger.warning("audit sequencer: the lease could not be handed back; it ends by itself")
        connection.close()
