"""What a person may still ask of a task: cancel it, or try it again. A workflow's steps go with it.

A workflow's row is locked before its steps' rows, and a task's approvals before its own row.
"""

from datetime import datetime

from django.db import transaction

from agents import engine
from agents.exceptions import TaskNotFound, TaskStateConflict
from agents.models import Task
from agents.orders import WORKFLOW
from agents.queue import requeue, task_event, wake_on_commit
from agents.states import TERMINAL, TaskState
from agents.workflows.plan import Workflow, find_restarts, make_plan
from audit.context import caused_by
from audit.events import Event, EventType
from audit.ledger import record
from audit.status import require_room
from audit.transactions import write_transaction
from toolgate.approvals import lock_approvals, supersede_approvals


def cancel_task(task_id: str, *, actor: str, now: datetime) -> Task:
    """Cancel a task and every step of it: at once if it waits, as soon as its worker notices if it runs.

    Raises: TaskNotFound; TaskStateConflict if it has ended.
    """
    with write_transaction():
        task = _lock(task_id)
        if task.state in TERMINAL:
            raise TaskStateConflict(task_id, task.state, "cancelled")
        _cancel(task, actor=actor, now=now)
        task.refresh_from_db()
    return task


def cancel_steps(by: Event, *, actor: str, now: datetime) -> None:
    """Cancel what still goes on of the steps of the workflow that `by` tells of, and of theirs.

    Inside the caller's transaction.
    """
    going_on = Task.objects.filter(parent_task_id=by.task_id, cancel_requested=False).exclude(state__in=TERMINAL)
    for step_id in going_on.order_by("id").values_list("id", flat=True):
        step = _lock(step_id)
        if step.state not in TERMINAL:
            with caused_by(by.id):
                _cancel(step, actor=actor, now=now)


def _lock(task_id: str) -> Task:
    lock_approvals(task_id)  # an answer locks the approval first, then the task; so must this
    task = Task.objects.select_for_update().filter(id=task_id).first()
    if task is None:
        raise TaskNotFound(task_id)
    return task


def _cancel(task: Task, *, actor: str, now: datetime) -> None:
    if task.state == TaskState.RUNNING and task.worker_id != WORKFLOW:
        event = task_event(EventType.TASK_CANCEL_REQUESTED, task, actor=actor, now=now)
        Task.objects.filter(id=task.id).update(cancel_requested=True)
        record(event)
        transaction.on_commit(lambda: engine.cancel(task.id))
    else:
        event = task_event(EventType.TASK_CANCELLED, task, actor=actor, now=now)
        _end_waiting(task, event, now=now)
    if not task.skill_id:
        cancel_steps(event, actor=actor, now=now)


def _end_waiting(task: Task, event: Event, *, now: datetime) -> None:
    changes = {"state": TaskState.CANCELLED, "ended_at": now, "cancel_requested": True, "worker_id": ""}
    Task.objects.filter(id=task.id).update(**changes)
    record(event)
    with caused_by(event.id):
        supersede_approvals(task.id, now=now)
    wake_on_commit(task.parent_task_id, event, now=now)


def retry_task(task_id: str, *, actor: str, now: datetime) -> Task:
    """Queue a failed or cancelled task once more, with all its attempts; its history stays.

    Of a workflow, the steps that failed or were cancelled are queued again; what succeeded is not done twice.

    Raises: TaskNotFound; TaskStateConflict if it has not failed or been cancelled, or its steps are still stopping;
    TrailBehind if the audit trail takes no new task, which this is as good as.
    """
    require_room()
    with write_transaction():
        task = _lock(task_id)
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise TaskStateConflict(task_id, task.state, "retried")
        _retry(task, actor=actor, now=now)
        task.refresh_from_db()
    return task


def _retry(task: Task, *, actor: str, now: datetime) -> None:
    event = task_event(EventType.TASK_RETRIED, task, actor=actor, now=now)
    requeue(task, event, now=now, fresh=True)
    record(event)
    rows = Task.objects.select_for_update().filter(parent_task_id=task.id).order_by("id")
    steps = {} if task.skill_id else {row.workflow_step: row for row in rows}
    if not steps:
        return
    if any(row.cancel_requested and row.state not in TERMINAL for row in steps.values()):
        raise TaskStateConflict(task.id, "still stopping its steps", "retried; wait a moment")
    plan = make_plan(Workflow.model_validate(task.input).steps)
    for step in find_restarts(plan, {name: row.state for name, row in steps.items()}):
        with caused_by(event.id):
            _retry(steps[step.name], actor=actor, now=now)
