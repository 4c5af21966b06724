"""The time zone in which times are shown: the reader's own choice, around a request. PURE.

Django's current time zone would not do: it also moves the days and hours by which the store is asked to count.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

LOCAL: Final = ""  # the browser's: its script turns UTC into that
_NOT_PLACES: Final = ("Etc/", "SystemV/", "US/", "posix/", "right/")
_zone: ContextVar[tuple[str, tzinfo]] = ContextVar("time_zone", default=("UTC", UTC))


@contextmanager
def showing_in(name: str) -> Iterator[None]:
    """Show times inside in the zone of this name; in UTC for none, and for one that this machine does not know."""
    token = _zone.set((name, find_zone(name)) if name and name in list_zones() else ("UTC", UTC))
    try:
        yield
    finally:
        _zone.reset(token)


def to_shown(at: datetime) -> tuple[datetime, str]:
    """Return a time as its reader's clocks show it, and the name of their zone."""
    name, zone = _zone.get()
    return at.astimezone(zone), name


@cache
def find_zone(name: str) -> tzinfo:
    """Return the zone of a name, UTC if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


@cache
def list_zones() -> tuple[str, ...]:
    """Return the names of all places' zones, UTC first."""
    places = (name for name in available_timezones() if "/" in name and not name.startswith(_NOT_PLACES))
    return ("UTC", *sorted(places))
