"""The list of tasks: each filter narrows it, through an index that ends in the order of the list."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents import queries
from agents.listing.filters import TaskFilters, read_filters
from tests.integration.api_cast import api_of, problem_of
from tests.integration.console_cast import FETCHER, PATCHER, make_task, sign_in, text_of, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def found(query: str) -> list[str]:
    """Return the ids that the page lists, newest first."""
    page = sign_in("vera").get(f"/tasks/?{query}").context["page"]
    return [task.id for task in page.results]


def test_each_filter_narrows_the_list() -> None:
    old = make_task(state="failed", error_code="timeout", age=timedelta(days=3), submitted_by="ada")
    dead = make_task(state="failed", error_code="attempts_exhausted", agent_id=PATCHER)
    new = make_task(skill_id="normalizer", age=timedelta(seconds=5))
    day = (timezone.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert found("") == [new.id, dead.id, old.id]
    assert found("status=failed") == [dead.id, old.id]
    assert found("status=dead") == [dead.id]
    assert found("status=dead&error=timeout") == []
    assert found("error=timeout") == [old.id]
    assert found("status=succeeded&error=timeout") == []
    assert found("by=ada") == found("by=user:ada") == [old.id]
    assert found(f"agent={PATCHER}") == [dead.id]
    assert found("skill=normalizer") == [new.id]
    assert found(f"since={day}") == [new.id, dead.id]
    assert found(f"until={day}") == [old.id]
    assert found(f"task={dead.id}") == found(f"task={dead.id[-8:]}") == [dead.id]
    assert found(f"task={dead.id[:8]}") in ([], [dead.id])  # the beginning is a time, and alike among neighbours


@pytest.mark.parametrize("query", ["since=yesterday", "status=gone", "task=../..", "by=a%0Ab", "error=%3Cscript%3E"])
def test_a_filter_that_makes_no_sense_is_left_out_and_named(query: str) -> None:
    task = make_task()
    page = text_of(sign_in("vera").get(f"/tasks/?{query}"))
    assert "This filter was left out" in page
    assert task.id in page
    assert "<script>" not in page.partition("<main")[2]


def test_filters_are_read_back_as_they_were_written() -> None:
    asked = read_filters({"status": "dead", "agent": FETCHER, "since": "2026-01-02T03:04", "task": "12345678"})
    assert read_filters(asked.filters.describe()).filters == asked.filters


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (TaskFilters(), "task_newest"),
        (TaskFilters(status="failed"), "task_by_state"),
        (TaskFilters(status="dead"), "task_by_error"),
        (TaskFilters(status="failed", error="timeout"), "task_by_error"),
        (TaskFilters(agent=FETCHER), "task_by_agent"),
        (TaskFilters(skill="normalizer"), "task_by_skill"),
        (TaskFilters(by="olga"), "task_by_person"),
        (TaskFilters(parent="a" * 32), "task_children"),
        (TaskFilters(since=timezone.now()), "task_newest"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.describe()) or "none",
)
def test_the_store_walks_an_index_in_the_order_of_the_list(filters: TaskFilters, index: str) -> None:
    cursor = queries.read_cursor(queries.write_cursor(make_task()))
    for before in (None, cursor):
        plan = queries.filter_tasks(filters, before=before)[:51].explain()
        assert f"INDEX {index}" in plan
        assert "TEMP B-TREE" not in plan


def test_the_tail_of_an_id_is_found_by_an_index() -> None:
    assert "INDEX task_by_tail" in queries.filter_tasks(TaskFilters(task="12345678"))[:51].explain()


def test_what_tasks_came_to_is_not_read_for_the_list() -> None:
    make_task(result={"text": "x" * 1_000})
    [task] = queries.list_tasks(results=False).results
    assert "result" in task.get_deferred_fields()


def test_a_page_is_as_long_as_ever_where_results_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_PAGE_CHARACTERS", 5_000)
    for _ in range(4):
        make_task(result={"text": "x" * 2_000})
    assert len(found("")) == 4
    assert len(queries.list_tasks().results) < 4


def test_the_api_lists_dead_letters() -> None:
    dead = make_task(state="failed", error_code="attempts_exhausted")
    make_task(state="failed", error_code="timeout")
    api: Any = api_of("vera")
    answer = api.get("tasks", errorCode="attempts_exhausted").json()
    assert [task["taskId"] for task in answer["results"]] == [dead.id]
    problem_of(api.get("tasks", errorCode="a b"), 400, "query_invalid")
