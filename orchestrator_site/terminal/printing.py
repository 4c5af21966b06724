"""What a terminal is shown. Nothing in it acts, whoever wrote it: all of it is escaped here and nowhere else. PURE."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from toolgate.lines import make_plain

Tone = Literal["good", "warn", "bad"]
GAP: Final = "  "
_CODES: Final[dict[Tone, str]] = {"good": "32", "warn": "33", "bad": "31"}
_WIDE: Final = frozenset("WF")  # as East Asian terminals count


@dataclass(frozen=True, slots=True)
class Toned:
    """A text with the colour of what it says; the words alone must say it too."""

    text: str
    tone: Tone


Cell = str | Toned


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; without headings, facts and their names."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]


Item = Cell | Table


def make_line(value: object) -> str:
    """Return a text as one line in which nothing acts on a terminal: what does not print is escaped, line ends too."""
    return make_plain(str(value)).replace("\n", "\\n")


def draw(items: Iterable[Item], *, coloured: bool) -> Iterator[str]:
    """Give the lines of what is to be shown, with escape codes for tones if `coloured`, and with none otherwise."""
    paint = _paint if coloured else _text_of
    for item in items:
        if isinstance(item, Table):
            yield from _draw_table(item, paint)
        else:
            yield paint(item)


def _text_of(cell: Cell) -> str:
    return make_line(cell.text if isinstance(cell, Toned) else cell)


def _paint(cell: Cell) -> str:
    text = _text_of(cell)
    return f"\x1b[{_CODES[cell.tone]}m{text}\x1b[0m" if isinstance(cell, Toned) else text


def _draw_table(table: Table, paint: Callable[[Cell], str]) -> Iterator[str]:
    rows = [*([table.headings] if table.headings else []), *table.rows]
    widths = [max(_width(_text_of(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (paint(cell) + " " * (width - _width(_text_of(cell))) for cell, width in zip(row, widths, strict=True))
        yield GAP.join(padded).rstrip()


def _width(text: str) -> int:
    """Return how many columns a text takes."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in _WIDE) for char in text)
