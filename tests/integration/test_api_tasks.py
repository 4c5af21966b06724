"""Tasks over HTTP: submission, the order of its checks, idempotency, admission."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic_ns
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from agents.models import Task
from agents.wire import TaskWire
from audit.models import LedgerEvent
from tests.integration.api_cast import (
    AGENT,
    INPUT,
    ORDER,
    SKILL,
    Api,
    api_of,
    events_of,
    make_token,
    open_world,
    problem_of,
    world,
)

__all__ = ["open_world", "world"]


@pytest.fixture
def olga(world: None) -> Api:
    """The operator."""
    return api_of("olga")


def submit(api: Api, **changes: Any) -> dict[str, Any]:
    """Submit a task and return it."""
    answer = api.post("tasks", ORDER | changes)
    assert answer.status_code == 202, answer.content
    task: dict[str, Any] = answer.json()
    return task


# --- submit ---------------------------------------------------------------------------------------------------
def test_a_task_is_accepted_in_the_form_of_the_contract(olga: Api) -> None:
    answer = olga.post("tasks", ORDER)
    task = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, f"/api/tasks/{task['taskId']}")
    assert list(task) == [
        "taskId", "status", "agentId", "skillId", "input", "result", "error", "attempt", "priority", "runAt",
        "createdAt", "startedAt", "endedAt", "parentTaskId", "traceId", "costMicro", "callbackUrl",
    ]  # fmt: skip
    assert (task["status"], task["agentId"], task["skillId"], task["input"]) == ("queued", AGENT, SKILL, INPUT)
    assert task["createdAt"].endswith("Z")
    TaskWire.model_validate_json(answer.content)
    assert Task.objects.get(id=task["taskId"]).submitted_by == "olga"
    [event] = events_of("task.submitted")
    assert (event.task_id, event.actor) == (task["taskId"], "user:olga")


def test_priority_and_run_at_are_kept(olga: Api) -> None:
    later = (timezone.now() + timedelta(days=300)).isoformat()
    task = submit(olga, priority=-100, runAt=later)
    kept = Task.objects.get(id=task["taskId"])
    assert (kept.priority, kept.run_at.isoformat() if kept.run_at else "") == (-100, later)
    assert task["runAt"] == later.replace("+00:00", "Z")


def test_null_means_absent_where_a_field_may_be_absent(olga: Api) -> None:
    assert submit(olga, runAt=None)["runAt"] is None


def test_what_stands_inside_input_is_data(olga: Api) -> None:
    data = {"force": True, "escalate": True, "actAsAgent": "build-refactor-agent", "joined": "1/2/24"}
    task = submit(olga, input={"data": data, "schema": INPUT["schema"]})
    assert task["agentId"] == AGENT


# --- the order of the checks ----------------------------------------------------------------------------------
# Each row breaks its own rule and all later ones: the first to speak is the first in the contract's order.
UNKNOWN: dict[str, Any] = {"agentId": "nobody", "skillId": "nothing", "input": {"bad": 1}}
STAIRS: list[tuple[Any, int, str]] = [
    (b'{"agentId":"nobody","force":true,', 400, "json_malformed"),
    (UNKNOWN | {"force": True}, 422, "body_invalid"),
    (UNKNOWN, 422, "agent_unknown"),
    (UNKNOWN | {"agentId": AGENT}, 422, "skill_unknown"),
    (UNKNOWN | {"agentId": AGENT, "skillId": SKILL}, 422, "input_invalid"),
    (ORDER, 429, "rate_limited"),
]


@pytest.mark.parametrize(("body", "status", "code"), STAIRS)
def test_the_first_check_that_fails_answers(olga: Api, settings: Any, body: Any, status: int, code: str) -> None:
    settings.MAX_TASKS_PER_SECOND = 1
    submit(olga)  # spends the second's one place
    problem_of(olga.post("tasks", body), status, code)
    assert Task.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"force": True}, "#/force"),
        ({"escalate": True}, "#/escalate"),
        ({"actAsAgent": "build-refactor-agent"}, "#/actAsAgent"),
        ({"agent_id": AGENT}, "#/agent_id"),
        ({"agentId": None}, "#/agentId"),
        ({"agentId": 7}, "#/agentId"),
        ({"skillId": 7}, "#/skillId"),
        ({"skillId": [SKILL]}, "#/skillId"),
        ({"input": None}, "#/input"),
        ({"input": []}, "#/input"),
        ({"input": "x"}, "#/input"),
        ({"priority": 101}, "#/priority"),
        ({"priority": -101}, "#/priority"),
        ({"priority": "1"}, "#/priority"),
        ({"priority": 1.0}, "#/priority"),
        ({"priority": True}, "#/priority"),
        ({"priority": None}, "#/priority"),
        ({"runAt": 0}, "#/runAt"),
        ({"runAt": ""}, "#/runAt"),
        ({"runAt": "tomorrow"}, "#/runAt"),
        ({"runAt": "2026-11-24"}, "#/runAt"),
        ({"runAt": "2026-11-24T00:00:00"}, "#/runAt"),
        ({"runAt": "2026-13-24T00:00:00Z"}, "#/runAt"),
        ({"runAt": "0001-01-01T00:00:00+23:59"}, "#/runAt"),
        ({"runAt": "9999-12-31T23:59:59-23:59"}, "#/runAt"),
        ({"a/b~c": 1}, "#/a~1b~0c"),
    ],
)
def test_a_field_that_cannot_be_taken_is_pointed_at(olga: Api, changes: dict[str, Any], pointer: str) -> None:
    problem = problem_of(olga.post("tasks", ORDER | changes), 422, "body_invalid")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert not Task.objects.exists()
    assert not events_of("task.refused")


def test_a_run_a_year_away_is_refused(olga: Api) -> None:
    far = (timezone.now() + timedelta(days=400)).isoformat()
    problem = problem_of(olga.post("tasks", ORDER | {"runAt": far}), 422, "body_invalid")
    assert "more than a year away" in problem["errors"][0]["detail"]


def test_an_input_that_does_not_fit_is_pointed_at(olga: Api) -> None:
    body = ORDER | {"input": {"data": 7, "schema": {"joined": {"type": "colour"}}, "strikt": True}}
    problem = problem_of(olga.post("tasks", body), 422, "input_invalid")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert "#/input/strikt" in pointers
    assert all(pointer.startswith("#/input/") for pointer in pointers)


def test_every_missing_field_is_named(olga: Api) -> None:
    problem = problem_of(olga.post("tasks", {}), 422, "body_invalid")
    assert {error["pointer"] for error in problem["errors"]} == {"#/agentId", "#/input"}


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"7", b"null"])
def test_a_body_that_is_no_object_is_malformed(olga: Api, body: bytes) -> None:
    problem_of(olga.post("tasks", body), 400, "body_malformed")


def test_an_unknown_id_is_audited_as_a_denial(olga: Api) -> None:
    problem_of(olga.post("tasks", ORDER | {"skillId": "no-such-skill"}), 422, "skill_unknown")
    [event] = events_of("task.refused")
    assert (event.decision, event.reason, event.actor) == ("deny", "skill_unknown", "user:olga")
    assert (event.agent_id, event.skill_id) == (AGENT, "no-such-skill")


# --- idempotency ----------------------------------------------------------------------------------------------
def test_the_same_key_and_body_answer_with_the_same_task(olga: Api) -> None:
    first = olga.post("tasks", ORDER, key="k1")
    again = olga.post("tasks", dict(reversed(ORDER.items())), key="k1")  # the order of the names says nothing
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["taskId"] == again.json()["taskId"]
    assert first["Location"] == again["Location"]
    assert len(events_of("task.submitted")) == 1


def test_the_same_key_with_another_body_is_a_conflict(olga: Api) -> None:
    olga.post("tasks", ORDER, key="k1")
    problem_of(olga.post("tasks", ORDER | {"priority": 1}, key="k1"), 422, "idempotency_conflict")
    assert Task.objects.count() == 1


def test_a_key_belongs_to_its_owner(olga: Api) -> None:
    one = olga.post("tasks", ORDER, key="k1").json()["taskId"]
    assert api_of("ada").post("tasks", ORDER, key="k1").json()["taskId"] != one
    assert api_of("olga").post("tasks", ORDER, key="k1").json()["taskId"] == one  # another token, the same owner


def test_without_a_key_nothing_is_taken_for_a_repetition(olga: Api) -> None:
    assert submit(olga)["taskId"] != submit(olga)["taskId"]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\tb"])
def test_a_key_that_cannot_be_kept_is_refused(olga: Api, key: str) -> None:
    problem_of(olga.post("tasks", ORDER, key=key), 400, "idempotency_key_invalid")


def test_the_same_key_fifty_times_at_once_is_one_task(open_world: None) -> None:
    token = make_token("olga")

    def send(_: int) -> tuple[int, str]:
        try:
            answer = Api(token).post("tasks", ORDER, key="once")
            return answer.status_code, answer.json().get("taskId", "")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(send, range(50)))
    assert {status for status, _ in answers} == {202}
    assert len(answers) == 1
    assert Task.objects.count() == 1
    assert LedgerEvent.objects.filter(type="task.submitted").count() == 1


# --- admission ------------------------------------------------------------------------------------------------
@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass, so that the pace gives nothing back meanwhile."""
    now, ticks = timezone.now(), monotonic_ns()
    monkeypatch.setattr("django.utils.timezone.now", lambda: now)
    monkeypatch.setattr("agents.ordering.admission.monotonic_ns", lambda: ticks)


@pytest.mark.usefixtures("still")
def test_a_burst_of_one_second_is_admitted_and_then_refused_with_a_time(olga: Api, settings: Any) -> None:
    settings.MAX_TASKS_PER_SECOND = 3
    for _ in range(3):
        submit(olga)
    answer = olga.post("tasks", ORDER)
    problem_of(answer, 429, "rate_limited")
    assert answer["Retry-After"] == "1"
    assert Task.objects.count() == 3


@pytest.mark.usefixtures("still")
def test_processes_that_share_a_store_share_the_pace(olga: Api, settings: Any) -> None:
    settings.MAX_TASKS_PER_SECOND, settings.REDIS_URL = 2, "redis://127.0.0.1:1/0"
    codes = [olga.post("tasks", ORDER).status_code for _ in range(3)]
    assert codes == [202, 202, 429]
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM toolgate_ratecell WHERE key = 'admission:tasks'")
        assert cursor.fetchone()[0] == 1
