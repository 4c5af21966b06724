"""When a delivery that was not taken is tried again, and when not any more. PURE."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

MAX_ATTEMPTS: Final = 10  # the last of them some 20 hours after the first
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(hours=6)
_FACTOR: Final = 4
_JITTER: Final = 0.2
MAY_SAY_WHEN: Final = frozenset({429, 503})


def find_wait(attempt: int, *, draw: float, asked: timedelta | None = None) -> timedelta | None:
    """Return how long to wait after failed attempt number `attempt`, None if it was the last.

    5 s, four times as long each time, 6 h at most, a fifth more or less as `draw` (0 to 1) has it; and never less
    than the receiver asked for, up to 6 h.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    wait: timedelta = min(FIRST_WAIT * _FACTOR ** (attempt - 1), LONGEST_WAIT) * (1 - _JITTER + 2 * _JITTER * draw)
    return max(wait, min(asked or timedelta(), LONGEST_WAIT))


def read_retry_after(status: int, header: str, *, now: datetime) -> timedelta | None:
    """Return how long a receiver that is busy asks to be left alone; None if it does not, or not understandably."""
    if status not in MAY_SAY_WHEN or not header:
        return None
    if header.isascii() and header.isdigit():
        return timedelta(seconds=min(int(header[:9]), 10**8))
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # the receiver writes what it likes: also years of 14 digits
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(at - now, timedelta())
