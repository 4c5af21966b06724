"""CSV: one table, whose first row is its header."""

import csv
import io
from collections.abc import Iterator

from agents.skills.base import LimitExceeded
from agents.skills.document_parser.extract import MAX_COLUMNS, MAX_ROWS, Extract, check_limit, decode_text, invalid

DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 20


def read_csv(data: bytes, extract: Extract) -> None:
    """Read a CSV document. Raises: SkillError `document_invalid`, LimitExceeded."""
    text = decode_text(data)
    rows: list[list[str]] = []
    for row in _read_rows(text, find_delimiter(text)):
        if any(cell.strip() for cell in row):
            check_limit("columns", len(row), MAX_COLUMNS)
            check_limit("rows", len(rows), MAX_ROWS)
            rows.append(row)
    if rows:
        extract.add_table([name.strip() for name in rows[0]], rows[1:])


def _read_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        if "field limit" in str(error):
            raise LimitExceeded("cell", f"A cell near line {reader.line_num} is over 131,072 characters.") from None
        raise invalid(f"line {reader.line_num}: {error}") from None


def find_delimiter(text: str) -> str:
    """Return the delimiter that cuts the first rows into the most columns, all alike; "," if none does."""
    return max(DELIMITERS, key=lambda delimiter: (_count_columns(text, delimiter), -DELIMITERS.index(delimiter)))


def _count_columns(text: str, delimiter: str) -> int:
    """Return the number of columns if the first rows agree on it, else 0."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    widths = []
    try:
        for row in reader:
            if row:
                widths.append(len(row))
            if len(widths) >= _SAMPLE_ROWS:
                break
    except csv.Error:
        return 0
    return widths[0] if widths and len(set(widths)) == 1 else 0
