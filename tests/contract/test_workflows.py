"""Workflows with a real worker: order, data by reference, failures, cancelling, losses, retries."""

import threading
import time
from collections import Counter
from typing import Any

import pytest
from django.db import IntegrityError, connections
from django.utils import timezone

from agents import claiming, control, leases, queue
from agents.endings import finish
from agents.exceptions import TaskStateConflict
from agents.models import Run, Task
from agents.orders import WORKFLOW, Cancelled, Succeeded, Waiting
from agents.skills.base import SkillError
from agents.states import TERMINAL
from agents.workflows import children
from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.contract.conftest import AGENT
from toolgate.approvals import decide_approval
from toolgate.models import Approval

CARRIER = "integration-agent"
FORBIDDEN = "summarization-agent"  # no rule lets it use the scripted skill


def step(name: str, *after: str, agent: str = AGENT, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "agentId": agent,
        "skillId": "scripted",
        "input": {"name": name},
        "dependsOn": [*after],
    } | more


def inner(name: str, *steps: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "agentId": CARRIER, "input": {"steps": [*steps]}} | more


@pytest.fixture
def start(submit):
    """Submit a workflow of steps."""
    return lambda *steps, **changes: submit(agent_id=CARRIER, skill_id="", input={"steps": [*steps]}, **changes)


def steps_of(task: Task) -> dict[str, Task]:
    return {child.workflow_step: child for child in Task.objects.filter(parent_task_id=task.id)}


def states_of(task: Task) -> dict[str, str]:
    return {name: child.state for name, child in steps_of(task).items()}


def told(task: Task) -> dict[str, str]:
    return {entry["name"]: entry["status"] for entry in task.result["steps"]}


def events_of(task: Task) -> list[str]:
    return list(LedgerEvent.objects.filter(task_id=task.id).order_by("id").values_list("type", flat=True))


def failing(*names: str, error: str = "malformed"):
    def act(name):
        if name in names:
            raise SkillError(error, f"{name} is no good.")

    return act


def everything_ended_once() -> bool:
    ends = LedgerEvent.objects.filter(type__in=["task.succeeded", "task.failed", "task.cancelled"])
    counts = Counter(ends.values_list("task_id", flat=True))
    return set(counts) == set(Task.objects.values_list("id", flat=True)) and set(counts.values()) == {1}


# --- order ------------------------------------------------------------------------------------------------------
def test_two_steps_run_one_after_the_other_in_one_trace(skill, start, worker, ended):
    with worker():
        task = ended(start(step("a"), step("b", "a"), priority=7))
    assert (task.state, skill.calls, told(task)) == ("succeeded", ["a", "b"], {"a": "succeeded", "b": "succeeded"})
    steps = steps_of(task)
    assert [(s.trace_id, s.submitted_by, s.priority) for s in steps.values()] == [(task.trace_id, "olga", 7)] * 2
    assert [entry["taskId"] for entry in task.result["steps"]] == [steps["a"].id, steps["b"].id]
    assert task.result["totalMs"] >= sum(entry["durationMs"] for entry in task.result["steps"])
    assert steps["a"].ended_at is not None
    assert steps["b"].created_at >= steps["a"].ended_at
    assert (task.attempt, everything_ended_once()) == (1, True)


def test_steps_that_wait_for_nobody_run_side_by_side(skill, start, worker, ended):
    meet = threading.Barrier(3)
    skill.act = lambda name: None if name == "last" else meet.wait(10)
    with worker():
        task = ended(start(step("a"), step("b"), step("c"), step("last", "a", "b", "c")))
    assert (task.state, skill.most_running, skill.calls[-1]) == ("succeeded", 3, "last")
    assert skill.calls.count("last") == 1


def test_data_goes_on_by_reference(skill, start, worker, ended):
    with worker():
        whole = step("whole", input={"$from": "first"})
        task = ended(start(step("first"), step("part", input={"name": {"$from": "first", "path": "/name"}}), whole))
    # The whole output has a field that the skill's input has not: the step is not started, and that is said.
    assert (task.state, task.error_code) == ("failed", "step_failed")
    assert "whole could not start" in task.error_message
    assert "#/input/call" in task.error_message

    with worker():
        task = ended(start(step("first"), step("part", input={"name": {"$from": "first", "path": "/name"}})))
    assert (task.state, skill.calls[-2:]) == ("succeeded", ["first", "first"])
    assert steps_of(task)["part"].input == {"name": "first"}


