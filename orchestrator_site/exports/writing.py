"""Write a list as a file: CSV that no spreadsheet takes for formulas, or one JSON document."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any, Final

import orjson

from audit.exploring.rows import as_cell, write_line
from audit.wire import format_at
from orchestrator_site.exports.tables import Source, Table

MAX_ROWS: Final = 50_000  # of one file


class Format(StrEnum):
    """How an export is written; the value ends the file's name."""

    CSV = "csv"
    JSON = "json"


CONTENT_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.JSON: "application/json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file that is whole, at its beginning."""

    file: IO[bytes]
    rows: int
    is_cut: bool  # there was more than `MAX_ROWS`; the file says so at its end
    sha256: str


class _Counted:
    """Rows on their way, cut at the bound."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = iter(rows)
        self.count = 0
        self.is_cut = False

    def __iter__(self) -> Iterator[Any]:
        for row in islice(self._rows, MAX_ROWS):
            self.count += 1
            yield row
        self.is_cut = next(self._rows, None) is not None


def write_file(table: Table, source: Source, format_: Format, *, now: datetime) -> Written:
    """Write the rows to a file without a name, so that a slow client holds up neither rows nor memory."""
    rows, digest = _Counted(source.rows), sha256()
    file = TemporaryFile()  # noqa: SIM115  (whoever sends it closes it)
    parts = _write_csv(table, rows) if format_ is Format.CSV else _write_json(table, source, rows, now=now)
    for part in parts:
        digest.update(part)
        file.write(part)
    file.seek(0)
    return Written(file=file, rows=rows.count, is_cut=rows.is_cut, sha256=digest.hexdigest())


def _write_csv(table: Table, rows: _Counted) -> Iterator[bytes]:
    yield write_line(list(table.columns))
    for row in rows:
        yield write_line([as_cell(value) for value in table.show(row).values()])
    if rows.is_cut:
        told = ["cut", f"the first {MAX_ROWS:,} rows; narrow the filters for the others"]
        yield write_line(told + [""] * (len(table.columns) - len(told)))


def _write_json(table: Table, source: Source, rows: _Counted, *, now: datetime) -> Iterator[bytes]:
    head = {"list": table.name, "filters": source.filters, "at": format_at(now)}
    yield orjson.dumps(head)[:-1] + b',"rows":['
    for row in rows:
        comma = b"," if rows.count > 1 else b""
        yield comma + b"\n" + orjson.dumps(table.show(row), default=str)
    yield b"\n]," + orjson.dumps({"count": rows.count, "isCut": rows.is_cut})[1:] + b"\n"
