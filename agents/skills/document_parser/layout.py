"""What the glyphs of a page make, by where they stand and how large they are set: headings, lists, tables, prose.

   glyphs ──group_lines──▶ lines, each of cells parted by wide gaps ──add_page──▶ blocks and tables, in reading order

A run of lines with cells is a table if the cells stand in columns and are short; if they are long it is prose in
columns, read one column after the other.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

from agents.skills.document_parser.extract import BlockType, Extract

MAX_HEADING_CHARACTERS = 120
HEADING_RATIO = 1.15  # a heading's size against that of most of the page
# In sizes of the type:
SAME_LINE = 0.4  # how far apart two glyphs of one line may stand, for those set a little higher or lower
SAME_PLACE = 0.1
WORD_GAP = 0.15
CELL_GAP = 1.0  # wider than any space between words
LINE_GAP = 0.6  # above it a new stretch begins

MAX_CELL_WORDS = 6  # on average; longer ones are the lines of columns of prose

_BULLET = re.compile(r"(?:[•‣◦▪*\u2013-]|[0-9]{1,3}[.)]) ")


class Glyph(NamedTuple):
    """One sign as it is set; places in points from the page's upper left corner. There are very many of them."""

    text: str
    x0: float
    x1: float
    top: float
    bottom: float
    base: float  # where its line stands
    size: float
    bold: bool

    def is_in(self, x0: float, top: float, x1: float, bottom: float) -> bool:
        """Say whether its middle lies in a box."""
        return x0 <= (self.x0 + self.x1) / 2 <= x1 and top <= (self.top + self.bottom) / 2 <= bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Words that stand close together on one line."""

    text: str
    x0: float
    x1: float
    glyphs: tuple[Glyph, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a page."""

    cells: tuple[Cell, ...]
    top: float
    bottom: float
    size: float
    bold: bool

    @property
    def text(self) -> str:
        """Return the whole line."""
        return " ".join(cell.text for cell in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table whose cells are ruled."""

    x0: float
    top: float
    x1: float
    bottom: float
    rows: list[list[str]]

    def holds(self, glyph: Glyph) -> bool:
        """Say whether a glyph belongs to the table."""
        return glyph.is_in(self.x0, self.top, self.x1, self.bottom)


Piece = Line | Grid


def group_lines(glyphs: Iterable[Glyph]) -> Iterator[Line]:
    """Yield the lines that glyphs make, from top to bottom."""
    row: list[Glyph] = []
    for glyph in sorted(glyphs, key=lambda glyph: glyph.base):
        if row and glyph.base - row[0].base > SAME_LINE * max(row[0].size, 1.0):
            yield from _cut_line(row)
            row = []
        row.append(glyph)
    yield from _cut_line(row)


def _cut_line(row: list[Glyph]) -> Iterator[Line]:
    """Yield the line that these make, none if they are all blank."""
    parts: list[list[Glyph]] = []
    texts: list[str] = []
    text, right, spaced = "", 0.0, False
    for glyph in sorted(row, key=lambda glyph: glyph.x0):
        if not glyph.text.strip():
            spaced = True
            continue
        gap, size = glyph.x0 - right, max(glyph.size, 1.0)
        if not parts or gap > CELL_GAP * size:
            texts.append(text)
            parts.append([])
            text = ""
        elif glyph.text == parts[-1][-1].text and glyph.x0 - parts[-1][-1].x0 < SAME_PLACE * size:
            continue  # set twice, a little apart, to look bold
        elif spaced or gap > WORD_GAP * size:
            text += " "
        text += glyph.text
        parts[-1].append(glyph)
        right, spaced = max(right, glyph.x1), False
    if parts:
        yield _make_line([*texts[1:], text], parts)


def _make_line(texts: list[str], parts: list[list[Glyph]]) -> Line:
    cells = [
        Cell(text=text, x0=part[0].x0, x1=max(glyph.x1 for glyph in part), glyphs=tuple(part))
        for text, part in zip(texts, parts, strict=True)
    ]
    return _join_cells(cells)


def _join_cells(cells: Iterable[Cell]) -> Line:
    glyphs = [glyph for cell in cells for glyph in cell.glyphs]
    return Line(
        cells=tuple(cells),
        top=min(glyph.top for glyph in glyphs),
        bottom=max(glyph.bottom for glyph in glyphs),
        size=max(glyph.size for glyph in glyphs),
        bold=all(glyph.bold for glyph in glyphs),
    )


def add_page(pieces: Sequence[Piece], extract: Extract) -> None:
    """Add what a page's pieces make, in reading order."""
    body = _find_body_size(pieces)
    for run in _find_runs(pieces):
        if isinstance(run, Grid):
            extract.add_table(run.rows[0], run.rows[1:])
        else:
            _add_lines(run, extract, body=body)


def _find_body_size(pieces: Iterable[Piece]) -> float:
    """Return the size that most characters of the page are set in."""
    sizes: Counter[float] = Counter()
    for piece in pieces:
        if isinstance(piece, Line):
            sizes.update(round(glyph.size, 1) for cell in piece.cells for glyph in cell.glyphs)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _find_runs(pieces: Iterable[Piece]) -> Iterator[Grid | list[Line]]:
    """Yield ruled tables and the runs of lines between them; in a run all lines have cells, or none has."""
    run: list[Line] = []
    for piece in pieces:
        if run and (isinstance(piece, Grid) or (len(piece.cells) > 1) != (len(run[0].cells) > 1)):
            yield run
            run = []
        if isinstance(piece, Grid):
            yield piece
        else:
            run.append(piece)
    if run:
        yield run


def _add_lines(lines: list[Line], extract: Extract, *, body: float) -> None:
    columns = _find_columns(lines) if len(lines[0].cells) > 1 else []
    if len(lines) < 2 or len(columns) < 2:
        return _add_prose(lines, extract, body=body)
    rows = [_lay_out(line, columns) for line in lines]
    if any(len(cells) > 1 for row in rows for cells in row):
        return _add_prose(lines, extract, body=body)
    if mean(cell.text.count(" ") + 1 for line in lines for cell in line.cells) > MAX_CELL_WORDS:
        for place in range(len(columns)):
            _add_prose([_join_cells(row[place]) for row in rows if row[place]], extract, body=body)
        return None
    first, *others = [[cells[0].text if cells else "" for cells in row] for row in rows]
    return extract.add_table(first, others)


def _find_columns(lines: list[Line]) -> list[tuple[float, float]]:
    """Return the stretches of the line's width that cells cover, from left to right."""
    columns: list[tuple[float, float]] = []
    for x0, x1 in sorted((cell.x0, cell.x1) for line in lines for cell in line.cells):
        if columns and x0 <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], x1))
        else:
            columns.append((x0, x1))
    return columns


