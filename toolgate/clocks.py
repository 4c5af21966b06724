"""When a rule holds: from and until a moment, and in a window of days and hours by a zone's clock. PURE.

A window is read off the clock on the wall of its zone. Where that clock is put forward the hours it skips do not
come, and where it is put back the hours it repeats come twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from toolgate.policy import DAYS, Rule, TimeWindow
from toolgate.types import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """One condition on the time, and what to tell people when it does not hold."""

    reason: Reason
    holds: Callable[[datetime], bool]
    describe: Callable[[datetime], str]


def compile_clocks(rule: Rule) -> tuple[Clock, ...]:
    """Return a clock for each condition of `rule` on the time; the one that is over for good comes first."""
    clocks: list[Clock] = []
    if rule.valid_until is not None:
        clocks.append(_end_at(rule.valid_until))
    if rule.valid_from is not None:
        clocks.append(_begin_at(rule.valid_from))
    if rule.conditions.time_window is not None:
        clocks.append(_open_in(rule.conditions.time_window))
    return tuple(clocks)


def _end_at(end: datetime) -> Clock:
    return Clock(
        reason=Reason.GRANT_EXPIRED,
        holds=lambda now: now < end,
        describe=lambda now: f"it is valid until {_show(end)} only",
    )


def _begin_at(begin: datetime) -> Clock:
    return Clock(
        reason=Reason.OUTSIDE_TIME_WINDOW,
        holds=lambda now: begin <= now,
        describe=lambda now: f"it is valid from {_show(begin)} on",
    )


def _open_in(window: TimeWindow) -> Clock:
    zone, start, end = ZoneInfo(window.zone), window.start, window.end
    days = frozenset(DAYS.index(day) for day in window.days)
    is_within_a_day = start < end

    def holds(now: datetime) -> bool:
        local = now.astimezone(zone)
        clock, today = local.time(), local.weekday()
        if is_within_a_day:
            return today in days and start <= clock < end
        return (today in days and start <= clock) or ((today - 1) % 7 in days and clock < end)

    def describe(now: datetime) -> str:
        hours = f"{start:%H:%M} to {end:%H:%M}"
        local = now.astimezone(zone)
        return (
            f"it holds on {', '.join(window.days)} from {hours} in {window.zone}, "
            f"and there it is {DAYS[local.weekday()]} {local:%H:%M}"
        )

    return Clock(reason=Reason.OUTSIDE_TIME_WINDOW, holds=holds, describe=describe)


def _show(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M %Z}"
