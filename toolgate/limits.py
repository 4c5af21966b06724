"""Rates as the generic cell rate algorithm (GCRA), in whole microseconds. PURE.

A cell holds one number, the arrival: the moment by which all calls so far are paid for at the allowed pace. A call
may run ahead of it by the burst, and moves it one interval on. `toolgate.usage` does the same in one statement.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECOND_MICROS = 1_000_000
# How far apart the clocks of two workers may be. An arrival further ahead than any call can have put it comes
# from a clock that was set back since: waiting for that clock could take an hour.
MAX_SKEW_MICROS = 5 * SECOND_MICROS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The terms of one rate, in microseconds: on average one call an interval, `burst` at once after a rest."""

    interval: int
    lead: int  # how far the arrival may be ahead of the clock when a call comes
    horizon: int  # how far it may be ahead after the last call of a burst

    @property
    def limit(self) -> int:
        """The lead beyond which an arrival is taken for a clock set back."""
        return self.horizon + MAX_SKEW_MICROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One call's answer: the arrival to keep, and microseconds to wait (0: the call may run)."""

    arrival: int
    wait: int


def make_pace(*, rate: int, burst: int) -> Pace:
    """Return the pace of `rate` calls a second; the interval is rounded up, so never more than that."""
    interval = -(-SECOND_MICROS // rate)
    return Pace(interval=interval, lead=(burst - 1) * interval, horizon=burst * interval)


def spend_call(arrival: int | None, pace: Pace, now: int) -> Spent:
    """Return what one call at `now` comes to; a refused one leaves `arrival` as it was."""
    if arrival is None or arrival <= now:
        return Spent(arrival=now + pace.interval, wait=0)
    if arrival > now + pace.limit:
        return Spent(arrival=now + pace.horizon, wait=0)
    if arrival <= now + pace.lead:
        return Spent(arrival=arrival + pace.interval, wait=0)
    return Spent(arrival=arrival, wait=arrival - pace.lead - now)


def to_micros(at: datetime) -> int:
    """Return an aware time as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND
