"""A result taken apart for reading: lines, long texts, tables, and the whole as JSON. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_TABLES = 5
MAX_ROWS = 50
MAX_TEXT = 8_000  # characters shown of one text
MAX_LINE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a result, cut to `MAX_ROWS`."""

    name: str  # of the result's field that holds it
    headers: list[str]
    rows: list[list[str]]
    more: int  # rows that are not shown


@dataclass(slots=True, kw_only=True)
class Reading:
    """What the task page shows of a result; `is_cut` says that the JSON is not whole."""

    lines: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    json: str = ""
    is_cut: bool = False


def read_result(result: Mapping[str, Any] | None) -> Reading | None:
    """Return a result's readable parts, None if there is none."""
    if result is None:
        return None
    reading = Reading()
    for name, value in result.items():
        if isinstance(value, str) and (len(value) > MAX_LINE or "\n" in value):
            reading.texts[name] = value[:MAX_TEXT]
        elif value is None or isinstance(value, str | bool | int | float):
            reading.lines[name] = value
        elif isinstance(value, list):
            reading.lines[name] = f"{len(value):,} items" if len(value) != 1 else "1 item"
            reading.tables += _find_tables(name, value)[: MAX_TABLES - len(reading.tables)]
        elif isinstance(value, Mapping) and _is_flat(value):
            reading.lines |= {f"{name}.{key}": inner for key, inner in value.items()}
    text = orjson.dumps(result, option=orjson.OPT_INDENT_2).decode()
    reading.json, reading.is_cut = text[:MAX_TEXT], len(text) > MAX_TEXT
    return reading


def _is_flat(value: Mapping[str, Any]) -> bool:
    return len(value) <= 12 and all(not isinstance(inner, list | Mapping) for inner in value.values())


def _find_tables(name: str, values: Sequence[Any]) -> list[Table]:
    """Return the tables of a list: each {headers, rows}, or the list itself if its records share their fields."""
    tables = [_cut(name, value["headers"], value["rows"]) for value in values if _is_table(value)]
    if not tables and values and all(isinstance(value, Mapping) for value in values):
        headers = list(values[0])
        if 0 < len(headers) <= 12 and all(list(value) == headers for value in values):
            tables = [_cut(name, headers, [list(value.values()) for value in values])]
    return tables


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("headers"), list) and isinstance(value.get("rows"), list)


def _cut(name: str, headers: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Table:
    shown = [[_cell(value) for value in row] for row in rows[:MAX_ROWS]]
    more = max(len(rows) - MAX_ROWS, 0)
    return Table(name=name, headers=[_cell(header) for header in headers], rows=shown, more=more)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping) and "formatted" in value:
        value = value["formatted"]
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text[:MAX_LINE]