def test_what_comes_out_of_a_step_is_not_read_for_references(skill, start, worker, ended):
    leaf = step("leaf", input={"name": {"$from": "a", "path": "/name"}})
    task = park(start(step("a"), inner("nest", step("secret"), step("leaf0", "secret"), leaf)))
    hostile = {"name": {"$from": "secret", "path": "/name"}}
    Task.objects.filter(id=steps_of(task)["a"].id).update(state="succeeded", ended_at=timezone.now(), result=hostile)
    with worker():
        ended(task)
    assert (task.state, task.error_reason) == ("failed", "input_invalid")
    assert "leaf could not start: its input does not fit scripted: #/input/name" in task.error_message


def test_a_workflow_in_a_workflow_takes_outputs_from_around_it(skill, start, worker, ended):
    deep = inner("deep", step("leaf", input={"name": {"$from": "top", "path": "/name"}}))
    with worker():
        task = ended(start(step("top"), inner("middle", step("m"), deep), step("end", "middle")))
    assert task.state == "succeeded"
    assert (skill.calls[0], skill.calls[-1], sorted(skill.calls)) == ("top", "end", ["end", "m", "top", "top"])
    tree = Task.objects.filter(trace_id=task.trace_id)
    assert (tree.count(), {one.state for one in tree}) == (7, {"succeeded"})
    assert everything_ended_once()


# --- failures ---------------------------------------------------------------------------------------------------
def test_a_denial_at_any_step_stops_the_workflow(skill, start, worker, ended):
    with worker():
        for denied in ("a", "b", "c"):
            agents = {name: FORBIDDEN if name == denied else AGENT for name in "abc"}
            steps = [step("a", agent=agents["a"]), step("b", "a", agent=agents["b"]), step("c", "b", agent=agents["c"])]
            skill.calls.clear()
            task = ended(start(*steps))
            assert (task.state, task.error_code, task.error_reason) == ("failed", "step_failed", "skill_not_allowed")
            assert f"Step {denied} failed" in task.error_message
            assert skill.calls == list("abc"[: "abc".index(denied)])
            assert set(states_of(task)) == set("abc"[: "abc".index(denied) + 1])
    assert everything_ended_once()


def test_a_failure_cancels_what_runs_beside_it(skill, start, worker, ended, until):
    release = threading.Event()

    def act(name):
        if name == "bad":
            until(lambda: "long" in skill.calls, "the other step")
            raise SkillError("malformed", "no")
        release.wait(10)

    skill.act = act
    with worker():
        task = ended(start(step("bad"), step("long"), inner("nest", step("in")), step("later", "long")))
        until(lambda: all(one.state in TERMINAL for one in Task.objects.all()), "the rest to stop")
        release.set()
    assert (task.state, task.error_reason) == ("failed", "malformed")
    assert states_of(task) == {"bad": "failed", "long": "cancelled", "nest": "cancelled"}
    assert everything_ended_once()


def test_an_optional_failure_holds_up_nobody_but_who_needs_its_output(skill, start, worker, ended):
    skill.act = failing("shaky")
    with worker():
        task = ended(
            start(
                step("shaky", optional=True),
                step("after", "shaky"),
                step("needs", input={"name": {"$from": "shaky", "path": "/name"}}),
                step("needs-needs", input={"name": {"$from": "needs", "path": "/name"}}),
                step("end", "needs-needs", "after"),
                step("lost", optional=True, input={"name": {"$from": "after", "path": "/nowhere"}}),
            )
        )
    assert (task.state, sorted(skill.calls)) == ("succeeded", ["after", "end", "shaky"])
    skipped = {"needs": "skipped", "needs-needs": "skipped", "lost": "skipped"}
    assert told(task) == {"shaky": "failed", "after": "succeeded", "end": "succeeded"} | skipped
    assert [e["taskId"] for e in task.result["steps"] if e["status"] == "skipped"] == [None] * 3


def test_a_reference_that_leads_nowhere_stops_the_workflow(skill, start, worker, ended):
    with worker():
        task = ended(start(step("a"), step("b", input={"name": {"$from": "a", "path": "/no/such"}})))
    assert (task.state, skill.calls) == ("failed", ["a"])
    assert task.error_message == "Step b could not start: the output of step a has nothing at /no/such"


