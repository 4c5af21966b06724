"""A circuit breaker: stop asking a vendor that keeps failing, and try it again with one call at a time. PURE.

    closed ──(N failures in a row, within the window)──▶ open ──(cool-down)──▶ half open, one probe
      ▲                                                   ▲                        │
      └────────────(the probe succeeds)───────────────────┴──(the probe fails)─────┘

Times are seconds of any clock that only goes forward.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class CircuitState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"  # one call goes through, to see
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to make one call; an outcome counts only while the circuit is as it was at its start."""

    generation: int


@dataclass(slots=True, kw_only=True)
class Breaker:
    """One vendor's circuit. Each admitted call reports one of `succeed`, `fail` and `forget`."""

    max_failures: int = 5  # in a row
    window_seconds: float = 60.0  # from the first of them to the last
    cool_down_seconds: float = 30.0
    state: CircuitState = CircuitState.CLOSED
    _failed_at: list[float] = field(default_factory=list)
    _open_until: float = 0.0
    _probing: bool = False
    _generation: int = 0

    def count_wait(self, now: float) -> float:
        """Return in how many seconds a call may be admitted: 0 if now; a probe under way is waited for a second."""
        if self.state is CircuitState.OPEN:
            return max(0.0, self._open_until - now)
        return 1.0 if self._probing else 0.0

    def admit(self, now: float) -> Ticket | None:
        """Return the ticket for a call, None if it must not be made."""
        if self.count_wait(now) > 0:
            return None
        if self.state is CircuitState.OPEN:
            self._become(CircuitState.HALF_OPEN)
        self._probing = self.state is CircuitState.HALF_OPEN
        return Ticket(self._generation)

    def succeed(self, ticket: Ticket) -> None:
        """Take note that the vendor answered."""
        if ticket.generation != self._generation:
            return
        self._failed_at.clear()
        if self.state is CircuitState.HALF_OPEN:
            self._become(CircuitState.CLOSED)

    def fail(self, ticket: Ticket, *, now: float, wait_seconds: float = 0.0) -> None:
        """Take note that the vendor failed; it wants to be left alone for `wait_seconds`."""
        if ticket.generation != self._generation:
            return
        self._failed_at = [at for at in self._failed_at if now - at < self.window_seconds] + [now]
        if self.state is CircuitState.HALF_OPEN or len(self._failed_at) >= self.max_failures:
            self._open_until = now + max(self.cool_down_seconds, wait_seconds)
            self._become(CircuitState.OPEN)

    def forget(self, ticket: Ticket) -> None:
        """Take note that the call ended and showed nothing: it was cancelled, or the fault was not the vendor's."""
        if ticket.generation == self._generation:
            self._probing = False

    def _become(self, state: CircuitState) -> None:
        self.state = state
        self._generation += 1
        self._probing = False
        self._failed_at.clear()
