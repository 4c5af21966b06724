"""documentParser: the blocks, tables and entities of a PDF, HTML, CSV, JSON or Markdown document."""

import base64
import binascii
from pathlib import Path
from typing import ClassVar

from pydantic import Field, StrictBool, model_validator

from agents.skills.base import Capability, LimitExceeded, PlainText, SkillContext, SkillModel
from agents.skills.document_parser.confined import parse_confined
from agents.skills.document_parser.extract import BlockType, EntityType, invalid
from agents.skills.document_parser.parsing import Format, Options, parse_document
from agents.skills.workspace import read_file, require_within, resolve
from toolgate.types import Resource

MAX_BYTES = 10_000_000
MAX_IN_PROCESS_BYTES = 256_000
IN_PROCESS_FORMATS = frozenset({Format.CSV, Format.JSON, Format.HTML})


class DocumentParserInput(SkillModel):
    """Which document to read, and what out of it. Exactly one of `filePath` and `content`."""

    file_path: str | None = Field(default=None, description="Path of a file, relative to the workspace.")
    content: PlainText | None = Field(default=None, description="The document itself; base64 for a PDF.")
    format: Format
    extract_tables: StrictBool = Field(default=True, description="Return tables; without, their text is in blocks.")
    extract_entities: StrictBool = Field(
        default=True, description="Return dates, amounts, addresses, references and others."
    )

    @model_validator(mode="after")
    def _check_source(self) -> "DocumentParserInput":
        if (self.file_path is None) == (self.content is None):
            raise ValueError("give exactly one of filePath and content")
        return self


class Block(SkillModel):
    """One stretch of the document, in reading order."""

    type: BlockType
    content: str
    page: int | None


class Table(SkillModel):
    """One table; every cell is text as it was written."""

    headers: list[str]
    rows: list[list[str]]
    page: int | None


class Entity(SkillModel):
    """One value that was found, with the text around its first place."""

    type: EntityType
    value: str = Field(description="As it is written.")
    normalized: str | None = Field(
        description="In one form: ISO 8601 day, amount and currency code, number, address in lower case, +digits."
    )
    context: str


class DocumentParserOutput(SkillModel):
    """What was read. `page` counts from 1 and is null where the format has no pages."""

    blocks: list[Block]
    tables: list[Table]
    entities: list[Entity]


class DocumentParser:
    """Read a document."""

    id: ClassVar[str] = "documentParser"
    version: ClassVar[str] = "1.1.0"
    summary: ClassVar[str] = (
        "Read the text, tables, dates, amounts, addresses and references of a PDF, HTML, CSV, JSON or Markdown file."
    )
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.READ_WORKSPACE})
    input_model: ClassVar[type[SkillModel]] = DocumentParserInput
    output_model: ClassVar[type[SkillModel]] = DocumentParserOutput
    inline: ClassVar[bool] = False

    def is_idempotent(self, arguments: DocumentParserInput) -> bool:
        """Say that it only reads."""
        return True

    def brings_outside_text(self, arguments: DocumentParserInput) -> bool:
        """Say yes: who wrote a document is not known, wherever it lies."""
        return True

    def resource(self, arguments: DocumentParserInput, workspace: Path) -> Resource:
        """Return the file that is read, none for inline content. Raises: SkillRefused."""
        scalars: dict[str, str | bool] = {
            "format": arguments.format.value,
            "extractTables": arguments.extract_tables,
            "extractEntities": arguments.extract_entities,
        }
        if arguments.file_path is None:
            return Resource(arguments=scalars)
        path = resolve(workspace, arguments.file_path)
        return Resource(read_paths=(path,), arguments={"filePath": arguments.file_path, **scalars}, files_only=True)

    def run(self, arguments: DocumentParserInput, context: SkillContext) -> DocumentParserOutput:
        """Read the document.

        Raises: SkillError `file_not_found`, `not_a_file`, `document_invalid`, `document_encrypted`;
        LimitExceeded; SkillRefused.
        """
        data = _load(arguments, context)
        options = Options(format=arguments.format, tables=arguments.extract_tables, entities=arguments.extract_entities)
        if options.format in IN_PROCESS_FORMATS and len(data) <= MAX_IN_PROCESS_BYTES:
            parsed = parse_document(data, options)
        else:
            parsed = parse_confined(
                data, options, timeout_seconds=context.timeout_seconds, should_stop=context.should_stop
            )
        return DocumentParserOutput.model_validate(parsed)


def _load(arguments: DocumentParserInput, context: SkillContext) -> bytes:
    if arguments.file_path is not None:
        path = resolve(context.workspace, arguments.file_path)
        require_within(path, context.read_scopes, reason="read_path")
        return read_file(context.workspace, path, max_bytes=MAX_BYTES)
    content = arguments.content or ""
    data = _decode_base64(content) if arguments.format is Format.PDF else content.encode()
    if len(data) > MAX_BYTES:
        raise LimitExceeded("bytes", f"The document is over {MAX_BYTES:,} bytes. Nothing was kept; split it up.")
    return data


def _decode_base64(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("the content of a PDF is sent as base64") from None
