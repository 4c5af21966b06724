"""What led to what: each event of a task names the event before it, and all are of one trace."""

import pytest
from django.utils import timezone

from agents import control, leases, queue
from agents.models import Task
from agents.orders import Order
from audit.context import acting
from audit.models import LedgerEvent
from tests.contract.conftest import AGENT
from tests.contract.models import CALL, DONE, Models, calls
from tests.contract.scripted import publish_rules
from toolgate.approvals import decide_approval
from toolgate.models import Approval

ASK = {"id": "ask-first", "agent": AGENT, "skill": "scripted", "effect": "ask"}


def links(task: Task) -> list[tuple[str, str]]:
    """Return each event of a task with the one that led to it, in order; "" where none did."""
    types = dict(LedgerEvent.objects.values_list("event_id", "type"))
    rows = LedgerEvent.objects.filter(task_id=task.id).order_by("id")
    return [(row.type, types[row.cause_id] if row.cause_id else "") for row in rows]


def check_order() -> None:
    """See that nothing is led to by what comes later, or by what there is not."""
    places = dict(LedgerEvent.objects.values_list("event_id", "id"))
    for row in LedgerEvent.objects.exclude(cause_id=""):
        assert places[row.cause_id] < row.id, row.type


def traces(task: Task) -> set[str]:
    return set(LedgerEvent.objects.filter(task_id=task.id).values_list("trace_id", flat=True))


def test_a_direct_task(skill, submit, worker, ended):
    with acting(trace_id="a-request"), worker():
        task = ended(submit("a"))
    assert links(task) == [
        ("task.submitted", ""),
        ("run.started", "task.submitted"),
        ("decision.made", "run.started"),
        ("step.finished", "decision.made"),
        ("task.succeeded", "run.started"),
    ]
    assert traces(task) == {task.trace_id} == {"a-request"}
    check_order()


def test_a_call_that_is_denied(skill, submit, worker, ended):
    publish_rules([ASK | {"effect": "deny"}])
    with worker():
        task = ended(submit("a"))
    assert links(task)[-2:] == [("decision.made", "run.started"), ("task.failed", "decision.made")]
    check_order()


@pytest.mark.usefixtures("plain_agent")
def test_an_own_run_that_asks_a_person(skill, think, worker, ended, until):
    publish_rules([ASK])
    with worker(models=Models(calls(CALL), DONE)):
        task = think()
        until(lambda: Approval.objects.filter(task_id=task.id).exists(), "the task to ask")
        approval = Approval.objects.get(task_id=task.id)
        with acting(trace_id="an-answer"):
            decide_approval(approval.id, approve=True, user="ana", scope="task", now=timezone.now())
        ended(task)
    turn = [
        ("budget.reserved", "run.started"),
        ("budget.settled", "budget.reserved"),
        ("step.finished", "budget.reserved"),
    ]
    assert links(task) == [
        ("task.submitted", ""),
        ("run.started", "task.submitted"),
        *turn,
        ("decision.made", "run.started"),
        ("approval.asked", "decision.made"),
        ("task.parked", "approval.asked"),
        ("approval.granted", "approval.asked"),
        ("task.resumed", "approval.granted"),
        ("grant.given", "approval.asked"),
        ("run.started", "task.resumed"),
        ("approval.used", "approval.asked"),
        ("decision.made", "run.started"),
        ("step.finished", "decision.made"),
        *turn,
        ("task.succeeded", "run.started"),
    ]
    assert traces(task) == {task.trace_id}
    check_order()


def test_a_lost_run_a_cancellation_and_a_retry(submit):
    from agents.claiming import claim_next
    from agents.models import Worker
    from audit.transactions import write_transaction

    task, now = submit("a"), timezone.now()
    with write_transaction():
        claim_next("dead", now=now)
    Worker.objects.all().delete()
    leases.reap(own="", now=now)
    control.cancel_task(task.id, actor="user:olga", now=now)
    control.retry_task(task.id, actor="user:olga", now=now)
    with write_transaction():
        claim_next("living", now=now)
    leases.release_unfinished("living", now=now)
    assert links(task) == [
        ("task.submitted", ""),
        ("run.started", "task.submitted"),
        ("run.lost", "run.started"),
        ("task.cancelled", "task.submitted"),
        ("task.retried", "task.submitted"),
        ("run.started", "task.retried"),
        ("run.released", "run.started"),
    ]
    task.refresh_from_db()
    assert task.queued_by == LedgerEvent.objects.get(type="run.released").event_id
    check_order()


def test_the_steps_of_a_workflow(skill, worker, ended):
    step = {"name": "a", "agentId": AGENT, "skillId": "scripted", "input": {"name": "a"}}
    order = Order(agent_id="integration-agent", skill_id="", input={"steps": [step]}, submitted_by="olga")
    with worker():
        task = ended(queue.submit_task(order, now=timezone.now()).task)
    (child,) = Task.objects.filter(parent_task_id=task.id)
    assert links(child)[0] == ("task.submitted", "run.started")
    assert ("task.resumed", "task.succeeded") in links(task)
    assert traces(task) == traces(child) == {task.trace_id}
    check_order()
