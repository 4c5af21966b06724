"""Workflows over HTTP, and tasks without a skill: submission and the order of its checks."""

from typing import Any

import pytest

from agents.models import Task
from agents.wire import TaskWire
from tests.integration.api_cast import AGENT, INPUT, ORDER, SKILL, Api, api_of, events_of, problem_of, world

__all__ = ["world"]

STEP = {"name": "first", "agentId": AGENT, "skillId": SKILL, "input": INPUT}
NEXT = STEP | {"name": "next", "input": INPUT | {"data": {"$from": "first", "path": "/normalized"}}}
FLOW = {"steps": [STEP, NEXT]}


@pytest.fixture
def olga(world: None) -> Api:
    """The operator."""
    return api_of("olga")


def test_a_workflow_is_accepted_as_a_task(olga: Api) -> None:
    answer = olga.post("workflows", FLOW | {"priority": 3, "runAt": "2026-11-26T00:00:00Z"})
    task = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, f"/api/tasks/{task['taskId']}")
    assert (task["agentId"], task["skillId"], task["input"]) == ("integration-agent", None, FLOW)
    assert (task["priority"], task["runAt"]) == (3, "2026-11-26T00:00:00.000000Z")
    TaskWire.model_validate_json(answer.content)


def test_both_addresses_check_the_same(olga: Api) -> None:
    order = {"agentId": "integration-agent", "input": FLOW}
    assert olga.post("tasks", order).status_code == 202
    bad = {"steps": [STEP | {"dependsOn": ["next"]}, NEXT]}
    direct = problem_of(olga.post("workflows", bad), 422, "workflow_invalid")
    as_task = problem_of(olga.post("tasks", order | {"input": bad}), 422, "workflow_invalid")
    assert [error["pointer"] for error in direct["errors"]] == ["#/steps"]
    assert [error["pointer"] for error in as_task["errors"]] == ["#/input/steps"]
    assert "first → next → first" in direct["errors"][0]["detail"]
    assert Task.objects.count() == 1


# Each row breaks its own rule and all later ones: the first to speak is the first in the contract's order.
BAD = STEP | {"input": {"bad": 1}}
STAIRS: list[tuple[Any, int, str]] = [
    (b'{"steps":[],"force":true,', 400, "json_malformed"),
    ({"steps": [], "force": True}, 422, "body_invalid"),
    ({"steps": [BAD | {"agentId": "nobody", "dependsOn": ["x"]}]}, 422, "workflow_invalid"),
    ({"steps": [BAD | {"agentId": "nobody", "skillId": "nothing"}]}, 422, "agent_unknown"),
    ({"steps": [BAD | {"skillId": "nothing"}]}, 422, "skill_unknown"),
    ({"steps": [BAD]}, 422, "input_invalid"),
    (FLOW, 429, "rate_limited"),
]


@pytest.mark.parametrize(("body", "status", "code"), STAIRS)
def test_the_first_check_that_fails_answers(olga: Api, settings: Any, body: Any, status: int, code: str) -> None:
    settings.MAX_TASKS_PER_SECOND = 1
    assert olga.post("workflows", FLOW).status_code == 202  # spends the second's one place
    problem_of(olga.post("workflows", body), status, code)
    assert Task.objects.count() == 1


@pytest.mark.parametrize(("changes", "pointer"), [({"agentId": "nobody"}, "agentId"), ({"skillId": "no"}, "skillId")])
def test_an_unknown_id_of_a_step_is_a_denial_that_names_it(olga: Api, changes: Any, pointer: str) -> None:
    problem = problem_of(
        olga.post("workflows", {"steps": [STEP, STEP | {"name": "b"} | changes]}), 422, f"{pointer[:-2]}_unknown"
    )
    assert [error["pointer"] for error in problem["errors"]] == [f"#/steps/1/{pointer}"]
    [event] = events_of("task.refused")
    assert (event.decision, event.actor) == ("deny", "user:olga")
    assert {"agentId": event.agent_id, "skillId": event.skill_id}[pointer] == changes[pointer]


