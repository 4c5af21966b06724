"""An exported event as a line: JSON, or CSV whose cells no spreadsheet takes for formulas. PURE.

The last line says that the export is complete, how many events it holds, and the SHA-256 of all lines before it.
Without that line it was cut off.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

import orjson

COLUMNS: Final = (
    "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "traceId", "causeId",
    "hash", "redacted", "body",
)  # fmt: skip
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Format(StrEnum):
    """How an export is written; the value ends the file's name."""

    JSONL = "jsonl"
    CSV = "csv"


class Writer(Protocol):
    """Writes an export, line by line."""

    content_type: str

    def begin(self) -> bytes:
        """Return what stands before the first event."""
        ...

    def write(self, event: Mapping[str, Any]) -> bytes:
        """Return the line of one event in wire form."""
        ...

    def end(self, *, export_id: str, events: int, sha256: str) -> bytes:
        """Return the last line."""
        ...


class JsonLines:
    """One JSON object a line."""

    content_type = "application/jsonl; charset=utf-8"

    def begin(self) -> bytes:
        """Return nothing: the first line is the first event."""
        return b""

    def write(self, event: Mapping[str, Any]) -> bytes:
        """Return the line of one event in wire form."""
        return orjson.dumps(event, default=str) + b"\n"

    def end(self, *, export_id: str, events: int, sha256: str) -> bytes:
        """Return the last line, told from events by `complete`."""
        last = {"complete": True, "exportId": export_id, "events": events, "sha256": sha256}
        return orjson.dumps(last) + b"\n"


class CsvLines:
    """A line of names, then one line an event; a body is JSON in one cell."""

    content_type = "text/csv; charset=utf-8; header=present"

    def begin(self) -> bytes:
        """Return the line of names."""
        return write_line(COLUMNS)

    def write(self, event: Mapping[str, Any]) -> bytes:
        """Return the line of one event in wire form."""
        return write_line([as_cell(event.get(column)) for column in COLUMNS])

    def end(self, *, export_id: str, events: int, sha256: str) -> bytes:
        """Return the last line, told from events by its first cell."""
        told = ["complete", export_id, f"{events} events", f"sha256 {sha256}"]
        return write_line(told + [""] * (len(COLUMNS) - len(told)))


def make_writer(format_: Format) -> Writer:
    """Return what writes this format."""
    return CsvLines() if format_ is Format.CSV else JsonLines()


def as_cell(value: Any) -> str:
    """Return a value as text that a spreadsheet shows and does not compute."""
    if value is None:
        return ""
    if isinstance(value, bool | int):
        return str(value).lower()
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def write_line(cells: Sequence[str]) -> bytes:
    """Return one line of CSV."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode("utf-8", "replace")
