"""Rates as the generic cell rate algorithm (GCRA), periods as a sliding window; in whole microseconds. PURE.

A rate's cell holds one number, the arrival: the moment by which all calls so far are paid for at the allowed pace. A
call may run ahead of it by the burst, and moves it one interval on. `toolgate.usage` does the same in one statement.

A period's cell holds buckets: how much was counted in a short stretch of time, and when that ended. A bucket counts
whole as long as a part of it is in the period that ends now. So no stretch as long as the period, wherever it begins,
ever holds more than the amount; the price is that what was counted is forgotten up to one bucket late.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECOND_MICROS = 1_000_000
# How far apart the clocks of two workers may be. An arrival further ahead than any call can have put it comes
# from a clock that was set back since: waiting for that clock could take an hour.
MAX_SKEW_MICROS = 5 * SECOND_MICROS
BUCKETS = 60  # of a period: its memory is a sixtieth of it too long
MIN_BUCKET_MICROS = SECOND_MICROS // 10

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


# --- periods --------------------------------------------------------------------------------------------------
Buckets = tuple[tuple[int, int], ...]  # (the moment it ended, what was counted in it), the earliest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The terms of one period, in microseconds."""

    period: int
    width: int  # of a bucket

    def end_of_bucket(self, moment: int) -> int:
        """Return when the bucket ends that `moment` is in; the end itself is in the next."""
        return (moment // self.width + 1) * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """One call's answer: the buckets to keep, what is used of the amount, and microseconds to wait (0: it may run)."""

    buckets: Buckets
    used: int
    wait: int


def make_window(*, seconds: int) -> Window:
    """Return the window of a period: some sixty buckets, none under a tenth of a second."""
    period = seconds * SECOND_MICROS
    return Window(period=period, width=max(-(-period // BUCKETS), MIN_BUCKET_MICROS))


def count_in_window(buckets: Buckets, window: Window, *, amount: int, size: int, now: int) -> Counted:
    """Return what a call that counts `size` (at most `amount`) comes to at `now`.

    A refused one adds nothing. Workers' clocks may be `MAX_SKEW_MICROS` apart without letting more through; what lies
    further ahead comes from a clock set back, and is taken as counted now: waiting for that clock could take days.
    """
    current = window.end_of_bucket(now)
    tallies: dict[int, int] = {}
    for end, count in buckets:
        kept = end if end <= current + MAX_SKEW_MICROS else current
        tallies[kept] = tallies.get(kept, 0) + count
    oldest = now - window.period
    used = sum(count for end, count in tallies.items() if end > oldest)
    if used + size > amount:
        wait = _wait_for_room(tallies, window, room=amount - size, now=now)
        return Counted(buckets=tuple(sorted(tallies.items())), used=used, wait=wait)
    tallies[current] = tallies.get(current, 0) + size
    needed = {end: count for end, count in tallies.items() if end > oldest - MAX_SKEW_MICROS}
    return Counted(buckets=tuple(sorted(needed.items())), used=used + size, wait=0)


def _wait_for_room(tallies: dict[int, int], window: Window, *, room: int, now: int) -> int:
    """Return how long it takes until no more than `room` is counted."""
    used = 0
    for end, count in sorted(tallies.items(), reverse=True):
        used += count
        if used > room:
            return end + window.period - now
    raise ValueError("there is room already")


def to_micros(at: datetime) -> int:
    """Return an aware time as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND
