"""The queue of tasks: submit, requeue, wake. The task row is the truth.

Each function here is one short transaction, or joins its caller's. A conditional update decides every race:
whoever changes the row wins, and no row changed means that somebody else was first.
"""

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef

from agents import engine
from agents.exceptions import IdempotencyConflict
from agents.models import Task
from agents.orders import WORKFLOW, Lease, Order
from agents.states import TERMINAL, TaskState, sources_of
from audit import bodies, tracing
from audit.context import SYSTEM, current_cause, current_trace
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.status import require_room
from audit.tracing import Span
from audit.transactions import write_transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The task that an order came to; `created` is False where an idempotency key named an earlier one."""

    task: Task
    created: bool


def submit_task(order: Order, *, now: datetime) -> Submission:
    """Accept an order: the task row and its audit event in one transaction, then the engine is told.

    Raises: IdempotencyConflict if the key was used with another body; TrailBehind if the audit trail takes no new
    task. A step of a workflow is none: it belongs to a task that was taken.
    """
    if order.idempotency_key and (earlier := _find_by_key(order)):
        return Submission(task=earlier, created=False)
    if not order.parent_task_id:
        require_room()
    task = _new_task(order, now=now)
    try:
        with _submitting(task), write_transaction():
            task.save(force_insert=True)
            record(_submitted(task, now=now))
            _enqueue_on_commit(task)
    except IntegrityError:
        earlier = _find_by_key(order) if order.idempotency_key else None
        if earlier is None:
            raise
        return Submission(task=earlier, created=False)
    return Submission(task=task, created=True)


def _submitting(task: Task) -> AbstractContextManager[Span]:
    """Begin the span that every run of the task is within, in whatever process; a step's is within its workflow's."""
    return tracing.span(
        f"submit {task.agent_id}",
        {"gen_ai.agent.id": task.agent_id, "orchestrator.task.id": task.id},
        kind="producer",
        trace=task.trace_id,
        span_id=tracing.span_of_task(task.id),
        parent_id=tracing.span_of_task(task.parent_task_id) if task.parent_task_id else "",
    )


def _find_by_key(order: Order) -> Task | None:
    task = Task.objects.filter(submitted_by=order.submitted_by, idempotency_key=order.idempotency_key).first()
    if task is not None and task.body_digest != order.body_digest:
        raise IdempotencyConflict(task.id)
    return task


def _new_task(order: Order, *, now: datetime) -> Task:
    return Task(
        id=new_id(),
        state=TaskState.QUEUED,
        agent_id=order.agent_id,
        skill_id=order.skill_id,
        input=order.input,
        priority=order.priority,
        run_at=order.run_at,
        deadline_at=(order.run_at or now) + timedelta(seconds=settings.TASK_DEADLINE_SECONDS),
        created_at=now,
        parent_task_id=order.parent_task_id,
        workflow_step=order.workflow_step,
        draft_id=order.draft_id,
        callback_url=order.callback_url,
        tainted=order.tainted,
        trace_id=order.trace_id or current_trace() or new_id(),
        submitted_by=order.submitted_by,
        idempotency_key=order.idempotency_key,
        body_digest=order.body_digest,
    )


def digest_of(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON value's sorted bytes, in hex: what the audit trail binds a payload by."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _submitted(task: Task, *, now: datetime) -> Event:
    body = bodies.TaskSubmitted(inputDigest=digest_of(task.input), priority=task.priority)
    if task.workflow_step:
        body["parentTaskId"], body["step"] = task.parent_task_id, task.workflow_step
    actor = f"user:{task.submitted_by}"
    event = task_event(EventType.TASK_SUBMITTED, task, actor=actor, now=now, body=body, cause_id=current_cause())
    return replace(event, id=task.id)


def task_event(
    type_: EventType,
    task: Task,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    body: Mapping[str, Any] | None = None,
    cause_id: str | None = None,
) -> Event:
    """Return an event about `task`, in its trace; what led to it is its submission unless something else is known."""
    return Event(
        type=type_,
        at=now,
        actor=actor,
        task_id=task.id,
        agent_id=task.agent_id,
        skill_id=task.skill_id,
        reason=reason,
        trace_id=task.trace_id,
        cause_id=(current_cause() or task.id) if cause_id is None else cause_id,
        body=body or {},
    )


def _enqueue_on_commit(task: Task) -> None:
    key = f"task:{task.id}:{task.attempt + 1}:{task.fence}"
    transaction.on_commit(lambda: engine.enqueue(task.id, key=key, run_at=task.run_at))


def run_event(
    type_: EventType,
    lease: Lease,
    *,
    now: datetime,
    skill_id: str = "",
    reason: str = "",
    body: Mapping[str, Any] | None = None,
    cause_id: str = "",
) -> Event:
    """Return an event about the run that `lease` stands for; what led to it is the run's begin, if nothing nearer."""
    return Event(
        type=type_,
        at=now,
        actor=f"worker:{lease.worker_id}",
        task_id=lease.task_id,
        agent_id=lease.agent_id,
        skill_id=skill_id or lease.skill_id,
        reason=reason,
        trace_id=lease.trace_id,
        cause_id=cause_id or current_cause() or lease.event_id,
        body=body or {},
    )


