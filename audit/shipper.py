"""The shipper: brings what the sequencer has numbered into the audit store, at the store's own pace.

It runs on a thread of its own, so that a store that is slow or silent holds up neither numbers nor signatures.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from audit import bell, ledger, shipping
from audit.exceptions import StoreDiverged, StoreUnavailable
from audit.lease import LeaseLost, check_fence, save_progress
from audit.metrics import violations
from audit.transactions import make_durable
from audit.transcript_shipping import TranscriptShipper
from audit.wire import Document

logger = logging.getLogger(__name__)

BATCH: Final = 256  # a checkpoint is signed for each, so none covers more than that
_KEPT_BATCHES: Final = 4  # of those just numbered: so many need not be read again from the ledger
_MAX_BACK_OFF_SECONDS: Final = 1.0
_DIVERGED_RETRY_SECONDS: Final = 5.0
_SAVE_EVERY_SECONDS: Final = 0.25
_RECONCILE_EVERY_SECONDS: Final = 60.0
END_SECONDS: Final = 2.0  # to move on, at the end, what is in the ledger already


class StoreState(StrEnum):
    """How the shipper finds the audit store."""

    UNKNOWN = "unknown"
    OK = "ok"
    AWAY = "away"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """How far the ledger is numbered, under which lease; the shipper only ever looks at the newest."""

    fence: int
    seq: int
    shipped_seq: int  # as it was when the lease was taken


class Shipper:
    """Ships what it was told is numbered.

    `follow` and `wake` may be called from any thread, `step` from one at a time.
    """

    def __init__(self, *, poll_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._poll_seconds = poll_seconds
        self._monotonic = monotonic
        self._numbered: Numbered | None = None
        self._newest: deque[Sequence[Document]] = deque(maxlen=_KEPT_BATCHES)
        self._woken = threading.Event()
        self._fence = 0
        self.shipped_seq, self._saved_seq = 0, 0
        self.shipped_at: datetime | None = None
        self._saved_at = 0.0
        self.state, self.fault = StoreState.UNKNOWN, ""
        self._saved_fault: str | None = None
        self._transcripts = TranscriptShipper()
        self._reconciled_at: float | None = None
        self._compare_to = 0  # up to here the store may hold some of what is sent: look before inserting
        self._retry_at = 0.0
        self._back_off_seconds = 0.0

    def follow(self, numbered: Numbered, documents: Sequence[Document] = ()) -> None:
        """Go on up to where the ledger is numbered now; `documents` are those that have just got their numbers."""
        if documents:
            self._newest.append(documents)
        self._numbered = numbered
        self._woken.set()

    def wake(self) -> None:
        """Have `run` look at once whether it is to stop."""
        self._woken.set()

    def step(self) -> int:
        """Ship at most 256 events, or transcripts if none wait; return how many were moved on.

        Raises: LeaseLost if another sequencer leads; DatabaseError if the ledger's database fails.
        """
        numbered = self._numbered
        if numbered is None:
            return 0
        if numbered.fence != self._fence:
            self._begin(numbered)
        shipped = self._try_to_ship(numbered)
        self._save_progress(numbered, idle=self.shipped_seq == numbered.seq)
        return shipped

    def run(self, stop: threading.Event) -> None:
        """Ship until `stop` is set, and then what is numbered already, as far as the store takes it at once."""
        while not stop.is_set():
            if not self._step_safely():
                self._woken.wait(self._wait_seconds())
                self._woken.clear()
        give_up_at = self._monotonic() + END_SECONDS
        while self.state is not StoreState.AWAY and self._monotonic() < give_up_at and self._step_safely():
            pass
        connection.close()

    def _step_safely(self) -> int:
        """Step; whatever goes wrong is logged, and tried again after a poll."""
        try:
            return self.step()
        except LeaseLost:
            self._numbered = None  # the sequencer says so too when it leads again
        except DatabaseError:
            logger.exception("audit shipper: the ledger's database failed", extra={"action": "shipper.store-failed"})
            close_old_connections()
        except Exception:
            logger.exception("audit shipper: a step failed", extra={"action": "shipper.failed"})
        return 0

    def _begin(self, numbered: Numbered) -> None:
        self._fence = numbered.fence
        self.shipped_seq = self._saved_seq = numbered.shipped_seq
        self._saved_fault, self._reconciled_at = None, None

    def _try_to_ship(self, numbered: Numbered) -> int:
        if self._monotonic() < self._retry_at:
            return 0
        try:
            shipped = self._ship(numbered)
        except StoreDiverged as error:
            check_fence(numbered.fence)  # one that slept while another led would see what that one shipped
            self._note_fault(StoreState.DIVERGED, error, retry_seconds=_DIVERGED_RETRY_SECONDS)
            return 0
        except StoreUnavailable as error:
            self._back_off_seconds = min(_MAX_BACK_OFF_SECONDS, 2 * self._back_off_seconds or 0.1)
            self._note_fault(StoreState.AWAY, error, retry_seconds=self._back_off_seconds)
            return 0
        if self.state is not StoreState.OK:
            logger.info(
                "audit store answers; %d events wait for it",
                numbered.seq - self.shipped_seq,
                extra={"action": "shipper.recovered"},
            )
        self.state, self.fault, self._back_off_seconds = StoreState.OK, "", 0.0
        return shipped

    def _ship(self, numbered: Numbered) -> int:
        """Ship events and, once none wait behind them, transcripts."""
        self._reconcile_when_due(numbered)
        shipped = self._ship_events(numbered)
        return shipped if shipped == BATCH else max(shipped, self._transcripts.step())

    def _ship_events(self, numbered: Numbered) -> int:
        documents = self._next_documents(numbered)
        if not documents:
            return 0
        make_durable()  # after a power cut the store must not know more than the ledger
        if documents[0]["seq"] <= self._compare_to:
            shipping.ship_missing(documents)
        else:
            shipping.ship(documents)
        self.shipped_seq = documents[-1]["seq"]
        self.shipped_at = timezone.now()
        bell.shipped.ring()
        return len(documents)

    def _reconcile_when_due(self, numbered: Numbered) -> None:
        now = self._monotonic()
        if self._reconciled_at is not None and now - self._reconciled_at < _RECONCILE_EVERY_SECONDS:
            return
        self.shipped_seq, self._compare_to = shipping.reconcile(head_seq=numbered.seq, shipped_seq=self.shipped_seq)
        self._newest.clear()  # what is sent again comes from the ledger: it may be erased there meanwhile
        self._transcripts.look_for_missing()
        self._reconciled_at = now

    def _next_documents(self, numbered: Numbered) -> Sequence[Document]:
        """Return the next run of numbered events to ship, from memory if they are still there."""
        after, to = self.shipped_seq, min(self.shipped_seq + BATCH, numbered.seq)
        if after == to:
            return []
        kept = next((batch for batch in tuple(self._newest) if batch[0]["seq"] == after + 1), None)
        return ledger.read_numbered(after=after, to=to) if kept is None else kept

    def _note_fault(self, state: StoreState, error: StoreUnavailable, *, retry_seconds: float) -> None:
        self._retry_at = self._monotonic() + retry_seconds
        self._reconciled_at = None
        if self.state is not state:
            logger.error("audit store %s: %s", state, error, extra={"action": "shipper.held-up"})
            if isinstance(error, StoreDiverged):
                violations.labels(violation_type=error.problem.value).inc()
        self.state, self.fault = state, str(error)

    def _save_progress(self, numbered: Numbered, *, idle: bool) -> None:
        """Tell other processes what was shipped: at once when idle or in trouble, a few times a second when busy."""
        if self._saved_seq == self.shipped_seq and self._saved_fault == self.fault:
            return
        now = self._monotonic()
        if not idle and self._saved_fault == self.fault and now - self._saved_at < _SAVE_EVERY_SECONDS:
            return
        save_progress(numbered.fence, shipped_seq=self.shipped_seq, shipped_at=self.shipped_at, store_fault=self.fault)
        self._saved_seq, self._saved_fault, self._saved_at = self.shipped_seq, self.fault, now

    def _wait_seconds(self) -> float:
        numbered = self._numbered
        behind = numbered is not None and self.shipped_seq < numbered.seq
        until_retry = self._retry_at - self._monotonic()
        return max(0.01, min(self._poll_seconds, until_retry)) if behind else self._poll_seconds
