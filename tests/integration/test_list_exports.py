"""What lists show, as files: the same rows, safe for spreadsheets, bounded, recorded, for who may see the list."""

import csv
import io
import json
from hashlib import sha256
from typing import Any

import pytest

from audit.models import LedgerEvent
from orchestrator_site.exports.tables import TABLES
from orchestrator_site.roles import ROLES
from tests.integration.console_cast import (
    CAST,
    FETCHER,
    OUTSIDER,
    PATCHER,
    make_task,
    make_waiting_task,
    sign_in,
    world,
)

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def take(path: str, person: str = "ada") -> bytes:
    answer: Any = sign_in(person).get(path)
    assert answer.status_code == 200
    return b"".join(answer.streaming_content)


def read_csv(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(take(path).decode())))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("format_", ["csv", "json"])
def test_each_list_is_a_file_with_a_value_for_each_column(table: Any, format_: str) -> None:
    make_task()
    make_waiting_task()
    content = take(f"/exports/{table.name}.{format_}?agent={PATCHER if table.name == 'agent-versions' else ''}")
    if format_ == "csv":
        lines = list(csv.reader(io.StringIO(content.decode())))
        assert lines[0] == list(table.columns)
        assert {len(line) for line in lines} == {len(table.columns)}
        rows = len(lines) - 1
    else:
        document = json.loads(content)
        rows = document["count"]
        assert (document["list"], document["isCut"], len(document["rows"])) == (table.name, False, rows)
        assert all(set(row) == set(table.columns) for row in document["rows"])
    assert rows or table.name in {"bulk", "bulk-runs", "grants", "cost", "deliveries", "webhooks", "tokens"}
    event = LedgerEvent.objects.get(type="list.exported")
    assert (event.actor, event.body["list"], event.body["rows"]) == ("user:ada", table.name, rows)
    assert event.body["sha256"] == sha256(content).hexdigest()


def test_it_holds_what_the_filters_of_the_page_let_through() -> None:
    wanted = make_task(state="failed", error_code="attempts_exhausted")
    make_task(state="failed", error_code="timeout")
    make_task(state="queued", agent_id=PATCHER)
    assert [row["taskId"] for row in read_csv("/exports/tasks.csv?status=dead")] == [wanted.id]
    assert {row["agentId"] for row in read_csv(f"/exports/tasks.csv?agent={FETCHER}")} == {FETCHER}
    body = LedgerEvent.objects.filter(type="list.exported").first().body
    assert body["filters"] == {"status": "dead"}


def test_no_cell_is_a_formula() -> None:
    make_task(error_message='=HYPERLINK("http://evil.example")', submitted_by="+olga")
    [row] = read_csv("/exports/tasks.csv")
    assert row["errorMessage"] == '\'=HYPERLINK("http://evil.example")'
    assert row["submittedBy"] == "'+olga"


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_a_file_that_is_cut_says_so_and_so_does_the_trail(monkeypatch: pytest.MonkeyPatch, format_: str) -> None:
    monkeypatch.setattr("orchestrator_site.exports.writing.MAX_ROWS", 2)
    for _ in range(3):
        make_task()
    content = take(f"/exports/tasks.{format_}")
    if format_ == "csv":
        assert content.decode().splitlines()[-1].startswith('"cut","the first 2 rows')
    else:
        assert json.loads(content)["isCut"] is True
    body = LedgerEvent.objects.get(type="list.exported").body
    assert (body["rows"], body["isCut"]) == (2, True)


def test_what_was_decided_is_a_list_of_its_own() -> None:
    _, waits = make_waiting_task()
    _, over = make_waiting_task(state="approved", decided_by="ana")
    assert [row["approvalId"] for row in read_csv("/exports/approvals.csv")] == [waits.id]
    assert [row["approvalId"] for row in read_csv("/exports/approvals.csv?show=decided")] == [over.id]
    assert [row["approvalId"] for row in read_csv(f"/exports/approvals.csv?agent={FETCHER}")] == []


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_it_is_open_to_those_who_may_see_the_list(table: Any) -> None:
    for name, role in CAST.items():
        expected = 200 if table.permission in ROLES[role] else 403
        assert sign_in(name).get(f"/exports/{table.name}.csv").status_code == expected
    assert sign_in(OUTSIDER).get(f"/exports/{table.name}.csv").status_code == 403
    assert sign_in("ada").get(f"/exports/{table.name}.exe").status_code == 404
