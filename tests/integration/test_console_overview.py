"""The overview's figures are right, bounded, and asked for in few queries."""

from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.utils import timezone

from orchestrator_site import overview
from tests.integration.console_cast import FETCHER, make_decision, make_task, make_waiting_task, sign_in, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def test_it_counts_the_tasks_of_the_window_by_hour_and_outcome() -> None:
    now = timezone.now()
    for _ in range(3):
        make_task(age=timedelta(0))
    make_task(state="failed", age=timedelta(hours=5))
    make_task(state="running", age=timedelta(0))
    make_task(age=timedelta(hours=30))
    activity = overview.read_task_activity(now)
    assert activity.tasks.value == 5
    assert activity.outcomes.bars[-1].values == (3, 0, 0)
    assert activity.outcomes.bars[-6].values == (0, 1, 0)
    agent = activity.by_agent[FETCHER]
    assert (agent.total, agent.running, agent.failed) == (5, 1, 1)
    assert agent.last_at is not None


def test_it_counts_refusals_and_names_the_most_frequent() -> None:
    for number in range(4):
        make_decision(make_task(age=timedelta(minutes=number)))
    make_decision(make_task(), effect="allow", reason="allowed")
    make_decision(make_task(age=timedelta(hours=30)))
    refusals = overview.read_refusals(timezone.now())
    assert (refusals.refused.value, refusals.decided) == (4, 5)
    assert refusals.most == (FETCHER, "sourceFetch", 4)


def test_it_looks_at_a_bounded_number_of_rows_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MAX_ROWS", 5)
    for _ in range(8):
        make_decision(make_task(age=timedelta(0)))
    now = timezone.now()
    activity = overview.read_task_activity(now)
    assert (activity.tasks.value, activity.tasks.is_capped) == (5, True)
    assert activity.drawn_from == overview.list_hours(now)[-1]
    assert "Only the newest 5 tasks are drawn" in sign_in("vera").get("/").content.decode()
    assert overview.read_refusals(now).refused.is_capped


def test_it_tells_what_waits_and_for_how_long() -> None:
    make_waiting_task()
    make_waiting_task()
    waiting = overview.read_waiting()
    assert waiting.count == 2
    assert waiting.expires_at is not None
    assert overview.read_waiting().oldest_at == waiting.oldest_at


def test_an_empty_fleet_has_an_overview_too() -> None:
    page = sign_in("vera").get("/").content.decode()
    assert "Nothing waits for a person" in page
    assert "the gate refused nothing" in page


@pytest.mark.parametrize(
    ("path", "bound"),
    [("/", 22), ("/tasks/", 16), ("/approvals/", 14), ("/agents/", 16), ("/skills/", 16), ("/tasks/new/", 16)],
)
def test_a_page_asks_a_bounded_number_of_questions(
    path: str, bound: int, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        make_decision(make_task())
    make_waiting_task()
    client = sign_in("ada")
    now = monotonic()
    for module in ("agents.registry", "toolgate.in_force", "orchestrator_site.console"):
        monkeypatch.setattr(f"{module}.monotonic", lambda: now)  # what they keep does not grow old
    client.get(path)
    with django_assert_max_num_queries(bound):
        client.get(path)
