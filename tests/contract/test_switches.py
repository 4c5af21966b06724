"""A switch that is turned is felt within a second by what runs, and by nothing else."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents import claiming, queue, registry, run
from agents.calls import Wish, pass_gate
from agents.models import FleetSwitch, Reservation, Run, Step, Task
from agents.orders import Order
from agents.switches.changes import quarantine_skill, release_skill, resume_fleet, set_agent_status, stop_fleet
from agents.types import AgentStatus
from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.contract.agent_cast import accounts, events_of, settled_for, steps_of, told
from tests.contract.conftest import AGENT
from tests.contract.models import CALL, DONE, Models, calls
from tests.contract.scripted import publish_rules
from toolgate.approvals import decide_approval
from toolgate.models import Approval, DecisionRecord

pytestmark = pytest.mark.usefixtures("plain_agent")
SECOND = 1.0
WHO = {"author": "ada", "reason": "an incident"}


class Held:
    """An act that waits until it is let go on, and says when it has begun."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, name: str) -> None:
        self.begun.set()
        assert self.go_on.wait(20)


@pytest.fixture
def held(skill: Any) -> Any:
    """Let the skill wait, and let it go at the end whatever happened."""
    skill.act = act = Held()
    yield act
    act.go_on.set()


def turn(status: str) -> float:
    """Turn the agent's switch, and return when."""
    set_agent_status(AGENT, AgentStatus(status), **WHO, now=timezone.now())
    return time.monotonic()


def state_of(task: Task) -> str:
    return Task.objects.values_list("state", flat=True).get(id=task.id)


def reasons_of_release(task: Task) -> list[str]:
    found = LedgerEvent.objects.filter(task_id=task.id, type="run.released").order_by("id")
    return list(found.values_list("reason", flat=True))


# --- pause ----------------------------------------------------------------------------------------------------
def test_a_paused_agents_run_ends_its_step_waits_and_goes_on_where_it_was(held, skill, think, worker, ended, until):
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = think()
        assert held.begun.wait(10)
        turn("paused")
        held.go_on.set()
        until(lambda: state_of(task) == "queued", "the run to be given back")
        time.sleep(1.3)  # longer than the sweep takes to look again
        task.refresh_from_db()
        assert (task.state, task.attempt, len(models.requests)) == ("queued", 0, 1)
        assert reasons_of_release(task) == ["agent_paused"]
        turn("enabled")
        ended(task)
    assert (task.state, task.attempt, skill.calls, len(models.requests)) == ("succeeded", 1, ["x"], 2)
    assert {state for _, state in steps_of(task)} == {"done"}


def test_a_paused_agents_direct_call_ends_and_what_waits_waits(held, skill, submit, worker, ended):
    with worker():
        task = submit("one")
        assert held.begun.wait(10)
        turn("paused")
        waiting = submit("two")
        held.go_on.set()
        assert ended(task).state == "succeeded"
        time.sleep(1.3)
        waiting.refresh_from_db()
        assert (waiting.state, waiting.attempt) == ("queued", 0)
        turn("enabled")
        assert ended(waiting).state == "succeeded"


# --- quarantine an agent --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("status", "code"), [("quarantined", "agent_quarantined"), ("disabled", "agent_disabled")])
def test_a_quarantine_cuts_off_the_call_of_a_model_which_is_charged(skill, think, worker, ended, until, status, code):
    models = Models(DONE)
    models.hold = threading.Event()
    with worker(models=models):
        task = think()
        until(lambda: models.requests, "the model to be asked")
        at = turn(status)
        ended(task)
        assert time.monotonic() - at < SECOND
    assert (task.state, task.error_code, models.cancelled) == ("failed", code, 1)
    reservation = Reservation.objects.get(task_id=task.id)
    assert (reservation.state, reservation.actual_micro) == ("settled", reservation.worst_micro)
    assert accounts()["fleet"].held_micro == 0
    assert task.cost_micro == settled_for(task)