def test_a_steps_input_is_pointed_into_and_one_that_takes_an_output_waits(olga: Api) -> None:
    broken = NEXT | {"input": INPUT | {"data": {"$from": "first"}, "strikt": True}}
    assert olga.post("workflows", {"steps": [STEP, broken]}).status_code == 202
    inner = {"name": "in", "agentId": "integration-agent", "input": {"steps": [STEP | {"input": {"data": 1}}]}}
    problem = problem_of(olga.post("workflows", {"steps": [inner]}), 422, "input_invalid")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert "#/steps/0/input/steps/0/input/schema" in pointers
    assert all(pointer.startswith("#/steps/0/input/steps/0/input/") for pointer in pointers)


def test_a_key_makes_it_one_workflow(olga: Api) -> None:
    first, again = olga.post("workflows", FLOW, key="k"), olga.post("workflows", FLOW, key="k")
    assert first.json()["taskId"] == again.json()["taskId"]
    problem_of(olga.post("workflows", FLOW | {"priority": 1}, key="k"), 422, "idempotency_conflict")


def test_only_who_may_submit_tasks_may_submit_workflows(world: None) -> None:
    problem_of(api_of("olga", "tasks:read").post("workflows", FLOW), 403, "forbidden")


def test_the_steps_of_a_workflow_are_found_by_it(olga: Api) -> None:
    parent, other = (olga.post("workflows", FLOW).json()["taskId"] for _ in range(2))
    for name, owner in (("first", parent), ("next", parent), ("first", other)):
        task = Task.objects.get(id=olga.post("tasks", ORDER).json()["taskId"])
        task.parent_task_id, task.workflow_step = owner, name
        task.save()
    found = olga.get("tasks", parentTaskId=parent).json()["results"]
    assert [one["parentTaskId"] for one in found] == [parent] * 2
    problem_of(olga.get("tasks", parentTaskId="a b"), 400, "query_invalid")


# --- an agent's own run -----------------------------------------------------------------------------------------
def test_an_order_without_a_skill_is_the_agents_own_run(olga: Api) -> None:
    for changes in ({"skillId": None}, {}):
        task = olga.post(
            "tasks", {"agentId": "qa-verification-agent", "input": {"target": "x", "suite": "lint"}} | changes
        )
        assert (task.status_code, task.json()["skillId"]) == (202, None)


@pytest.mark.parametrize(
    ("agent", "value", "problems"),
    [
        ("qa-verification-agent", {"target": "x"}, {"#/input/suite": "required"}),
        ("qa-verification-agent", {"target": 7, "suite": "fast"}, {"#/input/target": "type", "#/input/suite": "enum"}),
        ("qa-verification-agent", {"target": "x", "suite": "lint", "a/b": 1}, {"#/input/a~1b": "additionalProperties"}),
        ("market-research-agent", {}, {"#/input": "oneOf"}),
        ("market-research-agent", {"query": "q", "urls": ["https://a.example"]}, {"#/input": "oneOf"}),
        ("market-research-agent", {"urls": ["u"]}, {"#/input/urls/0": "format"}),
        ("market-research-agent", {"urls": []}, {"#/input/urls": "minItems"}),
        ("content-agent", {"type": "readme", "source": "s", "length": 0}, {"#/input/length": "minimum"}),
    ],
)
def test_its_input_is_judged_by_the_agents_schema(olga: Api, agent: str, value: Any, problems: dict[str, str]) -> None:
    problem = problem_of(olga.post("tasks", {"agentId": agent, "input": value}), 422, "input_invalid")
    assert {error["pointer"]: error["code"] for error in problem["errors"]} == problems
    assert agent in problem["detail"]
    assert not Task.objects.exists()


def test_what_was_sent_is_not_sent_back(olga: Api) -> None:
    value = {"target": "x", "suite": "<b>secret</b>"}
    answer = olga.post("tasks", {"agentId": "qa-verification-agent", "input": value})
    assert b"secret" not in answer.content
    assert b"unit-tests" in answer.content
