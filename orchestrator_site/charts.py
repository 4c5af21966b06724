"""Geometry of the server-rendered charts: whole numbers into SVG, no style and no script. PURE."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

COLUMN = 10  # width of one hour in the view box, bar and gap together
BAR = 9
HEIGHT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One coloured piece of a bar, measured from the top of the plot."""

    css: str
    x: int
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One span of time, mostly an hour: its pieces from the bottom up, and its numbers in words."""

    at: datetime
    x: int
    parts: tuple[Part, ...]
    values: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Stacked bars with a labelled axis."""

    bars: tuple[Bar, ...]
    ticks: tuple[int, ...]  # values from 0 to the top
    lines: tuple[float, ...]  # their heights in the view box
    width: int
    total: int


def name_hour(at: datetime) -> str:
    """Return the time of day."""
    return f"{at:%H:%M}"


def draw_bars(
    hours: Sequence[tuple[datetime, Sequence[int]]],
    *,
    css: Sequence[str],
    words: Sequence[str],
    name: Callable[[datetime], str] = name_hour,
) -> BarChart:
    """Return stacked bars for each hour's values, or those of another length that `name` names, to a round top."""
    top = round_up(max((sum(values) for _, values in hours), default=0))
    bars = tuple(
        _draw_bar(index, name(at), at=at, values=values, css=css, words=words, top=top)
        for index, (at, values) in enumerate(hours)
    )
    ticks = tuple(top * quarter // 4 for quarter in range(5)) if top >= 4 else tuple(range(top + 1))
    lines = tuple(HEIGHT - HEIGHT * tick / top for tick in ticks)
    total = sum(sum(values) for _, values in hours)
    return BarChart(bars=bars, ticks=ticks, lines=lines, width=COLUMN * len(hours), total=total)


def _draw_bar(
    index: int, name: str, *, at: datetime, values: Sequence[int], css: Sequence[str], words: Sequence[str], top: int
) -> Bar:
    parts, y = [], float(HEIGHT)
    for tint, value in zip(css, values, strict=True):
        height = round(HEIGHT * value / top, 2)
        y = round(y - height, 2)
        if value:
            parts.append(Part(css=tint, x=index * COLUMN, y=y, height=height))
    told = ", ".join(f"{value} {word}" for value, word in zip(values, words, strict=True) if value) or "no tasks"
    return Bar(at=at, x=index * COLUMN, parts=tuple(parts), values=tuple(values), text=f"{name} UTC: {told}")


def round_up(value: int) -> int:
    """Return the next number that divides into quiet ticks: 1 to 4, 8, 12, 20, 40, 60, 80, 100, …"""
    if value <= 4:
        return max(value, 1)
    for scale in (1, 10, 100, 1_000, 10_000):
        for step in (4, 8, 12, 20, 32, 40):
            if value <= step * scale:
                return step * scale
    return value


def draw_spark(values: Sequence[int]) -> tuple[str, str]:
    """Return the line and the area beneath it as SVG path data, in a view box of 100 by 24."""
    if len(values) < 2:
        values = [0, *values, 0][:2]
    top = max(*values, 1)
    step = 100 / (len(values) - 1)
    points = " ".join(f"{round(index * step, 1):g},{22 - 20 * value / top:.1f}" for index, value in enumerate(values))
    return f"M{points}", f"M0,24 L{points} L100,24 Z"
