"""What goes wrong in the midst of a run: time, people, defects and the store, each at the worst moment."""

import threading
import time

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from agents import artifacts, endings, leases, metrics, queue, registry, run
from agents import calls as gate_calls
from agents.control import cancel_task, retry_task
from agents.models import Step, Task
from agents.orders import Order, Succeeded
from agents.providers.base import ModelMessage, ModelReply, ProviderUnavailable, StopReason
from audit.transactions import write_transaction
from tests.contract.agent_cast import change_agent, events_of, steps_of, told
from tests.contract.conftest import AGENT
from tests.contract.models import CALL, DONE, SOME, Models, answers, calls
from tests.contract.scripted import publish_rules
from toolgate.approvals import decide_approval
from toolgate.models import Approval

pytestmark = pytest.mark.usefixtures("plain_agent")
ASK_FIRST = {"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}


@pytest.fixture
def hurried(monkeypatch):
    """Give runs a second, and hardly more before they are cut off."""
    monkeypatch.setattr(run, "GRACE_SECONDS", 0.2)
    change_agent(timeout_seconds=1)


def hold_up_once(monkeypatch, name, seconds):
    """Let the first call of a function of the flow wait in the writer."""
    real = getattr(run, name)
    seen: list[int] = []

    def slow(*arguments, **options):
        if not seen:
            seen.append(1)
            time.sleep(seconds)
        return real(*arguments, **options)

    monkeypatch.setattr(run, name, slow)


def fail_once(monkeypatch, error):
    """Let the first write of an ending fail; it can be made again."""
    real = endings.finish
    seen: list[int] = []

    def flaky(lease, ending, *, now):
        if not seen:
            seen.append(1)
            raise error
        return real(lease, ending, now=now)

    monkeypatch.setattr(run, "finish", flaky)


def refuse_endings(monkeypatch, is_refused):
    """Let no store take some endings."""
    real = endings.finish

    def refuse(lease, ending, *, now):
        if is_refused(lease, ending):
            raise ValueError("an event that cannot be written")
        return real(lease, ending, now=now)

    monkeypatch.setattr(run, "finish", refuse)


# --- time -----------------------------------------------------------------------------------------------------
def test_a_run_that_is_cut_off_in_a_skill_goes_on_at_its_next_attempt(hurried, skill, think, worker, ended):
    skill.act = lambda name: time.sleep(2.5) if len(skill.calls) == 1 else None
    with worker(models=Models(calls(CALL), DONE)):
        task = ended(think())
    assert (task.state, task.attempt, skill.calls) == ("succeeded", 2, ["x", "x"])
    assert steps_of(task) == [("model", "done"), ("skill", "unknown"), ("skill", "done"), ("model", "done")]


def test_a_turn_that_is_settled_while_the_time_runs_out_is_not_bought_again(
    hurried, skill, think, worker, ended, monkeypatch
):
    hold_up_once(monkeypatch, "close_turn", 1.8)
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, len(models.requests)) == ("succeeded", 2)
    assert {state for _, state in steps_of(task)} == {"done"}


def test_an_intent_that_is_written_while_the_time_runs_out_is_closed(hurried, skill, think, worker, ended, monkeypatch):
    hold_up_once(monkeypatch, "pass_gate", 1.8)
    with worker(models=Models(calls(CALL), DONE)):
        task = ended(think())
    assert not Step.objects.filter(task=task, state="intent").exists()


def test_no_turn_is_bought_without_time_for_it(skill, think, worker, ended):
    change_agent(timeout_seconds=1, retries=0)
    skill.act = lambda name: time.sleep(1.1)
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = ended(think())
    assert (task.state, task.error_reason, len(models.requests)) == ("failed", "timeout", 1)


def test_a_direct_call_that_was_cut_off_is_asked_about_before_it_is_repeated(
    hurried, skill, submit, worker, ended, until
):
    skill.idempotent = False
    skill.act = lambda name: time.sleep(1.6) if len(skill.calls) == 1 else None
    with worker():
        task = ended(submit("x"))
        assert (task.state, task.error_code) == ("failed", "timeout")
        retry_task(task.id, actor="user:olga", now=timezone.now())
        until(lambda: Approval.objects.filter(task_id=task.id, state="pending").exists(), "the question")
    assert (Approval.objects.get(task_id=task.id).kind, skill.calls) == ("step_unknown", ["x"])


