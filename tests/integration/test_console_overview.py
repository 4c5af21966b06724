"""The overview's figures are right, bounded, and asked for in few queries; it says first what needs a person."""

import re
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Task, Worker
from agents.registry import forget_fleet
from orchestrator_site.overview import activity, counting, needs
from orchestrator_site.overview.windows import DAY, WINDOWS
from tests.integration.console_cast import FETCHER, make_decision, make_task, make_waiting_task, sign_in, world
from toolgate.models import Approval

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def read_text(page: str) -> str:
    """Return a page's text without its markup, as one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def show(name: str = "vera", query: str = "") -> str:
    return sign_in(name).get(f"/{query}").content.decode()


# --- what the fleet does ----------------------------------------------------------------------------------------
def test_it_counts_the_tasks_of_the_window_by_hour_and_outcome() -> None:
    now = timezone.now()
    for _ in range(3):
        make_task(age=timedelta(0))
    make_task(state="failed", age=timedelta(hours=5))
    make_task(state="running", age=timedelta(0))
    make_task(age=timedelta(hours=30))
    found = activity.read_task_activity(DAY, timezone.now())
    assert (found.tasks.value, found.tasks.before, found.running, found.failed) == (5, 1, 1, 1)
    assert found.outcomes.bars[-1].values == (3, 0, 0)
    assert found.outcomes.bars[-6].values == (0, 1, 0)
    agent = found.by_agent[FETCHER]
    assert (agent.total, agent.running, agent.failed) == (5, 1, 1)
    assert agent.last_at is not None
    assert agent.last_at >= now


@pytest.mark.parametrize(("key", "counted"), [("1h", 1), ("24h", 2), ("7d", 3)])
def test_a_range_shows_what_lies_in_it(key: str, counted: int) -> None:
    for age in (timedelta(0), timedelta(hours=3), timedelta(days=3), timedelta(days=20)):
        make_task(age=age)
    assert activity.read_task_activity(WINDOWS[key], timezone.now()).tasks.value == counted
    page = show(query=f"?range={key}")
    assert f'aria-current="true" aria-label="{WINDOWS[key].length.capitalize()}"' in page
    assert f"Task outcomes per {WINDOWS[key].each}" in page


def test_a_range_that_is_none_shows_the_day() -> None:
    assert "Tasks, last 24 h" in show(query="?range=9y")


def test_the_table_behind_the_chart_holds_the_numbers_that_are_drawn() -> None:
    for number in range(7):
        make_task(age=timedelta(hours=number % 3), state=("succeeded", "failed", "cancelled")[number % 3])
    page = show()
    plot = page[page.index('<svg class="plot"') : page.index("</svg>", page.index('<svg class="plot"'))]
    top = int(page[: page.index('<svg class="plot"')].rpartition("<span>")[2].partition("<")[0])
    drawn = [
        tuple(
            round(sum(float(height) for height in re.findall(rf'class="{css}"[^>]*height="([\d.]+)"', bar)) * top / 100)
            for css in ("ok", "bad", "stopped")
        )
        for bar in re.findall(r"<g>.*?</g>", plot, re.S)
    ]
    table = page[page.index("The numbers as a table") :]
    rows = re.findall(r'<th scope="row">[^<]*</th>((?:<td class="num">\d+</td>){3})', table)
    told = [tuple(int(value) for value in re.findall(r">(\d+)<", row)) for row in rows]
    assert (len(drawn), drawn) == (24, told)
    assert sum(map(sum, told)) == 7
    assert 'aria-label="7 finished tasks of the last 24 h, by hour; the table below has the numbers."' in plot


def test_it_compares_with_the_day_before() -> None:
    for age in (1, 2, 3, 30):
        make_task(age=timedelta(hours=age))
    assert "▲ 200 % more than the day before" in read_text(show())


def test_a_span_that_is_over_is_not_counted_again_until_its_minute_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    make_task(age=timedelta(hours=5))
    now, at = timezone.now(), monotonic()
    assert activity.read_task_activity(DAY, now).tasks.value == 1
    Task.objects.all().delete()
    make_task(age=timedelta(0))
    assert activity.read_task_activity(DAY, timezone.now()).tasks.value == 2  # the newest is always counted
    monkeypatch.setattr(counting, "monotonic", lambda: at + activity.KEEP_SECONDS + 5)
    assert activity.read_task_activity(DAY, timezone.now()).tasks.value == 1


def test_it_looks_at_a_bounded_number_of_rows_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_ROWS", 5)
    for _ in range(8):
        make_decision(make_task(age=timedelta(0)))
    found = activity.read_task_activity(DAY, timezone.now())
    assert (found.tasks.value, found.tasks.is_capped) == (5, True)
    refusals = activity.read_refusals(DAY, timezone.now())
    assert (refusals.refused.value, refusals.refused.is_capped, refusals.is_decided_capped) == (5, True, True)
    assert "here there were more" in show()


def test_it_counts_refusals_and_names_the_most_frequent() -> None:
    for number in range(4):
        make_decision(make_task(age=timedelta(minutes=number)))
    make_decision(make_task(), effect="allow", reason="allowed")
    make_decision(make_task(age=timedelta(hours=30)))
    refusals = activity.read_refusals(DAY, timezone.now())
    assert (refusals.refused.value, refusals.decided) == (4, 5)
    assert refusals.most == (FETCHER, "sourceFetch", 4)


def test_each_figure_is_found_through_an_index() -> None:
    for _ in range(3):
        make_decision(make_task())
    with CaptureQueriesContext(connection) as captured:
        activity.read_task_activity(DAY, timezone.now())
        activity.read_refusals(DAY, timezone.now())
    for query in captured.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plan = "\n".join(row[3] for row in cursor.fetchall())
        for table in ("agents_task", "toolgate_decisionrecord"):
            assert f"SCAN {table}" not in plan.replace(f"SCAN {table} USING", ""), plan


# --- what needs a person ----------------------------------------------------------------------------------------
def test_it_says_first_what_the_reader_may_answer() -> None:
    make_waiting_task()
    make_waiting_task()
    Approval.objects.update(escalated_at=timezone.now())
    make_task(state="failed")
    page = read_text(show("ana"))
    first = page.index("Needs you")
    order = ["2 requests that you may answer", "2 escalated: nobody answered in time", "1 task failed"]
    places = [page.index(words, first) for words in order]
    assert places == sorted(places)
    assert page.index("Task outcomes") > places[-1]
    assert "that you may answer" not in show("vera")  # who may answer nothing is asked for nothing


def test_a_request_of_ones_own_is_not_among_what_one_may_answer() -> None:
    make_waiting_task()
    Approval.objects.update(submitted_by="ana")
    assert "that you may answer" not in show("ana")


def test_more_waits_than_is_looked_at_and_it_does_not_say_that_nothing_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "PAGE_SIZE", 1)
    (_, first), _ = make_waiting_task(), make_waiting_task()
    assert "1+ requests that you may answer" in read_text(show("ana"))
    Approval.objects.filter(id=first.id).update(submitted_by="ana", expires_at=timezone.now() + timedelta(minutes=1))
    page = read_text(show("ana"))
    assert "2 requests wait; the first to expire are for others" in page
    assert "Nothing. What waits for somebody else" not in page


def test_a_dead_worker_and_a_stopped_agent_are_told() -> None:
    now = timezone.now()
    Worker.objects.create(
        id="w-dead", host="h", pid=1, started_at=now, beat_at=now, lease_expires_at=now - timedelta(seconds=1)
    )
    answer = sign_in("olga").post(f"/agents/{FETCHER}/status/", {"status": "paused", "reason": "it floods"})
    assert answer.status_code == 302
    forget_fleet()
    page = read_text(show("olga"))
    assert "1 worker died : w-dead" in page
    assert f"{FETCHER} is paused" in page
    assert "No worker runs, so queued tasks wait" in page
    assert "w-dead" not in show("vera")  # a host's name is not for everybody


def test_where_nothing_needs_a_person_it_says_so() -> None:
    page = read_text(show("ana"))
    assert "Nothing waits for a person" in page
    assert "the gate refused nothing" in page


def test_it_tells_what_waits_and_for_how_long() -> None:
    make_waiting_task()
    make_waiting_task()
    waiting = needs.read_waiting(None, timezone.now())
    assert (waiting.count, waiting.mine) == (2, [])
    assert waiting.expires_at is not None
    assert waiting.oldest_at is not None


@pytest.mark.parametrize(
    ("path", "bound"),
    [("/", 26), ("/tasks/", 16), ("/approvals/", 16), ("/agents/", 16), ("/skills/", 16), ("/tasks/new/", 16)],
)
def test_a_page_asks_a_bounded_number_of_questions(
    path: str, bound: int, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        make_decision(make_task())
    make_waiting_task()
    client = sign_in("ada")
    now = monotonic()
    for module in (
        "agents.registry",
        "toolgate.in_force",
        "orchestrator_site.console",
        "orchestrator_site.overview.counting",
    ):
        monkeypatch.setattr(f"{module}.monotonic", lambda: now)  # what they keep does not grow old
    client.get(path)
    with django_assert_max_num_queries(bound):
        client.get(path)
