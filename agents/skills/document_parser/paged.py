"""PDF: the glyphs and rules of each page, by pdfplumber and pdfminer beneath it; `layout` makes blocks of them.

Glyphs are taken from pdfminer as they are. Only rules are put through pdfplumber, and only where tables are wanted:
its objects cost three times what reading the page does.
"""

import io
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from agents.skills.base import SkillError
from agents.skills.document_parser.extract import BlockType, Extract, check_limit, invalid
from agents.skills.document_parser.layout import Glyph, Grid, Piece, add_page, group_lines

if TYPE_CHECKING:
    from pdfminer.layout import LTChar, LTCurve
    from pdfplumber.page import Page
    from pdfplumber.pdf import PDF
    from pdfplumber.table import Table

MAX_PAGES = 500
MAX_PAGE_CHARACTERS = 100_000
MAX_CHARACTERS = 3_000_000
MIN_RULES, MAX_RULES = 2, 3_000  # on one page: with more it is a drawing, and no ruled table is looked for

_UNKNOWN_GLYPH = re.compile(r"\(cid:[0-9]+\)")
_BOLD = ("bold", "black", "heavy")


def read_pdf(data: bytes, extract: Extract) -> None:
    """Read a PDF document.

    Raises: SkillError `document_invalid`, `document_encrypted`; LimitExceeded `pages`, `characters` and others.
    pdfminer raises whatever a broken file makes it run into; the program that calls this takes any error as "broken".
    """
    if b"%PDF-" not in data[:1024]:
        raise invalid("it is not a PDF file")
    pages, characters = _open(data).pages, 0
    check_limit("pages", len(pages), MAX_PAGES)
    for number, page in enumerate(pages, start=1):
        glyphs, rules = _sort_items(page)
        characters += len(glyphs)
        check_limit("characters", len(glyphs), MAX_PAGE_CHARACTERS, unit="characters on one page")
        check_limit("characters", characters, MAX_CHARACTERS)
        extract.page = number
        _add_page(page, glyphs, rules, extract)
        page.close()  # a page's glyphs take a hundred times its text


def _open(data: bytes) -> "PDF":
    import pdfplumber
    from pdfminer.pdfdocument import PDFPasswordIncorrect
    from pdfplumber.utils.exceptions import PdfminerException

    try:
        return pdfplumber.open(io.BytesIO(data))
    except PdfminerException as error:
        if isinstance(error.args[0], PDFPasswordIncorrect):
            message = "The document needs a password. Remove the password and try again."
            raise SkillError("document_encrypted", message) from None
        raise invalid(f"it is no whole PDF file ({type(error.args[0]).__name__})") from None


def _sort_items(page: "Page") -> tuple[list["LTChar"], list["LTCurve"]]:
    """Return the page's glyphs and its rules, those of the forms placed on it included."""
    from pdfminer.layout import LTChar, LTContainer, LTCurve

    glyphs: list[LTChar] = []
    rules: list[LTCurve] = []
    waiting: list[Any] = [page.layout]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, LTChar):
                glyphs.append(item)
            elif isinstance(item, LTCurve):  # lines and rectangles are curves too
                rules.append(item)
            elif isinstance(item, LTContainer):
                waiting.append(item)
    return glyphs, rules


def _add_page(page: "Page", glyphs: list["LTChar"], rules: list["LTCurve"], extract: Extract) -> None:
    """Add the page's lines and ruled tables from top to bottom, then what is set sideways, as one paragraph."""
    upright = list(_place([glyph for glyph in glyphs if glyph.upright], page))
    grids = list(_find_grids(page, rules, upright)) if extract.keep_tables else []
    lines = group_lines([glyph for glyph in upright if not any(grid.holds(glyph) for grid in grids)])
    pieces: list[Piece] = [*grids, *lines]
    add_page(sorted(pieces, key=lambda piece: piece.top), extract)
    extract.add(BlockType.PARAGRAPH, "".join(_read_text(glyph) for glyph in glyphs if not glyph.upright))


def _place(glyphs: list["LTChar"], page: "Page") -> Iterator[Glyph]:
    """Yield the glyphs with their places as pdfplumber counts them: from the upper left corner."""
    left, above = page.mediabox[0], page.mediabox[1] + page.height
    for glyph in glyphs:
        yield Glyph(
            text=_read_text(glyph),
            x0=glyph.x0 + left,
            x1=glyph.x1 + left,
            top=above - glyph.y1,
            bottom=above - glyph.y0,
            base=above - glyph.matrix[5],
            size=glyph.size,
            bold=_is_bold(glyph.fontname),
        )


def _read_text(glyph: "LTChar") -> str:
    text = glyph.get_text()
    return "\ufffd" if _UNKNOWN_GLYPH.fullmatch(text) else text


@cache
def _is_bold(font: str | bytes) -> bool:
    return any(mark in str(font).lower() for mark in _BOLD)


def _find_grids(page: "Page", rules: list["LTCurve"], glyphs: list[Glyph]) -> Iterator[Grid]:
    if not MIN_RULES <= len(rules) <= MAX_RULES:
        return
    lines = [page.process_object(rule) for rule in rules]
    settings = {f"{way}_strategy": "explicit" for way in ("vertical", "horizontal")}
    for table in page.find_tables({**settings, "explicit_vertical_lines": lines, "explicit_horizontal_lines": lines}):
        rows = [row for row in _read_rows(table, glyphs) if any(row)]
        if len(rows) >= 2 and max(map(len, rows)) >= 2:  # else it is a box around a text
            x0, top, x1, bottom = table.bbox
            yield Grid(x0=x0, top=top, x1=x1, bottom=bottom, rows=rows)


def _read_rows(table: "Table", glyphs: list[Glyph]) -> Iterator[list[str]]:
    x0, top, x1, bottom = table.bbox
    inside = [glyph for glyph in glyphs if glyph.is_in(x0, top, x1, bottom)]
    for row in table.rows:
        _, top, _, bottom = row.bbox
        here = [glyph for glyph in inside if glyph.is_in(x0, top, x1, bottom)]
        yield [
            " ".join(line.text for line in group_lines([glyph for glyph in here if glyph.is_in(*cell)])) if cell else ""
            for cell in row.cells
        ]