# --- cancel and retry -------------------------------------------------------------------------------------------
def test_cancelling_half_way_ends_the_whole_tree(skill, start, worker, ended, until):
    release = threading.Event()
    skill.act = lambda name: None if name == "a" else release.wait(10)
    with worker():
        task = start(step("a"), step("b", "a"), inner("nest", step("in"), dependsOn=["a"]), step("c", "b"))
        until(lambda: {"b", "in"} <= set(skill.calls), "the second steps")
        until(lambda: Task.objects.get(id=task.id).worker_id == WORKFLOW, "the workflow to wait")
        control.cancel_task(task.id, actor="user:olga", now=timezone.now())
        assert Task.objects.get(id=task.id).state == "cancelled"
        until(lambda: all(one.state in TERMINAL for one in Task.objects.all()), "the tree to end", timeout_seconds=3)
        release.set()
    assert states_of(task) == {"a": "succeeded", "b": "cancelled", "nest": "cancelled"}
    assert "c" not in skill.calls
    assert everything_ended_once()


def test_a_workflow_cancelled_while_it_looks_at_its_steps_starts_none(start):
    task = start(step("a"))
    lease = claim()
    control.cancel_task(task.id, actor="user:olga", now=timezone.now())
    assert Task.objects.get(id=task.id).state == "running"  # its worker ends it
    with write_transaction():
        assert finish(lease, children.advance_workflow(lease, now=timezone.now()), now=timezone.now())
    assert Task.objects.get().state == "cancelled"


def test_a_workflow_whose_steps_are_still_stopping_cannot_be_retried_yet(start):
    task = park(start(step("a")))
    child = claim("slow")
    control.cancel_task(task.id, actor="user:olga", now=timezone.now())
    with pytest.raises(TaskStateConflict, match="still stopping its steps"):
        control.retry_task(task.id, actor="user:olga", now=timezone.now())
    assert Task.objects.get(id=task.id).state == "cancelled"
    with write_transaction():
        finish(child, Cancelled(), now=timezone.now())
    control.retry_task(task.id, actor="user:olga", now=timezone.now())
    assert set(Task.objects.values_list("state", flat=True)) == {"queued"}


def test_a_step_that_a_person_cancels_counts_as_failed(skill, start, worker, ended, until):
    release = threading.Event()
    skill.act = lambda name: release.wait(10)
    with worker():
        task = start(step("a"), step("b", "a"))
        until(lambda: skill.calls, "the first step")
        control.cancel_task(steps_of(task)["a"].id, actor="user:olga", now=timezone.now())
        ended(task)
        release.set()
    assert (task.state, task.error_message) == ("failed", "Step a was cancelled.")


def test_a_retry_keeps_what_succeeded_and_goes_on_from_there(skill, start, worker, ended, until):
    skill.act = failing("b", "shaky", "in")
    with worker():
        nest = inner("nest", step("in0"), step("in", "in0"), dependsOn=["a"])
        task = ended(
            start(step("a"), step("shaky", optional=True), step("b", "a", "shaky"), nest, step("c", "b", "nest"))
        )
        assert task.state == "failed"
        skill.act = lambda name: None
        until(lambda: all(one.state in TERMINAL for one in Task.objects.all()), "the other branch to stop")
        before = steps_of(task)
        control.retry_task(task.id, actor="user:olga", now=timezone.now())
        ended(task)
    assert (task.state, task.error_code) == ("succeeded", "")
    # The optional failure came before a step that was started after it: it stays as it was.
    assert told(task) == {"a": "succeeded", "shaky": "failed", "b": "succeeded", "nest": "succeeded", "c": "succeeded"}
    calls = Counter(skill.calls)
    assert (calls["a"], calls["b"], calls["c"], calls["shaky"]) == (1, 2, 1, 1)
    assert calls["in0"] == 1
    assert {name: steps_of(task)[name].id for name in before} == {name: one.id for name, one in before.items()}


def test_a_step_may_be_retried_by_itself_before_its_workflow(skill, start, worker, ended):
    skill.act = failing("a")
    with worker():
        task = ended(start(step("a"), step("b", "a")))
        skill.act = lambda name: None
        child = control.retry_task(steps_of(task)["a"].id, actor="user:olga", now=timezone.now())
        ended(child)
        assert Task.objects.get(id=task.id).state == "failed"
        control.retry_task(task.id, actor="user:olga", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["a", "a", "b"])


# --- waiting ----------------------------------------------------------------------------------------------------
def test_a_waiting_workflow_holds_no_slot_and_no_lease(skill, start, worker, ended, until, settings):
    settings.MAX_AGENTS = 1  # with a slot held by the workflow its step would never run
    with worker():
        task = ended(start(step("a"), inner("nest", step("in"))))
    assert task.state == "succeeded"
    assert task.losses == 0


