"""PDF: the text of each page by pypdf. Tables, lists and headings are told by how the lines stand."""

import io
import re
from itertools import groupby

from pypdf import PdfReader

from agents.skills.base import LimitExceeded, SkillError
from agents.skills.document_parser.extract import BlockType, Extract, invalid

MAX_PAGES = 500
MAX_HEADING_CHARACTERS = 80

_COLUMN_GAP = re.compile(r" {2,}")
_BULLET = re.compile(r"(?:[•‣◦▪*\u2013-]|[0-9]{1,3}[.)]) ")


def read_pdf(data: bytes, extract: Extract) -> None:
    """Read a PDF document. Raises: SkillError `document_invalid`, `document_encrypted`; LimitExceeded `pages`.

    pypdf raises whatever a broken file makes it run into; the program that calls this takes any error as "broken".
    """
    if b"%PDF-" not in data[:1024]:
        raise invalid("it is not a PDF file")
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise SkillError("document_encrypted", "The document needs a password. Remove the password and try again.")
    if len(reader.pages) > MAX_PAGES:
        raise LimitExceeded("pages", f"The document has more than {MAX_PAGES} pages. Nothing was kept; split it up.")
    for number, page in enumerate(reader.pages, start=1):
        extract.page = number
        _read_page(page.extract_text(extraction_mode="layout"), extract)


def _read_page(text: str, extract: Extract) -> None:
    lines = [line.strip() for line in text.replace("\0", "\ufffd").split("\n")]
    prose: list[str] = []
    for width, group in _group_lines(lines):
        if width >= 2 and len(group) >= 2:
            _add_prose(prose, extract)
            prose = []
            rows = [_COLUMN_GAP.split(line) for line in group]
            extract.add_table(rows[0], rows[1:])
        else:
            prose += group
    _add_prose(prose, extract)


def _group_lines(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Return runs of lines that have as many columns; blank lines between rows of one table do not part them."""
    groups: list[tuple[int, list[str]]] = []
    for width, run in groupby(lines, key=lambda line: len(_COLUMN_GAP.split(line)) if line else 0):
        group = list(run)
        if width >= 2 and len(groups) >= 2 and groups[-1][0] == 0 and groups[-2][0] == width:
            groups.pop()
            groups[-1][1].extend(group)
        else:
            groups.append((width, group))
    return groups


def _add_prose(lines: list[str], extract: Extract) -> None:
    for is_text, run in groupby(lines, key=bool):
        if is_text:
            _add_stretch(list(run), extract)


def _add_stretch(lines: list[str], extract: Extract) -> None:
    if len(lines) == 1 and len(lines[0]) <= MAX_HEADING_CHARACTERS and lines[0][-1] not in ".,;:!?":
        kind = BlockType.LIST if _BULLET.match(lines[0]) else BlockType.HEADING
        extract.add(kind, _COLUMN_GAP.sub(" ", lines[0]))
    elif all(_BULLET.match(line) for line in lines):
        extract.add(BlockType.LIST, "\n".join(f"- {_BULLET.sub('', line, count=1)}" for line in lines))
    else:
        extract.add(BlockType.PARAGRAPH, _COLUMN_GAP.sub(" ", " ".join(lines)))
