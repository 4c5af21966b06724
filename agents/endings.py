"""How a run ends: each ending is one conditional write, guarded by the fence, with its audit event beside it."""

from collections.abc import Mapping
from datetime import datetime
from functools import singledispatch
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from agents import control, engine, metrics
from agents.border import find_redactor
from agents.models import Artifact, Run, Step, StepState, Task
from agents.money.spending import reconcile_run
from agents.orders import (
    WORKFLOW,
    Cancelled,
    Delayed,
    Ending,
    Failed,
    Lease,
    Parked,
    Released,
    Retried,
    Succeeded,
    TaskError,
    Waiting,
)
from agents.queue import digest_of, run_event, task_event, wake_on_commit
from agents.states import TERMINAL, TaskState
from audit import bodies
from audit.context import SYSTEM
from audit.events import Event, EventType
from audit.ledger import record
from toolgate.approvals import supersede_approvals

MESSAGE_LIMIT = 2_000  # characters of an error message that are kept

Changes = dict[str, Any]


def finish(lease: Lease, ending: Ending, *, now: datetime) -> bool:
    """Write how the run ended; inside the caller's transaction.

    Returns False, having changed nothing, if the lease was lost: another worker has the task.
    """
    ending = _heed_cancel(lease, ending, now=now)
    event = event_for(ending, lease, now)
    changes = {"worker_id": "", **changes_for(ending, lease, now)}
    if changes["state"] == TaskState.QUEUED:
        changes["queued_by"] = event.id
    held = Task.objects.filter(id=lease.task_id, worker_id=lease.worker_id, fence=lease.fence, state=TaskState.RUNNING)
    if not held.update(**changes):
        return False
    Run.objects.filter(task_id=lease.task_id, fence=lease.fence).update(ended_at=now, outcome=_outcome(ending))
    if not lease.skill_id:  # a direct task spends nothing; whatever a run left open is over with it
        reconcile_run(lease.task_id, lease.fence, now=now)
    record(*_close_step(lease, ending, now=now), event)
    if lease.is_workflow and isinstance(ending, Failed | Cancelled):
        control.cancel_steps(event, actor=f"worker:{lease.worker_id}", now=now)
    if changes["state"] in TERMINAL:
        wake_on_commit(lease.parent_task_id, event, now=now)
    _tell_after_commit(lease, ending, changes, now=now)
    return True


def _heed_cancel(lease: Lease, ending: Ending, *, now: datetime) -> Ending:
    """Return the ending, or the cancellation that a person asked for while the run went about to pause."""
    if isinstance(ending, Succeeded | Failed | Cancelled):
        return ending
    if not Task.objects.filter(id=lease.task_id, fence=lease.fence, cancel_requested=True).exists():
        return ending
    supersede_approvals(lease.task_id, now=now)
    return Cancelled()


def _outcome(ending: Ending) -> str:
    return type(ending).__name__.lower()


def _tell_after_commit(lease: Lease, ending: Ending, changes: Changes, *, now: datetime) -> None:
    if changes["state"] == TaskState.QUEUED:
        key = f"task:{lease.task_id}:{lease.attempt}:{lease.fence}"
        transaction.on_commit(lambda: engine.enqueue(lease.task_id, key=key, run_at=changes["run_at"]))
    transaction.on_commit(lambda: metrics.count_ending(lease, ending, now=now))


@singledispatch
def changes_for(ending: Ending, lease: Lease, now: datetime) -> Changes:
    """Return the columns of the task that this ending sets."""
    raise TypeError(f"{ending!r} is no ending")


@changes_for.register
def _(ending: Succeeded, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.SUCCEEDED, "result": ending.result, "ended_at": now}


@changes_for.register
def _(ending: Failed, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.FAILED, "ended_at": now, **error_columns(ending.error)}


@changes_for.register
def _(ending: Retried, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.QUEUED, "run_at": ending.run_at, **error_columns(ending.error)}


@changes_for.register
def _(ending: Delayed, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.QUEUED, "run_at": ending.run_at, "attempt": _unused_attempt()}


@changes_for.register
def _(ending: Parked, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.AWAITING_APPROVAL, "attempt": _unused_attempt()}


@changes_for.register
def _(ending: Waiting, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.RUNNING, "worker_id": WORKFLOW, "attempt": _unused_attempt()}


@changes_for.register
def _(ending: Released, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.QUEUED, "run_at": ending.run_at, "attempt": _unused_attempt()}


@changes_for.register
def _(ending: Cancelled, lease: Lease, now: datetime) -> Changes:
    return {"state": TaskState.CANCELLED, "ended_at": now}


def _unused_attempt() -> Greatest:
    return Greatest(F("attempt") - 1, 0)


def error_columns(error: TaskError) -> Changes:
    """Return the error columns of a task, the message cut to what is kept."""
    return {
        "error_code": error.code,
        "error_reason": error.reason or error.code,
        "error_message": _say(error),
    }


def event_for(ending: Ending, lease: Lease, now: datetime) -> Event:
    """Return the audit event of an ending, a terminal one only if the task is over."""
    type_, reason, body = _describe(ending, lease)
    asked = ending.approval_id if isinstance(ending, Parked) else ""
    return run_event(type_, lease, now=now, reason=reason, body=body, cause_id=asked)


