"""The queue of tasks: submit, claim, cancel, retry, sweep. The task row is the truth.

Each function here is one short transaction, or joins its caller's. A conditional update decides every race:
whoever changes the row wins, and no row changed means that somebody else was first.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from agents import engine, registry
from agents.exceptions import IdempotencyConflict, TaskNotFound, TaskStateConflict
from agents.models import Task
from agents.orders import Lease, Order
from agents.states import TaskState, sources_of
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.approvals import lock_approvals, supersede_approvals

CLAIM_LOCK = 0x6F7263  # PostgreSQL advisory lock: claims are decided one after another


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The task that an order came to; `created` is False where an idempotency key named an earlier one."""

    task: Task
    created: bool


def submit_task(order: Order, *, now: datetime) -> Submission:
    """Accept an order: the task row and its audit event in one transaction, then the engine is told.

    Raises: IdempotencyConflict if the key was used with another body.
    """
    if order.idempotency_key and (earlier := _find_by_key(order)):
        return Submission(task=earlier, created=False)
    task = _new_task(order, now=now)
    try:
        with write_transaction():
            task.save(force_insert=True)
            record(_submitted(task, now=now))
            _enqueue_on_commit(task)
    except IntegrityError:
        earlier = _find_by_key(order)
        if earlier is None:
            raise
        return Submission(task=earlier, created=False)
    return Submission(task=task, created=True)


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
        trace_id=order.trace_id or new_id(),
        submitted_by=order.submitted_by,
        idempotency_key=order.idempotency_key,
        body_digest=order.body_digest,
    )


def digest_of(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON value's sorted bytes, in hex: what the audit trail binds a payload by."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _submitted(task: Task, *, now: datetime) -> Event:
    body = {"inputDigest": digest_of(task.input), "priority": task.priority, "traceId": task.trace_id}
    return task_event(EventType.TASK_SUBMITTED, task, actor=f"user:{task.submitted_by}", now=now, body=body)


def task_event(
    type_: EventType, task: Task, *, actor: str, now: datetime, reason: str = "", body: Mapping[str, Any] | None = None
) -> Event:
    """Return an event about `task`, with its trace."""
    return Event(
        type=type_,
        at=now,
        actor=actor,
        task_id=task.id,
        agent_id=task.agent_id,
        skill_id=task.skill_id,
        reason=reason,
        body=body or {"traceId": task.trace_id},
    )


def _enqueue_on_commit(task: Task) -> None:
    key = f"task:{task.id}:{task.attempt + 1}:{task.fence}"
    transaction.on_commit(lambda: engine.enqueue(task.id, key=key, run_at=task.run_at))


def claim_next(worker_id: str, *, now: datetime) -> Lease | None:
    """Take the due task that comes first, by priority and then age, whose agent has a free slot.

    The engine's message says only that there is work: taking the best task rather than the named one is what
    makes priority an order, and lets a task that waited for its agent's slot go when the slot frees.
    """
    full = _agents_without_a_slot()
    if full is None:
        return None
    row = _take_first(worker_id, full=full, now=now)
    if row is None:
        return None
    lease = _lease_from(row, worker_id=worker_id, now=now)
    _open_run(lease, now=now)
    return lease


def _agents_without_a_slot() -> list[str] | None:
    """Return the agents that run as many tasks as they may, or None if the whole fleet does."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
        cursor.execute("SELECT agent_id, COUNT(*) FROM agents_task WHERE state = 'running' GROUP BY agent_id")
        running = dict(cursor.fetchall())
    if sum(running.values()) >= settings.MAX_AGENTS:
        return None
    full = [agent_id for agent_id, count in running.items() if count >= registry.slots_of(agent_id)]
    return full + registry.paused_agents()


_CLAIM = """
UPDATE agents_task
SET state = 'running', worker_id = %s, fence = fence + 1, attempt = attempt + 1,
    started_at = COALESCE(started_at, %s)
WHERE id = (
    SELECT id FROM agents_task
    WHERE state = 'queued' AND (run_at IS NULL OR run_at <= %s) {without}
    ORDER BY priority DESC, created_at, id LIMIT 1 {lock}
)
RETURNING id, fence, agent_id, agent_version, draft_id, skill_id, input, attempt, submitted_by, trace_id, deadline_at
"""


def _take_first(worker_id: str, *, full: list[str], now: datetime) -> tuple[Any, ...] | None:
    without = f"AND agent_id NOT IN ({', '.join(['%s'] * len(full))})" if full else ""
    lock = "FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    stamp = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM.format(without=without, lock=lock), [worker_id, stamp, stamp, *full])
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _lease_from(row: tuple[Any, ...], *, worker_id: str, now: datetime) -> Lease:
    task_id, fence, agent_id, version, draft_id, skill_id, input_, attempt, submitted_by, trace_id, deadline = row
    if version is None:
        version = registry.version_of(agent_id)
        Task.objects.filter(id=task_id).update(agent_version=version)
    config = registry.find_config(agent_id, version, draft_id=draft_id)
    return Lease(
        task_id=task_id,
        worker_id=worker_id,
        fence=fence,
        agent_id=agent_id,
        agent_version=version,
        config=config,
        skill_id=skill_id,
        input=orjson.loads(input_),
        input_bytes=len(input_),
        attempt=attempt,
        submitted_by=submitted_by,
        trace_id=trace_id,
        started_at=now,
        deadline_at=_read_time(deadline),
        task_type=config.task_type if config else "unknown",
        timeout_seconds=float(config.timeout_seconds) if config else 30.0,
        max_attempts=1 + (config.retries if config else 0),
    )


def _read_time(value: Any) -> datetime | None:
    """Return a time as raw SQL gives it: PostgreSQL's is aware, SQLite's is in UTC and naive."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _open_run(lease: Lease, *, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents_run (task_id, fence, worker_id, started_at, outcome) VALUES (%s, %s, %s, %s, '')",
            [lease.task_id, lease.fence, lease.worker_id, connection.ops.adapt_datetimefield_value(now)],
        )
    record(run_event(EventType.RUN_STARTED, lease, now=now, body={"attempt": lease.attempt, "fence": lease.fence}))


