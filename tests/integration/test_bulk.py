"""One thing done to many tasks: looked at first, started with a reason, each result kept, none done twice."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import OperationalError
from django.utils import timezone

from agents import control
from agents.bulk import running
from agents.bulk.actions import Action
from agents.bulk.planning import AT_ONCE, Selection, plan_bulk, start_bulk
from agents.bulk.reading import bulk_to_wire, list_items
from agents.bulk.wire import BulkPlanWire, BulkWire
from agents.listing.filters import TaskFilters
from agents.models import BulkItem, BulkRun, Task
from audit.background import STALE
from audit.models import LedgerEvent
from tests.integration.api_cast import api_of, forget_all, problem_of
from tests.integration.console_cast import FETCHER, PATCHER, make_task, sign_in, text_of, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

WHY = "the vendor's outage is over"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def start(action: Action = Action.CANCEL, selection: Selection | None = None, **more: Any) -> BulkRun:
    chosen = selection or Selection(filters=TaskFilters(agent=FETCHER))
    given = {"reason": WHY, "asked_by": "olga", "snapshot": "", "now": timezone.now()} | more
    return start_bulk(action, chosen, **given)


def make_many(count: int, **columns: Any) -> list[Task]:
    return [make_task(**({"state": "queued"} | columns), age=timedelta(seconds=count - at)) for at in range(count)]


def events_of(type_: str) -> list[LedgerEvent]:
    return list(LedgerEvent.objects.filter(type=type_).order_by("id"))


# --- look -------------------------------------------------------------------------------------------------------
def test_a_plan_says_what_would_become_of_each_kind_and_changes_nothing() -> None:
    for state, count in {"queued": 3, "running": 2, "failed": 4}.items():
        make_many(count, state=state)
    make_task(state="queued", agent_id=PATCHER)
    plan = plan_bulk(Action.CANCEL, Selection(filters=TaskFilters(agent=FETCHER)))
    assert [(kind.state, kind.count, kind.is_changed) for kind in plan.kinds] == [
        ("queued", 3, True), ("running", 2, True), ("failed", 4, False),
    ]  # fmt: skip
    assert (plan.changed, len(plan.task_ids), plan.is_cut) == (5, 5, False)
    assert not BulkRun.objects.exists()


def test_a_plan_is_bounded_and_takes_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.bulk.planning.MAX_TASKS", 4)
    tasks = make_many(6)
    plan = plan_bulk(Action.CANCEL, Selection(filters=TaskFilters(agent=FETCHER)))
    assert plan.is_cut
    assert plan.task_ids == tuple(task.id for task in tasks[2:])


def test_the_page_needs_no_script_and_leads_to_the_results() -> None:
    olga, tasks = sign_in("olga"), make_many(3)
    make_task(state="succeeded")
    listed = text_of(olga.get(f"/tasks/?agent={FETCHER}"))
    assert f'name="id" value="{tasks[0].id}" form="bulk"' in listed
    answer = olga.get("/tasks/bulk/", {"action": "cancel", "agent": FETCHER})
    page = text_of(answer)
    assert "<strong>3</strong> would be cancelled" in page
    assert "<strong>1</strong> have ended already" in page
    assert set(Task.objects.values_list("state", flat=True)) == {"queued", "succeeded"}
    sent = {"action": "cancel", "agent": FETCHER, "snapshot": answer.context["plan"].snapshot, "reason": WHY}
    results = olga.post("/tasks/bulk/", sent, follow=True)
    assert (results.context["done"], results.context["refused"], results.context["left"]) == (3, 0, 0)
    assert WHY.replace("'", "&#x27;") in text_of(results)


def test_a_start_without_a_reason_changes_nothing_and_keeps_the_page() -> None:
    task = make_task(state="queued")
    answer = sign_in("olga").post("/tasks/bulk/", {"action": "cancel", "id": task.id, "reason": " "})
    assert answer.status_code == 422
    assert f'name="id" value="{task.id}"' in text_of(answer)
    assert Task.objects.get().state == "queued"


def test_a_filter_that_cannot_be_read_does_not_mean_more_tasks() -> None:
    make_many(2)
    sent, olga = {"action": "cancel", "agent": FETCHER, "status": "quued", "reason": WHY}, sign_in("olga")
    for answer in (olga.get("/tasks/bulk/", sent), olga.post("/tasks/bulk/", sent)):
        assert (answer.status_code, answer["Location"]) == (302, "/tasks/")
    assert "there is no state “quued”" in text_of(olga.get("/tasks/"))
    assert set(Task.objects.values_list("state", flat=True)) == {"queued"}


def test_what_is_submitted_after_the_look_is_not_touched() -> None:
    make_many(2)
    plan = plan_bulk(Action.CANCEL, Selection(filters=TaskFilters(agent=FETCHER)))
    late = make_task(state="queued", age=timedelta(seconds=-5))
    run = start(snapshot=plan.snapshot)
    assert run.result == {"done": 2, "refused": 0, "left": 0, "why": ""}
    assert Task.objects.get(id=late.id).state == "queued"


@pytest.mark.parametrize(("person", "status"), [("vera", 403), ("ana", 403), ("axel", 403), ("olga", 302)])
def test_only_who_may_change_tasks_starts_one(person: str, status: int) -> None:
    task = make_task(state="queued")
    answer = sign_in(person).post("/tasks/bulk/", {"action": "cancel", "id": task.id, "reason": WHY})
    assert answer.status_code == status


# --- run --------------------------------------------------------------------------------------------------------
def test_each_task_has_its_own_event_that_names_the_run_as_its_cause() -> None:
    make_many(2, state="failed")
    run = start(Action.RETRY)
    [started], [ended] = events_of("bulk.started"), events_of("bulk.ended")
    assert (started.event_id, started.body["tasks"], started.body["reason"]) == (run.id, 2, WHY)
    assert [(event.actor, event.cause_id) for event in events_of("task.retried")] == [("user:olga", run.id)] * 2
    assert (ended.cause_id, ended.body["done"], ended.body["refused"]) == (run.id, 2, 0)


def test_named_tasks_each_learn_why_they_are_refused() -> None:
    gone, over, waits = "0" * 32, make_task(state="succeeded"), make_task(state="queued")
    run = start(selection=Selection(task_ids=(waits.id, over.id, gone)))
    refusals = {item.task_id: item.refusal for item in run.items.all()}
    assert refusals[waits.id] == ""
    assert "is succeeded and cannot be cancelled" in refusals[over.id]
    assert "There is no task" in refusals[gone]
    assert run.result == {"done": 1, "refused": 2, "left": 0, "why": ""}


def test_many_wait_for_a_worker_and_one_that_is_taken_over_does_no_task_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    make_many(AT_ONCE + 10)
    run, turns = start(), []
    assert run.state == "waiting"

    def cancel(task_id: str, **given: Any) -> Any:
        turns.append(task_id)
        if len(turns) == 20:
            raise KeyboardInterrupt  # the process dies in the middle of a turn
        return control.cancel_task(task_id, **given)

    monkeypatch.setitem(running._TURNS, Action.CANCEL, cancel)
    with pytest.raises(KeyboardInterrupt):
        running.run_due()
    assert BulkItem.objects.count() == 19
    assert running.run_due() is None  # its runner is not known to be dead yet
    late = timezone.now() + STALE + timedelta(seconds=1)
    assert running.run_due(clock=lambda: late) == run.id
    run.refresh_from_db()
    assert run.result == {"done": AT_ONCE + 10, "refused": 0, "left": 0, "why": ""}
    assert len(events_of("task.cancelled")) == AT_ONCE + 10
    assert len(turns) == AT_ONCE + 11  # the one that it died in came to nothing, and had its turn again


def test_a_runner_that_was_taken_over_changes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = make_many(AT_ONCE + 1)
    run = start()

    def cancel(task_id: str, **given: Any) -> Any:
        if task_id == tasks[2].id:  # meanwhile another had the next turn
            BulkItem.objects.create(run=run, place=3, task_id=tasks[3].id, at=timezone.now())
        return control.cancel_task(task_id, **given)

    monkeypatch.setitem(running._TURNS, Action.CANCEL, cancel)
    running.run_due()
    assert Task.objects.filter(state="cancelled").count() == 3
    assert not events_of("bulk.ended")


def test_a_store_that_is_away_for_a_moment_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_many(AT_ONCE + 1)
    run, calls = start(), []

    def cancel(task_id: str, **given: Any) -> Any:
        calls.append(task_id)
        if len(calls) == 5:
            raise OperationalError("database is locked")
        return control.cancel_task(task_id, **given)

    monkeypatch.setitem(running._TURNS, Action.CANCEL, cancel)
    running.run_due()
    assert BulkRun.objects.get().state == "waiting"
    running.run_due()
    assert BulkRun.objects.get().result["done"] == AT_ONCE + 1
    assert run.items.count() == AT_ONCE + 1


def test_a_store_that_is_away_when_rights_are_looked_at_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_many(AT_ONCE + 1)
    start()
    with monkeypatch.context() as patch:

        def fail(user: str) -> bool:
            raise OperationalError("the connection is lost")

        patch.setattr(running, "may_change", fail)
        running.run_due()
    assert BulkRun.objects.get().state == "waiting"
    running.run_due()
    assert BulkRun.objects.get().result["done"] == AT_ONCE + 1


def test_what_nobody_foresaw_ends_it_and_the_trail_tells_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = make_many(3)

    def cancel(task_id: str, **given: Any) -> Any:
        if task_id == tasks[1].id:
            raise ValueError("a secret that is no message")
        return control.cancel_task(task_id, **given)

    monkeypatch.setitem(running._TURNS, Action.CANCEL, cancel)
    run = start()
    assert (run.state, run.result["done"], run.result["left"], run.items.count()) == ("done", 1, 2, 1)
    [ended] = events_of("bulk.ended")
    assert ended.body["why"] == "It met an error that nobody foresaw; the log has it under this run's id"
    assert "It ended early: It met an error" in text_of(sign_in("vera").get(f"/tasks/bulk/{run.id}/"))


def test_rights_that_are_taken_away_stop_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    make_many(AT_ONCE + 10)
    start()

    def cancel(task_id: str, **given: Any) -> Any:
        if task_id:
            User.objects.get(username="olga").groups.set([Group.objects.get(name="viewer")])
        return control.cancel_task(task_id, **given)

    monkeypatch.setitem(running._TURNS, Action.CANCEL, cancel)
    running.run_due()
    result = BulkRun.objects.get().result
    assert (result["done"], result["left"]) == (running.RIGHTS_EVERY, AT_ONCE + 10 - running.RIGHTS_EVERY)
    assert events_of("bulk.ended")[0].body["why"] == "olga may not change tasks any more"


def test_results_come_in_pages() -> None:
    make_many(8)
    run = start()
    first = list_items(run, limit=3)
    places = [item.place for item in first.results]
    while first.next is not None:
        first = list_items(run, after=first.next, limit=3)
        places += [item.place for item in first.results]
    assert places == list(range(8))


# --- the API ----------------------------------------------------------------------------------------------------
def test_the_api_looks_first_and_then_starts() -> None:
    make_many(2, state="failed", error_code="attempts_exhausted")
    make_task(state="failed", error_code="timeout")
    api = api_of("olga")
    body = {"action": "retry", "filter": {"errorCode": "attempts_exhausted"}}
    looked = api.post("tasks/bulk", body | {"dryRun": True})
    assert looked.status_code == 200
    plan = BulkPlanWire.model_validate_json(looked.content)
    assert (plan.total, plan.changed) == (2, 2)
    assert not BulkRun.objects.exists()
    started = api.post("tasks/bulk", body | {"reason": WHY})
    assert started.status_code == 202
    wire = BulkWire.model_validate_json(api.get(started["Location"] + "?limit=1").content)
    assert (wire.done, wire.refused, len(wire.results), wire.next) == (2, 0, 1, "0")
    last = BulkWire.model_validate_json(api.get(started["Location"] + "?limit=1&cursor=0").content)
    assert last.next is None
    assert wire.results[0].task_id != last.results[0].task_id


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"action": "retry", "filter": {}}, 422, "body_invalid"),
        ({"action": "cancel", "filter": {"status": None}, "reason": WHY}, 422, "body_invalid"),
        ({"action": "cancel", "filter": {"submittedBy": "", "since": None}, "reason": WHY}, 422, "body_invalid"),
        ({"action": "retry"}, 422, "body_invalid"),
        ({"action": "retry", "ids": ["x"], "filter": {"status": "failed"}}, 422, "body_invalid"),
        ({"action": "burn", "ids": ["x"]}, 422, "body_invalid"),
        ({"action": "retry", "ids": ["x"]}, 422, "reason_required"),
        ({"action": "retry", "ids": ["x" * 65], "reason": WHY}, 409, "bulk_refused"),
        ({"action": "retry", "ids": ["a b"], "dryRun": True}, 409, "bulk_refused"),
        ({"action": "cancel", "filter": {"status": "queued"}, "reason": WHY}, 409, "bulk_refused"),
    ],
)
def test_the_api_says_what_it_cannot_take(body: Any, status: int, code: str) -> None:
    problem_of(api_of("olga").post("tasks/bulk", body), status, code)


def test_an_unknown_run_is_not_found() -> None:
    problem_of(api_of("vera").get("tasks/bulk/none"), 404, "not_found")
    assert sign_in("vera").get("/tasks/bulk/none/").status_code == 404


def test_a_person_has_three_under_way_at_most() -> None:
    make_many(AT_ONCE + 1)
    for _ in range(3):
        start()
    problem = problem_of(
        api_of("olga").post("tasks/bulk", {"action": "cancel", "filter": {"agentId": FETCHER}, "reason": WHY}),
        409,
        "bulk_refused",
    )
    assert "under way" in problem["detail"]
    assert bulk_to_wire(BulkRun.objects.first(), list_items(BulkRun.objects.first()))["total"] == AT_ONCE + 1