def _lay_out(line: Line, columns: list[tuple[float, float]]) -> list[list[Cell]]:
    return [[cell for cell in line.cells if start <= cell.x0 <= end] for start, end in columns]


def _add_prose(lines: list[Line], extract: Extract, *, body: float) -> None:
    items: list[str] = []
    for stretch in _find_stretches(lines, body=body):
        if _BULLET.match(stretch[0].text):
            items += _read_items(stretch)
            continue
        _add_list(items, extract)
        kind = BlockType.HEADING if _is_heading(stretch, body=body) else BlockType.PARAGRAPH
        extract.add(kind, " ".join(line.text for line in stretch))
    _add_list(items, extract)


def _find_stretches(lines: list[Line], *, body: float) -> Iterator[list[Line]]:
    """Yield lines that belong together: close to each other, and all or none of them set as a heading."""
    stretch = lines[:1]
    for above, line in pairwise(lines):
        is_apart = line.top - above.bottom > LINE_GAP * max(above.size, line.size)
        if is_apart or _stands_out(line, body=body) != _stands_out(above, body=body):
            yield stretch
            stretch = []
        stretch.append(line)
    if stretch:
        yield stretch


def _stands_out(line: Line, *, body: float) -> bool:
    return line.bold or line.size >= HEADING_RATIO * body


def _is_heading(stretch: list[Line], *, body: float) -> bool:
    text = " ".join(line.text for line in stretch)
    return _stands_out(stretch[0], body=body) and len(text) <= MAX_HEADING_CHARACTERS and text[-1] not in ".,;"


def _read_items(stretch: list[Line]) -> Iterator[str]:
    """Yield the items of a list; a line without a mark goes on with the item above it."""
    item = ""
    for line in stretch:
        mark = _BULLET.match(line.text)
        if mark and item:
            yield item
        item = line.text[mark.end() :] if mark else f"{item} {line.text}"
    yield item


def _add_list(items: list[str], extract: Extract) -> None:
    extract.add(BlockType.LIST, "\n".join(f"- {item}" for item in items))
    items.clear()