def run_event(
    type_: EventType, lease: Lease, *, now: datetime, reason: str = "", body: Mapping[str, Any] | None = None
) -> Event:
    """Return an event about the run that `lease` stands for."""
    return Event(
        type=type_,
        at=now,
        actor=f"worker:{lease.worker_id}",
        task_id=lease.task_id,
        agent_id=lease.agent_id,
        skill_id=lease.skill_id,
        reason=reason,
        body={"traceId": lease.trace_id, **(body or {})},
    )


def cancel_task(task_id: str, *, actor: str, now: datetime) -> Task:
    """Cancel a task: at once if it waits, as soon as its worker notices if it runs.

    Raises: TaskNotFound; TaskStateConflict if it has ended.
    """
    with write_transaction():
        lock_approvals(task_id)  # an answer locks the approval first, then the task; so must this
        task = _get_for_update(task_id)
        if task.state in (TaskState.QUEUED, TaskState.AWAITING_APPROVAL):
            _end_waiting(task, actor=actor, now=now)
        elif task.state == TaskState.RUNNING:
            Task.objects.filter(id=task_id).update(cancel_requested=True)
            record(task_event(EventType.TASK_CANCEL_REQUESTED, task, actor=actor, now=now))
            transaction.on_commit(lambda: engine.cancel(task_id))
        else:
            raise TaskStateConflict(task_id, task.state, "cancelled")
        task.refresh_from_db()
    return task


def _get_for_update(task_id: str) -> Task:
    task = Task.objects.select_for_update().filter(id=task_id).first()
    if task is None:
        raise TaskNotFound(task_id)
    return task


def _end_waiting(task: Task, *, actor: str, now: datetime) -> None:
    Task.objects.filter(id=task.id).update(state=TaskState.CANCELLED, ended_at=now, cancel_requested=True)
    supersede_approvals(task.id, now=now)
    record(task_event(EventType.TASK_CANCELLED, task, actor=actor, now=now))


def retry_task(task_id: str, *, actor: str, now: datetime) -> Task:
    """Queue a failed or cancelled task once more, with all its attempts; its history stays.

    Raises: TaskNotFound; TaskStateConflict if it has not failed or been cancelled.
    """
    with write_transaction():
        task = _get_for_update(task_id)
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise TaskStateConflict(task_id, task.state, "retried")
        requeue(task, now=now, fresh=True)
        record(task_event(EventType.TASK_RETRIED, task, actor=actor, now=now))
        task.refresh_from_db()
    return task


def requeue(task: Task, *, now: datetime, fresh: bool = False) -> bool:
    """Put a task back into the queue, due at once; `fresh` gives it all its attempts and no old error.

    Returns False if its state no longer allows it.
    """
    changes: dict[str, Any] = {"state": TaskState.QUEUED, "worker_id": "", "run_at": None}
    if fresh:
        changes |= {"attempt": 0, "losses": 0, "error_code": "", "error_reason": "", "error_message": ""}
        changes |= {"ended_at": None, "started_at": None, "cancel_requested": False, "agent_version": None}
        changes |= {"deadline_at": now + timedelta(seconds=settings.TASK_DEADLINE_SECONDS), "result": None}
    changed = Task.objects.filter(id=task.id, state__in=sources_of(TaskState.QUEUED)).update(**changes)
    if changed:
        task.refresh_from_db()
        _enqueue_on_commit(task)
    return bool(changed)


def sweep(*, now: datetime, limit: int = 200) -> list[str]:
    """Tell the engine of every due task again: a broker that forgot its messages loses nothing."""
    due = Task.objects.filter(state=TaskState.QUEUED).filter(Q(run_at=None) | Q(run_at__lte=now))
    tasks = list(due.order_by("-priority", "created_at", "id").only("id", "attempt", "fence")[:limit])
    for task in tasks:
        engine.enqueue(task.id, key=f"task:{task.id}:{task.attempt + 1}:{task.fence}", run_at=None)
    return [task.id for task in tasks]
