"""What is read out of a document, gathered within bounds."""

from dataclasses import dataclass, field
from enum import StrEnum

from agents.skills.base import LimitExceeded, SkillError, clean_text

MAX_BLOCKS = 20_000
MAX_TABLES = 2_000
MAX_ROWS = 100_000
MAX_CELLS = 1_000_000
MAX_COLUMNS = 1_000
MAX_DEPTH = 100


class BlockType(StrEnum):
    """The kinds of block."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    TABLE = "table"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockText:
    """One stretch of a document, in reading order."""

    type: BlockType
    content: str
    page: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableText:
    """One table; every cell is text as it was written."""

    headers: list[str]
    rows: list[list[str]]
    page: int | None


class EntityType(StrEnum):
    """The kinds of entity."""

    DATE = "date"
    MONEY = "money"
    PERCENT = "percent"
    EMAIL = "email"
    URL = "url"
    PHONE = "phone"
    IBAN = "iban"
    REFERENCE = "reference"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityText:
    """One thing found, as it was written and in its one form, with the text around it."""

    type: EntityType
    value: str
    normalized: str | None
    context: str


@dataclass(slots=True)
class Extract:
    """Blocks and tables of one document. Raises: LimitExceeded when a bound is passed."""

    keep_tables: bool = True
    page: int | None = None
    blocks: list[BlockText] = field(default_factory=list)
    tables: list[TableText] = field(default_factory=list)
    _rows: int = 0
    _cells: int = 0

    def add(self, kind: BlockType, content: str) -> None:
        """Add a block; one that is only white space is left out."""
        content = clean_text(content).strip()
        if content:
            check_limit("blocks", len(self.blocks) + 1, MAX_BLOCKS)
            self.blocks.append(BlockText(type=kind, content=content, page=self.page))

    def add_table(self, headers: list[str], rows: list[list[str]], *, caption: str = "") -> None:
        """Add a table and the block that stands for it; without `keep_tables` the block holds its text."""
        if not headers and not rows:
            return
        self._count(headers, rows)
        if self.keep_tables:
            headers, *rows = ([clean_text(cell) for cell in row] for row in (headers, *rows))
            self.tables.append(TableText(headers=headers, rows=rows, page=self.page))
            self.add(BlockType.TABLE, caption or f"Table {len(self.tables)}: {_describe(headers, rows)}")
        else:
            lines = [caption] if caption else []
            self.add(BlockType.TABLE, "\n".join([*lines, *(" | ".join(row) for row in [headers, *rows] if row)]))

    def _count(self, headers: list[str], rows: list[list[str]]) -> None:
        self._rows += len(rows)
        self._cells += len(headers) + sum(map(len, rows))
        check_limit("tables", len(self.tables) + 1, MAX_TABLES)
        check_limit("rows", self._rows, MAX_ROWS)
        check_limit("cells", self._cells, MAX_CELLS)
        check_limit("columns", max(map(len, [headers, *rows])), MAX_COLUMNS)


def _describe(headers: list[str], rows: list[list[str]]) -> str:
    names = ", ".join(name or "(unnamed)" for name in headers[:10]) or f"{len(rows[0])} columns without names"
    return f"{names}{', …' if len(headers) > 10 else ''} ({len(rows)} rows)"


def check_limit(limit: str, amount: int, bound: int, *, unit: str = "") -> None:
    """Raise LimitExceeded if an amount is over its bound."""
    if amount > bound:
        message = f"The document has more than {bound:,} {unit or limit}. Nothing was kept; split it up."
        raise LimitExceeded(limit, message)


def invalid(what: str) -> SkillError:
    """Return the error for a document that is not what its format says."""
    return SkillError("document_invalid", f"The document could not be read: {what}. Check its content and format.")


def decode_text(data: bytes) -> str:
    """Return a text file's content: by its byte order mark, else UTF-8, else Windows-1252.

    Raises: SkillError `document_invalid`.
    """
    encodings = ["utf-16"] if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding).replace("\0", "\ufffd")
        except UnicodeDecodeError:
            continue
    raise invalid("it is neither UTF-8, UTF-16 nor Windows-1252 text")
