"""Workflows as values: what may be submitted, what comes next, what becomes of references."""

from collections.abc import Mapping
from graphlib import CycleError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.states import TERMINAL, TaskState
from agents.workflows.plan import (
    MAX_DEPTH,
    MAX_STEPS,
    SKIPPED,
    Plan,
    ReferenceBroken,
    Workflow,
    find_failure,
    find_ready,
    find_restarts,
    is_over,
    list_steps,
    make_plan,
    resolve_input,
    skip_steps,
)

CARRIERS = {"carrier"}
VALUE = "steps/1/input/value"


def step(name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "agentId": "worker", "input": {}, "dependsOn": [*after]} | more


def inner(name: str, *steps: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "agentId": "carrier", "input": {"steps": [*steps]}} | more


def taking(name: str, path: str | None = None) -> dict[str, Any]:
    return {"value": {"$from": name} | ({} if path is None else {"path": path})}


def plan_of(*steps: Any) -> Plan:
    return make_plan(Workflow.model_validate({"steps": [*steps]}).steps)


def faults_of(value: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        list_steps(value, workflow_agents=CARRIERS)
    return {"/".join(map(str, fault["loc"])): fault["type"] for fault in caught.value.errors()}


def nest(depth: int) -> Any:
    value: Any = step("leaf")
    for level in range(depth - 1):
        value = inner(f"level{level}", value)
    return {"steps": [value]}


# --- what may be submitted --------------------------------------------------------------------------------------
def test_it_lists_every_step_with_its_place() -> None:
    value = {"steps": [step("a"), inner("b", step("c", input=taking("a")), step("d", "c"))]}
    places = {found.name: place for place, found in list_steps(value, workflow_agents=CARRIERS)}
    assert places == {
        "a": ("steps", 0),
        "b": ("steps", 1),
        "c": ("steps", 1, "input", "steps", 0),
        "d": ("steps", 1, "input", "steps", 1),
    }


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        ({"steps": []}, {"steps": "too_short"}),
        ({}, {"steps": "missing"}),
        ({"steps": [step("a b")]}, {"steps/0/name": "string_pattern_mismatch"}),
        ({"steps": [step("a\n")]}, {"steps/0/name": "string_pattern_mismatch"}),
        ({"steps": [step("a", force=True)]}, {"steps/0/force": "extra_forbidden"}),
        ({"steps": [step("a", input={"$from": 7})]}, {"steps/0/input": "reference_malformed"}),
        ({"steps": [step("a"), step("b", input={"$from": "a", "x": 1})]}, {"steps/1/input": "reference_malformed"}),
        ({"steps": [step("a"), step("a")]}, {"steps/1/name": "name_taken"}),
        ({"steps": [inner("a", step("a"))]}, {"steps/0/input/steps/0/name": "name_taken"}),
        ({"steps": [step("a", "b")]}, {"steps/0/dependsOn/0": "step_unknown"}),
        ({"steps": [inner("a", step("b")), step("c", "b")]}, {"steps/1/dependsOn/0": "step_unknown"}),
        ({"steps": [inner("a", step("b")), step("c", input=taking("b"))]}, {f"{VALUE}/$from": "step_unknown"}),
        ({"steps": [step("a"), step("b", input=taking("a", "x"))]}, {f"{VALUE}/path": "pointer_malformed"}),
        ({"steps": [step("a"), step("b", input=taking("a", "/~2"))]}, {f"{VALUE}/path": "pointer_malformed"}),
        ({"steps": [step("a", "a")]}, {"steps": "cycle"}),
        ({"steps": [step("a", input=taking("b")), step("b", "a")]}, {"steps": "cycle"}),
        ({"steps": [inner("a", step("b", input=taking("a")))]}, {"steps": "cycle"}),
        ({"steps": [inner("a", step("b", "c"), step("c", "b"))]}, {"steps/0/input/steps": "cycle"}),
        ({"steps": [inner("a", step("b", "zz")), step("c", "yy")]},
         {"steps/0/input/steps/0/dependsOn/0": "step_unknown", "steps/1/dependsOn/0": "step_unknown"}),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_named_at_its_place(value: Any, faults: dict[str, str]) -> None:
    assert faults_of(value) == faults


def test_a_cycle_is_told_by_its_names() -> None:
    with pytest.raises(ValidationError, match=r"wait for each other: (a → b → c → a|b → c → a → b|c → a → b → c)"):
        list_steps({"steps": [step("a", "b"), step("b", "c"), step("c", "a")]}, workflow_agents=CARRIERS)


def test_nesting_has_a_bottom_and_the_whole_has_a_size() -> None:
    assert len(list_steps(nest(MAX_DEPTH), workflow_agents=CARRIERS)) == MAX_DEPTH
    assert set(faults_of(nest(MAX_DEPTH + 1)).values()) == {"too_deep"}
    half = [step(f"s{n}") for n in range(MAX_STEPS // 2)]
    other = [step(f"t{n}") for n in range(MAX_STEPS // 2)]
    assert faults_of({"steps": [*half, inner("more", *other)]}) == {"steps": "too_long"}
    assert faults_of({"steps": [step(f"s{n}") for n in range(MAX_STEPS + 1)]}) == {"steps": "too_long"}


# --- references -------------------------------------------------------------------------------------------------
OUTPUT = {"rows": [{"a/b": 1, "~": None}], "text": "x", "": {"deep": True}}


@pytest.mark.parametrize(
    ("path", "found"),
    [(None, OUTPUT), ("", OUTPUT), ("/text", "x"), ("/rows/0/a~1b", 1), ("/rows/0/~0", None), ("//deep", True)],
)
def test_a_reference_stands_for_a_place_of_an_output(path: str | None, found: Any) -> None:
    assert resolve_input({"list": [taking("s", path)]}, {"s": OUTPUT}.__getitem__) == {"list": [{"value": found}]}


@pytest.mark.parametrize("path", ["/nothing", "/rows/1", "/rows/01", "/rows/-1", "/rows/-", "/text/0", "/rows/0/~0/x"])
def test_a_reference_to_nothing_is_broken(path: str) -> None:
    with pytest.raises(ReferenceBroken, match="step s has nothing at"):
        resolve_input(taking("s", path), {"s": OUTPUT}.__getitem__)


def test_what_is_put_in_is_not_read_again() -> None:
    hostile = {"$from": "secret"}
    assert resolve_input(taking("s"), {"s": hostile, "secret": "!"}.__getitem__) == {"value": hostile}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "$from"), inner),
    max_leaves=20,
)


@given(json_values)
def test_an_input_without_references_stays_as_it_is(value: Any) -> None:
    assert resolve_input(value, {}.__getitem__) == value


# --- what comes next, over any workflow -------------------------------------------------------------------------
@st.composite
def graphs(draw: Any) -> list[dict[str, Any]]:
    """A workflow in which each step may depend on earlier ones, in any order of writing."""
    size = draw(st.integers(1, 9))
    steps = []
    for number in range(size):
        earlier = [f"s{n}" for n in range(number)]
        after = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else []
        value = {"in": [taking(name) for name in needs]}
        steps.append(step(f"s{number}", *after, input=value, optional=draw(st.booleans())))
    shuffled: list[dict[str, Any]] = draw(st.permutations(steps))
    return shuffled


@given(graphs(), st.data())
def test_any_workflow_ends_and_nothing_starts_too_early_or_twice(steps: list[dict[str, Any]], data: Any) -> None:
    plan = plan_of(*steps)
    states: dict[str, str] = {}
    while True:
        settled = skip_steps(plan, states)
        assert settled.items() >= states.items()
        if find_failure(plan, settled):
            break
        ready = find_ready(plan, settled)
        live = [name for name, state in states.items() if state not in TERMINAL]
        for one in ready:
            assert one.name not in states
            assert all(settled[name] in {*TERMINAL, SKIPPED} for name in plan.after[one.name])
            assert all(settled[name] == TaskState.SUCCEEDED for name in plan.needs[one.name])
            states[one.name] = TaskState.RUNNING
        if not ready and not live:
            assert is_over(plan, settled), "nothing runs and nothing can start, so all of it is over"
            assert not any(settled[one.name] == SKIPPED and not plan.needs[one.name] for one in plan.steps)
            break
        ending = data.draw(st.sampled_from(sorted({name for name, state in states.items() if state not in TERMINAL})))
        states[ending] = data.draw(st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED]))
    assert_restarts_are_independent(plan, states)


def assert_restarts_are_independent(plan: Plan, states: Mapping[str, str]) -> None:
    """What a retry starts at once must not wait for one another."""
    again = {one.name for one in find_restarts(plan, states)}
    assert all(states[name] in {TaskState.FAILED, TaskState.CANCELLED} for name in again)
    assert not any(plan.after[name] & again for name in again)
    failed = {one.name for one in plan.steps if states.get(one.name) == TaskState.FAILED and not one.optional}
    assert failed <= again


@given(graphs(), st.data())
def test_a_link_back_is_a_cycle_that_is_named(steps: list[dict[str, Any]], data: Any) -> None:
    plan = plan_of(*steps)
    linked = [one.name for one in plan.steps if plan.after[one.name]]
    if not linked:
        return
    late = data.draw(st.sampled_from(linked))
    early = data.draw(st.sampled_from(sorted(plan.after[late])))
    next(one for one in steps if one["name"] == early)["dependsOn"].append(late)
    with pytest.raises(CycleError) as caught:
        plan_of(*steps)
    assert {early, late} & set(caught.value.args[1])
