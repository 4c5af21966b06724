"""Which stretch of time the overview shows, and the equal spans that it is counted by. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From `start`, up to but without `end`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch that ends with the span that `now` is in."""

    key: str
    length: str  # in words
    before: str  # what it is compared with
    each: str  # one span, in words
    step: timedelta
    count: int

    def list_spans(self, now: datetime) -> list[Span]:
        """Return its spans, the oldest first; each begins at a whole multiple of its length, in UTC."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        newest = day + (now - day) // self.step * self.step
        starts = [newest - self.step * (self.count - 1 - place) for place in range(self.count)]
        return [Span(start=start, end=start + self.step) for start in starts]

    def list_spans_before(self, now: datetime) -> list[Span]:
        """Return the same spans of the stretch before, the last as far as this one's has passed, to the minute."""
        length = self.step * self.count
        *whole, last = [Span(start=span.start - length, end=span.end - length) for span in self.list_spans(now)]
        return [*whole, Span(start=last.start, end=(now - length).replace(second=0, microsecond=0))]

    def label(self, at: datetime) -> str:
        """Return what stands below the bar that begins at `at`, empty for most of them."""
        if self.step >= timedelta(hours=6):
            return f"{at:%a}" if at.hour == 0 else ""
        return f"{at:%H:%M}" if (at - at.replace(hour=0, minute=0)) // self.step % 3 == 0 else ""

    def name(self, at: datetime) -> str:
        """Return the name of the span that begins at `at`."""
        return f"{at.day} {at:%b %H:%M}" if self.step >= timedelta(hours=6) else f"{at:%H:%M}"


_WINDOWS: Final = (
    Window(key="1h", length="last hour", before="hour before", each="5 minutes", step=timedelta(minutes=5), count=12),
    Window(key="24h", length="last 24 h", before="day before", each="hour", step=timedelta(hours=1), count=24),
    Window(key="7d", length="last 7 days", before="week before", each="6 hours", step=timedelta(hours=6), count=28),
)
WINDOWS: Final[Mapping[str, Window]] = {window.key: window for window in _WINDOWS}
DAY: Final = WINDOWS["24h"]


def describe_change(value: int, before: int) -> tuple[str, str]:
    """Return a sign and words for how a number compares with the one before: ("▲", "9 % more than")."""
    if value == before:
        return "", "as many as"
    sign, word = ("▲", "more") if value > before else ("▼", "fewer")
    if not before:
        return sign, "none"
    percent = round(100 * abs(value - before) / before)
    return sign, f"{percent} % {word} than" if percent <= 999 else f"many times {word} than"