# --- people ---------------------------------------------------------------------------------------------------
def test_a_cancellation_that_meets_a_run_about_to_park_wins(skill, think, worker, ended, monkeypatch):
    publish_rules([ASK_FIRST])
    real = gate_calls.pass_gate

    def cancelled_first(lease, wish, *, now):
        Task.objects.filter(id=lease.task_id).update(cancel_requested=True)
        return real(lease, wish, now=now)

    monkeypatch.setattr(run, "pass_gate", cancelled_first)
    with worker(models=Models(calls(CALL), DONE)):
        task = ended(think())
    assert task.state == "cancelled"
    assert not Approval.objects.filter(task_id=task.id, state="pending").exists()


def test_a_cancellation_ends_a_run_though_the_store_is_away_at_first(skill, think, worker, ended, monkeypatch, until):
    fail_once(monkeypatch, OperationalError("the store is away"))
    models = Models(DONE)
    models.hold = threading.Event()
    with worker(models=models):
        task = think()
        until(lambda: models.requests, "the model to be asked")
        cancel_task(task.id, actor="user:olga", now=timezone.now())
        assert ended(task).state == "cancelled"


def test_a_refused_report_goes_back_to_the_model_with_the_note(skill, think, worker, ended, until):
    constraints = registry._configs[AGENT, 1].constraints.model_copy(update={"review_required": True})
    change_agent(constraints=constraints)
    models = Models(DONE, answers({"done": "better"}))
    with worker(models=models):
        task = think()
        until(lambda: Approval.objects.filter(task_id=task.id, state="pending").exists(), "the first question")
        refused = Approval.objects.get(task_id=task.id)
        decide_approval(refused.id, approve=False, user="ana", note="name the file", now=timezone.now())
        assert ended(task).error_code == "approval_rejected"
        retry_task(task.id, actor="user:olga", now=timezone.now())
        until(lambda: Approval.objects.filter(task_id=task.id, state="pending").exists(), "the second question")
        asked = Approval.objects.get(task_id=task.id, state="pending")
        decide_approval(asked.id, approve=True, user="ana", note="", now=timezone.now())
        ended(task)
    assert (task.state, task.result) == ("succeeded", {"done": "better"})
    assert "name the file" in models.requests[1][1].messages[-1].text


def test_an_approval_that_took_longer_than_a_rate_may_be_waited_for_still_counts(skill, think, worker, ended, until):
    rule = {"agent": AGENT, "skill": "scripted"}
    ask = {"id": "ask-b", **rule, "effect": "ask", "conditions": {"arguments": {"name": {"equals": "b"}}}}
    publish_rules([{"id": "slow", **rule, "effect": "allow", "limits": {"ratePerSecond": 1}}, ask])
    with worker(models=Models(calls(("c1", "scripted", {"name": "a"}), ("c2", "scripted", {"name": "b"})), DONE)):
        task = think()
        until(lambda: Task.objects.get(id=task.id).state == "awaiting_approval", "the task to park")
        Task.objects.filter(id=task.id).update(deadline_at=timezone.now())
        approval = Approval.objects.get(task_id=task.id)
        decide_approval(approval.id, approve=True, user="ana", note="", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["a", "b"])


# --- defects and the store ------------------------------------------------------------------------------------
def test_a_skill_with_a_defect_ends_its_task_and_a_retry_goes_on(skill, think, worker, ended):
    def fail(name):
        if len(skill.calls) == 1:
            raise ValueError("a defect")

    skill.act = fail
    with worker(models=Models(calls(CALL), DONE)):
        task = ended(think())
        assert task.error_code == "internal_error"
        retry_task(task.id, actor="user:olga", now=timezone.now())
        assert ended(task).state == "succeeded"


# Refused by what is written, not by how often: a group of writes that fails is tried again one by one.
def test_an_ending_that_no_store_takes_becomes_a_failure(skill, think, worker, ended, monkeypatch):
    refuse_endings(monkeypatch, lambda lease, ending: isinstance(ending, Succeeded))
    with worker(models=Models(DONE)):
        task = ended(think())
    assert (task.state, task.error_code) == ("failed", "internal_error")


def test_what_no_ending_was_written_for_is_taken_back(skill, think, worker, ended, monkeypatch):
    refuse_endings(monkeypatch, lambda lease, ending: lease.fence == 1)
    with worker(models=Models(DONE)):
        task = ended(think())
    assert (task.state, task.losses) == ("succeeded", 1)