def test_a_quarantine_cuts_off_a_direct_call_and_tells_its_skill_to_stop(held, skill, submit, worker, ended, until):
    with worker():
        task, waiting = submit("one"), submit("two", run_at=timezone.now() + timedelta(seconds=1))
        assert held.begun.wait(10)
        at = turn("quarantined")
        ended(task)
        assert time.monotonic() - at < SECOND
        held.go_on.set()
        until(lambda: skill.stopped == ["one"], "the skill to be told")
        assert [ended(one).error_code for one in (task, waiting)] == ["agent_quarantined"] * 2
    assert skill.calls == ["one"]
    assert steps_of(task) == [("skill", "unknown")]


def test_an_approved_call_of_a_quarantined_agent_is_refused(skill, submit, worker, ended, until):
    publish_rules([{"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}])
    with worker():
        task = submit("x")
        until(lambda: state_of(task) == "awaiting_approval", "the task to park")
        turn("quarantined")
        approval = Approval.objects.get(task_id=task.id)
        decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
        ended(task)
    assert (task.error_code, skill.calls) == ("agent_quarantined", [])


def test_a_quarantine_ends_a_workflow_that_waits_and_its_steps_with_it(held, skill, submit, worker, ended, until):
    step = {"name": "one", "agentId": AGENT, "skillId": "scripted", "input": {"name": "x"}}
    order = Order(agent_id="integration-agent", skill_id="", input={"steps": [step]}, submitted_by="olga")
    with worker():
        task = queue.submit_task(order, now=timezone.now()).task
        assert held.begun.wait(10)
        set_agent_status("integration-agent", AgentStatus.QUARANTINED, **WHO, now=timezone.now())
        assert ended(task).error_code == "agent_quarantined"
        assert ended(Task.objects.get(parent_task_id=task.id)).state == "cancelled"


# --- quarantine a skill ---------------------------------------------------------------------------------------
def test_a_skills_quarantine_cuts_off_its_call_and_the_model_goes_on(held, skill, think, worker, ended, until):
    models = Models(calls(CALL), calls(("call-2", "scripted", {"name": "y"})), DONE)
    with worker(models=models):
        task = think()
        assert held.begun.wait(10)
        quarantine_skill("scripted", **WHO, now=timezone.now())
        at = time.monotonic()
        until(lambda: len(models.requests) > 1, "the model to be told")
        assert time.monotonic() - at < SECOND
        held.go_on.set()
        until(lambda: skill.stopped == ["x"], "the skill to be told")
        ended(task)
    assert (task.state, task.attempt, skill.calls) == ("succeeded", 1, ["x"])
    assert ["skill_quarantined" in one.content for one in told(models)] == [True, True]
    assert list(
        DecisionRecord.objects.filter(task_id=task.id).order_by("at", "id").values_list("effect", "reason")
    ) == [
        ("allow", "allowed"),
        ("deny", "skill_quarantined"),
    ]


def test_a_direct_call_of_a_quarantined_skill_fails_under_way_or_waiting(held, skill, submit, worker, ended):
    with worker():
        task = submit("one")
        assert held.begun.wait(10)
        quarantine_skill("scripted", **WHO, now=timezone.now())
        assert ended(task).error_code == "skill_quarantined"
        assert ended(submit("two")).error_code == "skill_quarantined"
        held.go_on.set()
        release_skill("scripted", **WHO, now=timezone.now())
        assert ended(submit("three")).state == "succeeded"
    assert skill.calls == ["one", "three"]


def test_a_call_that_may_not_be_repeated_and_was_cut_off_is_asked_about(held, skill, think, worker, ended, until):
    skill.idempotent = False
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = think()
        assert held.begun.wait(10)
        quarantine_skill("scripted", **WHO, now=timezone.now())
        until(lambda: state_of(task) == "awaiting_approval", "the question")
        held.go_on.set()
        approval = Approval.objects.get(task_id=task.id)
        assert approval.kind == "step_unknown"
        decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["x"])
    assert "skill_quarantined" in told(models)[-1].content


def test_other_skills_calls_go_on(held, skill, submit, worker, ended):
    with worker():
        task = submit("one")
        assert held.begun.wait(10)
        quarantine_skill("normalizer", **WHO, now=timezone.now())
        time.sleep(0.7)
        held.go_on.set()
        assert ended(task).state == "succeeded"


# --- stop the fleet -------------------------------------------------------------------------------------------
def test_a_stop_gives_all_that_runs_back_and_a_staged_resume_honours_its_slots(
    held, skill, submit, think, worker, ended, until
):
    models = Models(*[DONE] * 4)
    models.hold = threading.Event()
    direct, own = [submit(f"d{n}") for n in range(3)], [think() for _ in range(2)]
    tasks = [*direct, *own]
    with worker(models=models):
        until(lambda: skill.running == 3 and len(models.requests) == 2, "all five to be under way")
        stop_fleet(**WHO, now=timezone.now())
        at = time.monotonic()
        until(lambda: {state_of(task) for task in tasks} == {"queued"}, "all of them to be given back")
        assert time.monotonic() - at < SECOND
        later = submit("later")
        held.go_on.set()
        models.hold.set()
        time.sleep(1.3)  # longer than the sweep takes
        assert {state_of(task) for task in [*tasks, later]} == {"queued"}
        assert {reason for task in tasks for reason in reasons_of_release(task)} == {"fleet_stopped"}
        assert {task.attempt for task in Task.objects.all()} == {0}
        skill.act, skill.most_running = (lambda name: time.sleep(0.05)), 0
        resume_fleet(slots=1, author="ada", now=timezone.now())
        assert {ended(task).state for task in [*tasks, later]} == {"succeeded"}
        assert skill.most_running == 1
    assert Run.objects.filter(outcome="released").count() == 5
    assert accounts()["fleet"].held_micro == 0
    assert not Step.objects.filter(state="intent").exists()


def test_a_stage_bounds_the_whole_fleet_and_the_last_frees_it(held, skill, submit, worker, ended, until, settings):
    settings.RESERVED_SLOTS = 0
    stop_fleet(**WHO, now=timezone.now())
    tasks = [submit(str(n)) for n in range(6)]
    with worker():
        resume_fleet(slots=2, author="ada", now=timezone.now())
        until(lambda: skill.running == 2, "two to run")
        time.sleep(1.2)
        assert skill.running == 2
        resume_fleet(author="ada", now=timezone.now())
        until(lambda: skill.running == 6, "all of them to run")
        held.go_on.set()
        assert {ended(task).state for task in tasks} == {"succeeded"}


def test_a_stop_outlives_the_process(submit, skill, worker, ended):
    stop_fleet(**WHO, now=timezone.now())
    task = submit("x")
    registry.forget_fleet()  # as a process that has just begun
    with worker():
        time.sleep(1.3)
        assert (state_of(task), skill.calls) == ("queued", [])
        resume_fleet(author="ada", now=timezone.now())
        assert ended(task).state == "succeeded"


def test_nothing_is_claimed_from_the_moment_of_the_stop(submit, skill):
    submit("x")
    registry.list_agents()  # what this process knows is fresh, and out of date
    FleetSwitch.objects.create(stopped=True, reason="elsewhere", changed_by="ada", changed_at=timezone.now())
    with write_transaction():
        assert claiming.claim_next("nobody", now=timezone.now()) is None


@pytest.mark.parametrize("switch", ["stop", "pause"])
def test_a_call_that_comes_to_the_gate_after_the_switch_waits_and_is_not_refused(submit, skill, switch):
    task = submit("one")
    with write_transaction():
        lease = claiming.claim_next("nobody", now=timezone.now())
    if switch == "stop":
        stop_fleet(**WHO, now=timezone.now())
    else:
        turn("paused")
    with write_transaction():
        passage = pass_gate(lease, Wish(skill_id=task.skill_id, arguments=task.input), now=timezone.now())
    assert (passage.permit, state_of(task), DecisionRecord.objects.count()) == (None, "queued", 0)


def test_a_stopped_fleet_starts_no_step_of_a_workflow(skill, worker, ended, until):
    step = {"name": "one", "agentId": AGENT, "skillId": "scripted", "input": {"name": "x"}}
    order = Order(agent_id="integration-agent", skill_id="", input={"steps": [step]}, submitted_by="olga")
    task = queue.submit_task(order, now=timezone.now()).task
    with write_transaction():
        lease = claiming.claim_next("nobody", now=timezone.now())
    stop_fleet(**WHO, now=timezone.now())
    with write_transaction():
        run._advance(lease, now=timezone.now())
    assert (state_of(task), Task.objects.filter(parent_task_id=task.id).count()) == ("queued", 0)
    assert events_of(task, "run.released") == ["run.released"]