def requeue(task: Task, by: Event, *, now: datetime, fresh: bool = False, renew_deadline: bool = False) -> bool:
    """Put a task back into the queue, due at once; `fresh` gives it all its attempts and no old error.

    `by` is the event that tells of it, the caller's to record. Returns False if its state no longer allows it.
    """
    changes: dict[str, Any] = {"state": TaskState.QUEUED, "worker_id": "", "run_at": None, "queued_by": by.id}
    if fresh:
        changes |= {"attempt": 0, "losses": 0, "error_code": "", "error_reason": "", "error_message": ""}
        changes |= {"ended_at": None, "started_at": None, "cancel_requested": False, "agent_version": None}
        changes |= {"result": None, "retried_fence": F("fence")}
    if fresh or renew_deadline:
        changes |= {"deadline_at": now + timedelta(seconds=settings.TASK_DEADLINE_SECONDS)}
    changed = Task.objects.filter(id=task.id, state__in=sources_of(TaskState.QUEUED)).update(**changes)
    if changed:
        task.refresh_from_db()
        _enqueue_on_commit(task)
    return bool(changed)


def wake_on_commit(task_id: str, by: Event, *, now: datetime) -> None:
    """Have a workflow look at its steps again once this transaction, in which `by` told of one, has committed.

    Not inside it: a workflow locks its own row and then its steps', so a step that ends must not lock them in the
    other order. A wake that a crash swallows is made up for by the sweep.
    """
    if task_id:
        transaction.on_commit(lambda: _wake(task_id, now=now, cause_id=by.id), robust=True)


def _wake(task_id: str, *, now: datetime, cause_id: str | None = None) -> bool:
    with write_transaction():
        # Locked by its id alone: a row that is about to be parked would not match what it is to be then.
        task = Task.objects.select_for_update().filter(id=task_id).first()
        if task is None or (task.state, task.worker_id) != (TaskState.RUNNING, WORKFLOW):
            return False
        event = task_event(EventType.TASK_RESUMED, task, actor=SYSTEM, now=now, cause_id=cause_id)
        requeue(task, event, now=now)
        record(event)
    return True


def wake_idle_workflows(*, now: datetime) -> list[str]:
    """Wake every workflow that waits although none of its steps goes on, and return their ids."""
    live = Task.objects.filter(parent_task_id=OuterRef("id")).exclude(state__in=TERMINAL)
    idle = Task.objects.filter(~Exists(live), state=TaskState.RUNNING, worker_id=WORKFLOW)
    return [task_id for task_id in idle.values_list("id", flat=True) if _wake(task_id, now=now)]
