"""Rows of a small file that a person chose, for a form; the skills read documents by themselves."""

import csv
import io
from typing import Any, Protocol

import orjson

MAX_BYTES = 900_000  # with the rest of the order it stays within the largest body
MAX_ROWS = 10_000
DELIMITERS = (",", ";", "\t", "|")


class TableUnreadable(Exception):
    """The file holds no rows that could be taken; nothing was kept. `message` says what to change."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class Readable(Protocol):
    """What can be read in bytes."""

    def read(self, size: int, /) -> bytes: ...


def read_rows(file: Readable) -> Any:
    """Return the rows of a CSV file as objects, or the value of a JSON file.

    Raises: TableUnreadable.
    """
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise TableUnreadable(f"The file is larger than {MAX_BYTES // 1000} KB. Parse it with documentParser instead.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableUnreadable(f"The file is not UTF-8 text: byte {error.start} is not. Save it as UTF-8.") from error
    if "\0" in text:
        raise TableUnreadable("The file holds a NUL character, so it is no table of text.")
    if text.lstrip().startswith(("{", "[")):
        return _read_json(text)
    return _read_csv(text)


def _read_json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise TableUnreadable(f"The file is not JSON: {error.msg} at line {error.lineno}.") from error


def _read_csv(text: str) -> list[dict[str, str]]:
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if line]
    except csv.Error as error:
        raise TableUnreadable(f"The file is not CSV: {error}.") from error
    if len(lines) < 2:
        raise TableUnreadable("The file has no rows below its first line, which names the fields.")
    if len(lines) - 1 > MAX_ROWS:
        raise TableUnreadable(f"The file has more than {MAX_ROWS:,} rows. Split it, or parse it with documentParser.")
    return _name_cells([name.strip() for name in lines[0]], lines[1:])


def _name_cells(names: list[str], lines: list[list[str]]) -> list[dict[str, str]]:
    if len(set(names)) != len(names) or not all(names):
        raise TableUnreadable("The first line must name each field, and each name only once.")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(names):
            raise TableUnreadable(f"Row {number} has {len(line)} values; the first line names {len(names)} fields.")
    return [dict(zip(names, line, strict=True)) for line in lines]