def _describe(ending: Ending, lease: Lease) -> tuple[EventType, str, Mapping[str, Any]]:
    described: tuple[EventType, str, Mapping[str, Any]]
    match ending:
        case Succeeded(result=result):
            body = {"attempt": lease.attempt, "resultDigest": digest_of(result)}
            described = EventType.TASK_SUCCEEDED, "", body
        case Failed(error=error):
            described = EventType.TASK_FAILED, error.code, _error_body(error)
        case Retried(error=error, run_at=run_at):
            body = {**_error_body(error), "attempt": lease.attempt, "runAt": run_at.isoformat()}
            described = EventType.TASK_RETRIED, error.code, body
        case Delayed(run_at=run_at):
            described = EventType.TASK_DELAYED, "rate_limited", {"runAt": run_at.isoformat()}
        case Parked(approval_id=approval_id, reason=reason):
            described = EventType.TASK_PARKED, reason, {"approvalId": approval_id}
        case Waiting():
            described = EventType.TASK_WAITING, "", {}
        case Cancelled():
            described = EventType.TASK_CANCELLED, "", {}
        case Released(reason=reason):
            described = EventType.RUN_RELEASED, reason, {}
    return described


def _error_body(error: TaskError) -> bodies.TaskFailed:
    return bodies.TaskFailed(cause=error.reason or error.code, message=_say(error))


def _say(error: TaskError) -> str:
    """Return the message as it is kept: cut, and without the secrets that a skill's or a vendor's words may quote."""
    return find_redactor().text(error.message)[:MESSAGE_LIMIT]


def _close_step(lease: Lease, ending: Ending, *, now: datetime) -> list[Event]:
    """Settle the step in flight, if the ending knows how it went; otherwise what it did is unknown."""
    match ending:
        case Succeeded(step_id=step_id, artifacts=files):
            Artifact.objects.bulk_create(Artifact(task_id=lease.task_id, created_at=now, **f.columns()) for f in files)
            if not step_id:
                return _lose_steps(lease, now=now)
            Step.objects.filter(id=step_id).update(state=StepState.DONE, ended_at=now)
            body = bodies.StepEnded(stepId=step_id)
            return [run_event(EventType.STEP_FINISHED, lease, now=now, body=body, cause_id=step_id)]
        case Failed(step_id=step_id, error=error) | Retried(step_id=step_id, error=error) if step_id:
            columns = {"error_code": error.reason or error.code, "error_message": _say(error)}
            failed = Step.objects.filter(id=step_id, state=StepState.INTENT)
            if failed.update(state=StepState.FAILED, ended_at=now, **columns):
                body = bodies.StepEnded(stepId=step_id, cause=error.reason or error.code, message=_say(error))
                return [
                    run_event(EventType.STEP_FAILED, lease, now=now, reason=error.code, body=body, cause_id=step_id)
                ]
    return _lose_steps(lease, now=now)  # whatever is still open, and what was settled meanwhile stays so


def _lose_steps(lease: Lease, *, now: datetime) -> list[Event]:
    open_steps = Step.objects.filter(task_id=lease.task_id, fence=lease.fence, state=StepState.INTENT)
    ids = list(open_steps.values_list("id", flat=True))
    open_steps.update(state=StepState.UNKNOWN, ended_at=now)
    return [
        run_event(EventType.STEP_LOST, lease, now=now, body=bodies.StepLost(stepId=id_), cause_id=id_) for id_ in ids
    ]


def end_waiting(task: Task, error: TaskError, *, now: datetime, actor: str) -> bool:
    """Fail a task that no worker holds: it waited for a person who said no, or for nobody any more."""
    waiting = Task.objects.filter(id=task.id, state=task.state).exclude(state=TaskState.RUNNING)
    if not waiting.update(state=TaskState.FAILED, ended_at=now, worker_id="", **error_columns(error)):
        return False
    event = task_event(EventType.TASK_FAILED, task, actor=actor, now=now, reason=error.code, body=_error_body(error))
    record(event)
    wake_on_commit(task.parent_task_id, event, now=now)
    return True


def end_lost(task: Task, *, now: datetime) -> None:
    """End a task whose worker died: cancelled if somebody asked for it, else failed for too many losses."""
    changes: Changes = {"state": TaskState.CANCELLED}
    event = task_event(EventType.TASK_CANCELLED, task, actor=SYSTEM, now=now)
    if not task.cancel_requested:
        error = _too_many_losses(task)
        changes = {"state": TaskState.FAILED, **error_columns(error)}
        body = _error_body(error)
        event = task_event(EventType.TASK_FAILED, task, actor=SYSTEM, now=now, reason=error.code, body=body)
    held = Task.objects.filter(id=task.id, state=TaskState.RUNNING, fence=task.fence)
    if not held.update(ended_at=now, worker_id="", **changes):
        return
    record(event)
    if event.type is EventType.TASK_FAILED:
        transaction.on_commit(lambda: metrics.count_failure(task.agent_id, event.reason))
    control.cancel_steps(event, actor=SYSTEM, now=now)
    wake_on_commit(task.parent_task_id, event, now=now)


def _too_many_losses(task: Task) -> TaskError:
    return TaskError(
        code="worker_lost",
        message=f"The worker was lost {task.losses} times while this task ran. Nothing more is tried. "
        "See the workers' logs, then retry the task.",
    )
