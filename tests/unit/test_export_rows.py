"""What an export writes: read back by the standard library, and no cell a formula."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.exploring.rows import COLUMNS, Format, make_writer

EVENT: dict[str, Any] = {
    "seq": 7, "id": "e-7", "type": "user.created", "at": "2026-11-23T12:00:00.000000Z", "actor": "user:olga",
    "taskId": None, "agentId": None, "skillId": None, "decision": None, "reason": None, "traceId": None,
    "causeId": None, "hash": "00", "redacted": False, "body": {"note": "a, \"b\"\nc"},
}  # fmt: skip


def written(format_: Format, *events: dict[str, Any]) -> str:
    writer = make_writer(format_)
    parts = [writer.begin(), *map(writer.write, events), writer.end(export_id="x", events=len(events), sha256="ab")]
    return b"".join(parts).decode()


def test_json_lines_are_the_events_and_a_last_line() -> None:
    lines = [json.loads(line) for line in written(Format.JSONL, EVENT, EVENT).splitlines()]
    assert lines == [EVENT, EVENT, {"complete": True, "exportId": "x", "events": 2, "sha256": "ab"}]


def test_csv_is_read_back_cell_by_cell() -> None:
    head, row, last = csv.reader(io.StringIO(written(Format.CSV, EVENT), newline=""))
    assert tuple(head) == COLUMNS
    assert dict(zip(head, row, strict=True)) == {
        **{name: "" if value is None else str(value) for name, value in EVENT.items()},
        "redacted": "false", "body": json.dumps(EVENT["body"], separators=(",", ":")),
    }  # fmt: skip
    assert last[:4] == ["complete", "x", "1 events", "sha256 ab"]
    assert len(last) == len(COLUMNS)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_cell_is_a_formula(start: str) -> None:
    hostile = f'{start}HYPERLINK("https://example.com")'
    _, row, _ = csv.reader(io.StringIO(written(Format.CSV, EVENT | {"actor": hostile, "body": hostile}), newline=""))
    assert row[COLUMNS.index("actor")] == row[COLUMNS.index("body")] == f"'{hostile}"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_csv_keeps_whatever_text(text: str) -> None:
    _, row, _ = csv.reader(io.StringIO(written(Format.CSV, EVENT | {"actor": text}), newline=""))
    assert row[COLUMNS.index("actor")].removeprefix("'") == text.removeprefix("'")
