"""The sequencer: numbers the ledger's events, grows the tree over them, signs what it came to, has it all shipped.

There is one sequencer at a time, by a lease; the others stand by.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from audit import bell, ledger, tracing
from audit.events import Event, EventType
from audit.ids import new_id
from audit.lease import (
    Clock,
    Lease,
    LeaseLost,
    database_now,
    move_head,
    release_lease,
    renew_lease,
    save_checkpoint_fault,
    take_lease,
)
from audit.models import Checkpoint
from audit.proof.leaves import SALT_BYTES, seal
from audit.proof.publishing import Publisher
from audit.proof.signing import Signer, save_checkpoints
from audit.proof.tiles import Tree, load_tree, write_tiles
from audit.retention.upkeep import Upkeep
from audit.shipper import BATCH, END_SECONDS, Numbered, Shipper, StoreState
from audit.transactions import write_transaction
from audit.wire import Document

logger = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 0.02  # when busy: fewer, larger batches; when idle it would only cost visibility
_BUSY_AFTER_STEPS: Final = 4
_RETRY_SECONDS: Final = 1.0  # after a step that failed, since each is told of


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencerStatus:
    """A sequencer's own view; for the whole ledger, from any process, see `audit.status`."""

    leading: bool
    numbered_seq: int
    shipped_seq: int
    shipped_at: datetime | None
    store: StoreState
    fault: str
    checkpoint_fault: str


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
        beat_seconds: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holder = holder
        self._clock = clock
        self._steal = steal
        self._length = timedelta(seconds=lease_seconds)
        self._poll_seconds = poll_seconds
        self._beat_seconds = settings.AUDIT_HEARTBEAT_SECONDS if beat_seconds is None else beat_seconds
        self._monotonic = monotonic
        self._lease: Lease | None = None
        self._renewed_at = 0.0
        self._numbered_at = monotonic()
        self._tree = Tree()
        self._signer = Signer()
        self._publisher = Publisher()
        self._upkeep = Upkeep(lambda: self._lease is not None)
        self._told_fault: str | None = None
        self._shipper = Shipper(poll_seconds=poll_seconds, monotonic=monotonic)
        self.stepped_at = monotonic()
        self.step_fault = ""  # why the last step failed, empty if it did not

    def step(self) -> int:
        """Number at most 256 events and ship at most 256; return how many were moved on, 0 when idle or standing by.

        Raises: DatabaseError if the ledger's database fails; the next step begins anew.
        """
        return self._step(self._shipper.step)

    def _step(self, ship: Callable[[], int]) -> int:
        try:
            lease = self._lead()
            if lease is None:
                return 0
            numbered = self._number(lease) or self._tend()
            self._tell_fault(lease)
            shipped = ship()
        except LeaseLost:
            logger.warning(
                "audit sequencer %s: another has taken over", self._holder, extra={"action": "sequencer.superseded"}
            )
            self._lease = None
            return 0
        except BaseException:
            self._lease = None  # what was committed is unknown: read the head again before going on
            raise
        return max(numbered, shipped)

    def run_forever(self, stop: threading.Event) -> None:
        """Number, and ship beside it, until `stop` is set, then hand the lease back.

        Ring `bell.recorded` to have `stop` seen at once.
        """
        busy_steps = 0
        with self._publisher.running(), self._shipping_beside(), self._upkeep.running():
            while not stop.is_set():
                moved = self._step_safely()
                busy_steps = busy_steps + 1 if moved else 0
                if not moved:
                    bell.recorded.wait(self._wait_seconds())
                elif busy_steps >= _BUSY_AFTER_STEPS and moved < BATCH:
                    stop.wait(_LINGER_SECONDS)
            self._number_rest()
        self._let_go()

    @contextmanager
    def _shipping_beside(self) -> Iterator[None]:
        """Ship on a thread of its own meanwhile, and for a moment after; one that hangs in the store is left behind."""
        stop = threading.Event()
        thread = threading.Thread(target=self._shipper.run, args=(stop,), name="audit-shipper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            self._shipper.wake()
            thread.join(END_SECONDS + 0.5)

    def status(self) -> SequencerStatus:
        """Return this sequencer's own view of the log and the store."""
        return SequencerStatus(
            leading=self._lease is not None,
            numbered_seq=self._seq,
            shipped_seq=self._shipper.shipped_seq,
            shipped_at=self._shipper.shipped_at,
            store=self._shipper.state,
            fault=self._shipper.fault,
            checkpoint_fault=self._checkpoint_fault,
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
        self._tree = load_tree(lease.frontier)
        self._signer.look_back(self._seq)
        self._told_fault = None
        self._tell_shipper(lease)
        logger.info(
            "audit sequencer %s leads from event %d with fence %d",
            self._holder,
            self._seq,
            lease.fence,
            extra={"action": "sequencer.leads"},
        )
        self._publisher.wake()
        return lease

    @property
    def _seq(self) -> int:
        return self._tree.frontier.size

    def _number(self, lease: Lease) -> int:
        """Number the oldest events. They are read and hashed before the transaction, to hold the write lock briefly."""
        rows = ledger.read_unnumbered(limit=BATCH)
        if not rows:
            return 0
        batch = {"orchestrator.events": len(rows), "orchestrator.seq": self._seq + 1}
        with tracing.span("number_events", batch, trace=new_id()):
            return self._number_rows(lease, rows)

    def _number_rows(self, lease: Lease, rows: list[ledger.LedgerRow]) -> int:
        trees = list(self._tree.grow(_seal(rows, after=self._seq)))
        checkpoints = self._sign(trees)
        with write_transaction():
            move_head(lease, from_seq=self._seq, to=trees[-1].frontier)
            ledger.write_numbers(rows)
            write_tiles(trees)
            save_checkpoints(checkpoints)
        self._tree = trees[-1]
        self._numbered_at = self._monotonic()
        self._tell_shipper(lease, [row.document for row in rows])
        if checkpoints:
            self._publisher.wake()
        return len(rows)

    def _sign(self, trees: Sequence[Tree]) -> list[Checkpoint]:
        frontiers = [tree.frontier for tree in trees]
        return self._signer.sign_due(frontiers, clock=self._clock, monotonic=self._monotonic())

    def _tell_shipper(self, lease: Lease, documents: Sequence[Document] = ()) -> None:
        numbered = Numbered(fence=lease.fence, seq=self._seq, shipped_seq=lease.shipped_seq)
        self._shipper.follow(numbered, documents)

    def _tend(self) -> int:
        """With nothing to number: sign what is not signed yet, and write a beat after a long silence."""
        if checkpoints := self._sign([self._tree]):
            with write_transaction():
                save_checkpoints(checkpoints)
            self._publisher.wake()
        is_silent = self._monotonic() - self._numbered_at >= self._beat_seconds
        if not is_silent or self._seq - self._shipper.shipped_seq > settings.AUDIT_BACKLOG_LIMIT:
            return 0
        self._numbered_at = self._monotonic()
        with write_transaction():
            ledger.record(Event(type=EventType.SEQUENCER_BEAT, at=timezone.now(), actor="system"))
        return 1

    def _tell_fault(self, lease: Lease) -> None:
        """Tell other processes why checkpoints are not signed, or do not reach their second place."""
        if self._checkpoint_fault != self._told_fault:
            self._told_fault = self._checkpoint_fault
            save_checkpoint_fault(lease.fence, self._told_fault)

    @property
    def _checkpoint_fault(self) -> str:
        return "; ".join(fault for fault in (self._signer.fault, self._publisher.fault) if fault)

    def _wait_seconds(self) -> float:
        if self.step_fault:
            return max(self._poll_seconds, _RETRY_SECONDS)
        if self._lease is None:
            return self._poll_seconds
        unsigned = self._signer.wait_seconds(self._seq, monotonic=self._monotonic())
        return self._poll_seconds if unsigned is None else max(0.01, min(self._poll_seconds, unsigned))

    def _step_safely(self) -> int:
        """Number what there is; whatever goes wrong is logged, and tried again after a poll."""
        fault = ""
        try:
            return self._step(lambda: 0)
        except DatabaseError:
            fault = "the ledger's database failed"
            logger.exception("audit sequencer: %s", fault, extra={"action": "sequencer.store-failed"})
            close_old_connections()
        except Exception:
            fault = "its last step failed; the log says why"
            logger.exception("audit sequencer: a step failed", extra={"action": "sequencer.failed"})
        finally:
            self.stepped_at, self.step_fault = self._monotonic(), fault
        return 0

    def _number_rest(self) -> None:
        """Number what is in the ledger already, and sign it."""
        self._signer.hurry()
        deadline = self._monotonic() + END_SECONDS
        while self._monotonic() < deadline and self._step_safely():
            pass

    def _let_go(self) -> None:
        try:
            self.release()
        except DatabaseError:
            logger.warning(
                "audit sequencer: the lease could not be handed back; it ends by itself",
                extra={"action": "sequencer.lease-kept"},
            )
        connection.close()


def _seal(rows: Sequence[ledger.LedgerRow], *, after: int) -> list[bytes]:
    """Number the rows' documents from `after` + 1 on and give each its salt; return their leaves."""
    salts = os.urandom(SALT_BYTES * len(rows)).hex()
    width = 2 * SALT_BYTES
    return [seal(row.document, seq=after + n, salt=salts[width * (n - 1) : width * n]) for n, row in enumerate(rows, 1)]
