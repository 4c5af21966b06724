"""One document in, its blocks, tables and entities out. Run in process or, for what may take long, in a child."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from agents.skills.document_parser.extract import Extract


class Format(StrEnum):
    """The formats that can be read."""

    PDF = "pdf"
    HTML = "html"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to read out of a document."""

    format: Format
    tables: bool = True
    entities: bool = True


def find_reader(wanted: Format) -> Callable[[bytes, Extract], None]:
    """Return the reader of a format; each brings its own library, so only the one that is needed is loaded."""
    match wanted:
        case Format.PDF:
            from agents.skills.document_parser.paged import read_pdf as read
        case Format.HTML:
            from agents.skills.document_parser.markup import read_html as read
        case Format.CSV:
            from agents.skills.document_parser.delimited import read_csv as read
        case Format.JSON:
            from agents.skills.document_parser.structured import read_json as read
        case Format.MARKDOWN:
            from agents.skills.document_parser.marked import read_markdown as read
    return read


def parse_document(data: bytes, options: Options) -> dict[str, Any]:
    """Return {"blocks", "tables", "entities"} as plain data. Raises: SkillError, LimitExceeded."""
    extract = Extract(keep_tables=options.tables)
    find_reader(options.format)(data, extract)
    found: list[Any] = []
    if options.entities:
        from agents.skills.document_parser.entities import find_entities

        found = find_entities(extract)
    return {
        "blocks": [asdict(block) for block in extract.blocks],
        "tables": [asdict(table) for table in extract.tables],
        "entities": [asdict(entity) for entity in found],
    }