def test_a_write_that_can_never_succeed_ends_the_task_instead_of_trying_for_ever(
    skill, think, worker, ended, monkeypatch
):
    def refuse(*arguments, **options):
        raise DataError("value too long for type character varying(200)")

    monkeypatch.setattr(run, "close_call", refuse)
    with worker(models=Models(calls(CALL), DONE)):
        task = ended(think())
    assert (task.state, task.error_code, skill.calls) == ("failed", "internal_error", ["x"])


def test_a_store_that_is_away_is_left_alone_for_a_moment(skill, think, worker, until, monkeypatch):
    def refuse(*arguments, **options):
        raise OperationalError("the store is away")

    monkeypatch.setattr(run, "close_call", refuse)
    with worker(models=Models(calls(CALL), DONE)):
        task = think()
        until(lambda: "run.released" in events_of(task), "the run to be given back")
        task.refresh_from_db()
    assert task.run_at is not None
    assert (task.attempt, skill.calls) == (0, ["x"])


def test_a_late_worker_and_the_reaper_end_a_task_once(think):
    task = think()
    Task.objects.filter(id=task.id).update(state="running", worker_id="late", fence=1, attempt=1)
    stale = Task.objects.get(id=task.id)  # as the reaper has read it
    Task.objects.filter(id=task.id).update(state="failed", worker_id="")  # the late worker commits
    with write_transaction():
        assert not leases._take_back(stale, now=timezone.now())
    task.refresh_from_db()
    assert task.state == "failed"
    assert events_of(task, "run.lost", "task.failed") == []


def test_a_lost_worker_is_counted(think):
    task = think()
    Task.objects.filter(id=task.id).update(state="running", worker_id="late", fence=1, attempt=1, losses=4)
    before = metrics.FAILED.labels(agent=AGENT, error_type="worker_lost")._value.get()
    leases.reap(own="me", now=timezone.now())
    assert metrics.FAILED.labels(agent=AGENT, error_type="worker_lost")._value.get() == before + 1


# --- models that speak badly ----------------------------------------------------------------------------------
def test_a_refusal_leaves_nothing_behind_that_a_retry_would_act_on(skill, think, worker, ended):
    wanted = calls(CALL).message
    models = Models(ModelReply(message=wanted, stop=StopReason.REFUSED, usage=SOME), DONE)
    with worker(models=models):
        task = ended(think())
        assert task.error_code == "model_refused"
        retry_task(task.id, actor="user:olga", now=timezone.now())
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", [])
    assert not any(isinstance(message, ModelMessage) for message in models.requests[-1][1].messages)


def test_a_long_name_of_a_call_does_not_make_it_twice(skill, think, worker, ended):
    wanted = calls(("c" * 250, "scripted", {"name": "x"}))
    with worker(models=Models(wanted, ProviderUnavailable("down"), DONE)):
        task = ended(think())
    assert (task.state, skill.calls) == ("succeeded", ["x"])


def test_calls_of_one_name_are_all_made(skill, think, worker, ended):
    models = Models(calls(CALL, ("call-1", "scripted", {"name": "y"}), ("", "scripted", {"name": "z"})), DONE)
    with worker(models=models):
        assert ended(think()).state == "succeeded"
    assert skill.calls == ["x", "y", "z"]
    assert len({result.call_id for result in told(models)}) == 3


# --- text from outside ----------------------------------------------------------------------------------------
def test_taint_goes_with_the_data_from_one_step_of_a_workflow_to_the_next(skill, worker, ended):
    skill.outside = True
    value = {"input": {}, "schema": {"done": {"type": "string"}}}
    steps = [
        {"name": "read", "agentId": AGENT, "input": value},
        {"name": "act", "agentId": AGENT, "input": value | {"input": {"$from": "read"}}},
        {"name": "else", "agentId": AGENT, "input": value, "dependsOn": ["read"]},
    ]
    order = Order(agent_id="integration-agent", skill_id="", input={"steps": steps}, submitted_by="olga")
    with worker(models=Models(calls(CALL), DONE, DONE, DONE)):
        task = ended(queue.submit_task(order, now=timezone.now()).task)
    tainted = dict(Task.objects.filter(parent_task_id=task.id).values_list("workflow_step", "tainted"))
    assert tainted == {"read": True, "act": True, "else": False}


def test_files_of_one_name_are_kept_apart(tmp_path, settings):
    settings.WORKSPACE_ROOT = tmp_path
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text(folder)
    one, two = (artifacts.keep_written("t1", (f"{folder}/__init__.py",), whole=True)[0] for folder in ("a", "b"))
    assert [(tmp_path / kept.path).read_text() for kept in (one, two)] == ["a", "b"]