def test_a_step_that_asks_a_person_goes_on_with_the_answer(skill, start, worker, ended, until):
    from tests.contract.scripted import publish_rules

    publish_rules([{"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}])
    with worker():
        yes, no = start(step("a")), start(step("a"))
        until(lambda: Approval.objects.filter(state="pending").count() == 2, "the questions")
        for task, approve in ((yes, True), (no, False)):
            approval = Approval.objects.get(task_id=steps_of(task)["a"].id)
            decide_approval(approval.id, approve=approve, user="ana", note="", now=timezone.now())
        assert (ended(yes).state, ended(no).state, no.error_reason) == ("succeeded", "failed", "approval_rejected")


# --- losses -----------------------------------------------------------------------------------------------------
def claim(worker_id: str = "dead") -> Any:
    with write_transaction():
        return claiming.claim_next(worker_id, now=timezone.now())


def test_a_carrier_that_dies_between_starts_starts_nothing_twice(skill, start, worker, ended):
    task = start(step("a"), step("b"))
    lease = claim()
    with write_transaction():  # it started its steps, and died before it could park
        assert isinstance(children.advance_workflow(lease, now=timezone.now()), Waiting)
    leases.reap(own="", now=timezone.now())
    with worker():
        ended(task)
    assert (task.state, Counter(skill.calls)) == ("succeeded", {"a": 1, "b": 1})
    assert (task.losses, task.attempt) == (1, 1)


def test_a_carrier_that_lost_its_lease_starts_nothing(start):
    start(step("a"))
    lease = claim()
    leases.reap(own="", now=timezone.now())
    with write_transaction():
        ending = children.advance_workflow(lease, now=timezone.now())
        assert finish(lease, ending, now=timezone.now()) is False
    assert Task.objects.count() == 1


def test_a_step_cannot_be_started_twice_even_by_mistake(submit):
    task = submit("parent")
    submit("x", parent_task_id=task.id, workflow_step="a")
    submit("x", parent_task_id=task.id, workflow_step="b")
    with pytest.raises(IntegrityError):
        submit("x", parent_task_id=task.id, workflow_step="a")


def park(task: Task) -> Task:
    """Carry a workflow to where it waits, with nobody to wake it."""
    lease = claim()
    with write_transaction():
        now = timezone.now()
        assert finish(lease, children.advance_workflow(lease, now=now), now=now)
    task.refresh_from_db()
    assert (task.state, task.worker_id) == ("running", WORKFLOW)
    return task


def test_the_dead_are_not_sought_among_those_who_wait(start):
    task = park(start(step("a")))
    leases.reap(own="", now=timezone.now())
    leases.forget_workers(now=timezone.now())
    task.refresh_from_db()
    assert (task.state, task.losses, Run.objects.get(task=task).outcome) == ("running", 0, "waiting")


def test_a_wake_that_a_crash_swallowed_is_made_up_for(skill, start, worker, ended):
    task = park(start(step("a"), step("b", "a")))
    Task.objects.filter(parent_task_id=task.id).update(state="succeeded", ended_at=timezone.now(), result={"name": "a"})
    with worker():
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["b"])


def test_a_workflow_whose_steps_go_on_is_left_to_wait(start):
    task = park(start(step("a")))
    assert queue.wake_idle_workflows(now=timezone.now()) == []
    task.refresh_from_db()
    assert task.worker_id == WORKFLOW


def test_many_steps_that_end_at_once_lose_no_wake(skill, start, worker, ended):
    wide = [step(f"s{n}") for n in range(20)]
    with worker(slots=16):
        tasks = [start(*wide, step("end", *(one["name"] for one in wide))) for _ in range(4)]
        assert {ended(task).state for task in tasks} == {"succeeded"}
    assert Counter(skill.calls) == Counter({**{f"s{n}": 4 for n in range(20)}, "end": 4})
    assert everything_ended_once()


def test_a_step_that_ends_while_its_workflow_parks_is_not_missed(start):
    """No worker and so no sweep: the wake alone must be enough."""
    task = start(step("a"))
    lease = claim("one")
    with write_transaction():
        children.advance_workflow(lease, now=timezone.now())
    child = claim("two")
    assert child.parent_task_id == task.id

    def end_child():
        with write_transaction():
            finish(child, Succeeded(result={}), now=timezone.now())
        connections.close_all()

    thread = threading.Thread(target=end_child)
    with write_transaction():  # it looks before the step ends, and parks after
        ending = children.advance_workflow(lease, now=timezone.now())
        assert isinstance(ending, Waiting)
        thread.start()
        time.sleep(0.2)
        assert finish(lease, ending, now=timezone.now())
    thread.join(10)
    task.refresh_from_db()
    assert (task.state, events_of(task)[-1]) == ("queued", "task.resumed")
