"""People's answers to an agent's calls: its model is told of a refusal and goes on; what a person changed runs."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agents.models import Step, Task
from audit.models import LedgerEvent, TranscriptEntry
from tests.contract.agent_cast import events_of, told
from tests.contract.conftest import AGENT
from tests.contract.models import CALL, DONE, Models, calls
from tests.contract.scripted import publish_rules
from toolgate.approvals import decide_approval
from toolgate.models import Approval, DecisionRecord

pytestmark = pytest.mark.usefixtures("plain_agent")
ASK = {"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}


@pytest.fixture
def parked(until):
    """Wait until a task asks, and return what it asks."""

    def _parked(task):
        until(lambda: Approval.objects.filter(task_id=task.id, state="pending").exists(), "the task to ask")
        return Approval.objects.get(task_id=task.id, state="pending")

    return _parked


def answer(approval, *, approve=True, **more):
    return decide_approval(approval.id, approve=approve, user="ana", now=timezone.now(), **more)


def test_the_model_is_told_who_refused_and_why_and_goes_on(skill, think, worker, ended, parked):
    publish_rules([ASK])
    models = Models(calls(CALL), calls(("again", "scripted", {"name": "x"})), DONE)
    with worker(models=models):
        task = think()
        answer(parked(task), approve=False, note="not on a Friday")
        ended(task)
    assert (task.state, skill.calls, len(models.requests)) == ("succeeded", [], 3)
    for result in told(models):
        assert result.is_error
        assert "approval_rejected" in result.content
        assert "ana refused this call: not on a Friday" in result.content
    assert Approval.objects.filter(task_id=task.id).count() == 1
    assert events_of(task, "task.resumed", "approval.refused") == ["approval.refused", "task.resumed"]


def test_an_expired_question_ends_the_task_as_ever(skill, think, worker, ended, parked, settings):
    publish_rules([ASK])
    with worker(models=Models(calls(CALL), DONE)):
        task = think()
        approval = parked(task)
        Approval.objects.filter(id=approval.id).update(expires_at=timezone.now() - timedelta(seconds=1))
        ended(task)
    assert (task.state, task.error_code, skill.calls) == ("failed", "approval_expired", [])


def test_the_sweep_escalates_what_waits_too_long(skill, think, worker, until, parked):
    publish_rules([ASK | {"approval": {"slaSeconds": 1}}])
    with worker(models=Models(calls(CALL), DONE)):
        approval = parked(think())
        until(lambda: LedgerEvent.objects.filter(type="approval.escalated").exists(), "the escalation")
    approval.refresh_from_db()
    assert (approval.state, approval.escalated_at is not None) == ("pending", True)


def test_what_a_person_changed_is_what_runs_and_the_model_is_told(skill, think, worker, ended, parked):
    publish_rules([ASK])
    models = Models(calls(CALL), DONE)
    with worker(models=models):
        task = think()
        answer(parked(task), arguments={"name": "better"})
        ended(task)
    assert (task.state, skill.calls, len(models.requests)) == ("succeeded", ["better"], 2)
    (result,) = told(models)
    assert "A person changed the arguments" in result.content
    assert '"arguments":{"name":"better"}' in result.content
    assert not result.is_error
    decision = DecisionRecord.objects.get(task_id=task.id, effect="allow")
    assert (decision.arguments, decision.reason) == ({"name": "better"}, "approved")
    assert Step.objects.get(task=task, kind="skill").output["arguments"] == {"name": "better"}
    assert Approval.objects.get(task_id=task.id).state == "used"
    entries = TranscriptEntry.objects.filter(task_id=task.id, kind="call").order_by("id")
    assert [entry.body["arguments"]["name"] for entry in entries] == ["x", "better"]


def test_the_same_wish_made_again_is_asked_about_anew(skill, think, worker, ended, parked):
    publish_rules([ASK])
    models = Models(calls(CALL), calls(("again", "scripted", {"name": "x"})), DONE)
    with worker(models=models):
        task = think()
        answer(parked(task), arguments={"name": "better"})
        second = parked(task)
        assert (second.arguments, second.asked_arguments) == ({"name": "x"}, None)
        answer(second)
        ended(task)
    assert skill.calls == ["better", "x"]


def test_a_direct_task_runs_what_was_approved(skill, submit, worker, ended, parked):
    publish_rules([ASK])
    with worker():
        task = submit("x")
        answer(parked(task), arguments={"name": "better"})
        ended(task)
    assert (task.state, skill.calls, task.input) == ("succeeded", ["better"], {"name": "x"})
    assert task.result["name"] == "better"


def test_a_direct_task_ends_with_a_refusal(skill, submit, worker, ended, parked):
    publish_rules([ASK])
    with worker():
        task = submit("x")
        answer(parked(task), approve=False, note="no")
        ended(task)
    assert (task.state, task.error_code, task.error_message) == (
        "failed",
        "approval_rejected",
        "ana refused this call: no.",
    )


def test_a_changed_call_that_may_have_run_is_asked_about_as_it_was_changed(skill, submit, worker, ended, until, parked):
    """The worker dies with the changed call under way: whether to repeat it is about the changed one."""
    import threading

    from agents import leases

    publish_rules([ASK])
    skill.idempotent = False
    release = threading.Event()
    skill.act = lambda name: release.wait(5) if len(skill.calls) == 1 else None
    with worker() as first:
        task = submit("x")
        answer(parked(task), arguments={"name": "better"})
        until(lambda: skill.calls, "the skill to run")
        Task.objects.filter(id=task.id).update(worker_id="dead")  # as if its process had vanished
        leases.reap(own=first.worker_id, now=timezone.now())
        question = parked(task)
        assert (question.kind, question.arguments, skill.calls) == ("step_unknown", {"name": "better"}, ["better"])
        release.set()
        answer(question)
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["better", "better"])


def test_for_this_task_the_next_call_is_not_asked_about(skill, think, worker, ended, parked):
    publish_rules([ASK])
    models = Models(calls(CALL), calls(("next", "scripted", {"name": "y"})), DONE)
    with worker(models=models):
        task = think()
        answer(parked(task), scope="task")
        ended(task)
    assert (task.state, skill.calls) == ("succeeded", ["x", "y"])
    details = (
        DecisionRecord.objects.filter(task_id=task.id, effect="allow").order_by("at").values_list("detail", flat=True)
    )
    assert [detail.split(" until ")[0] for detail in details] == ["approved by ana", "granted by ana"]
