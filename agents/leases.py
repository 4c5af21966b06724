"""Workers and their leases: beat, notice the dead, give their tasks to the living.

A lease is the worker's, one update a beat for all its tasks, on the database's clock where there are several
machines. A task whose worker's lease ran out goes back to the queue without using an attempt; what its last
step did is unknown until `agents.run` has looked at it.
"""

import os
import socket
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F
from django.db.models.functions import Greatest

from agents.endings import end_lost
from agents.models import Run, Step, StepState, Task, Worker
from agents.money.caps import take_turn
from agents.money.spending import reconcile_run
from agents.orders import WORKFLOW, run_event_id
from agents.queue import requeue, task_event
from agents.states import TaskState
from audit import bodies
from audit.context import SYSTEM, caused_by
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction

LEASE_SECONDS = 30
BEAT_SECONDS = 5
MAX_LOSSES = 5


def lease_clock(now: datetime) -> datetime:
    """Return the clock that leases are written and judged by: the database's, or `now` on SQLite."""
    if connection.vendor != "postgresql":
        return now
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        time: datetime = cursor.fetchone()[0]
        return time


def register_worker(*, now: datetime, slots: int = 0) -> str:
    """Write this process down as a worker of so many slots, with a fresh lease, and return its id."""
    worker_id = f"{socket.gethostname()[:32]}-{os.getpid()}-{new_id()[:16]}"
    with write_transaction():
        clock = lease_clock(now)
        Worker.objects.create(
            id=worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=slots,
            started_at=clock,
            beat_at=clock,
            lease_expires_at=clock + timedelta(seconds=LEASE_SECONDS),
        )
    return worker_id


def beat(worker_id: str, *, now: datetime) -> list[str]:
    """Renew the lease and return the ids of this worker's tasks that are to be cancelled.

    Raises: WorkerGone if the worker was declared dead and its tasks given away.
    """
    with write_transaction():
        clock = lease_clock(now)
        expires = clock + timedelta(seconds=LEASE_SECONDS)
        if not Worker.objects.filter(id=worker_id).update(beat_at=clock, lease_expires_at=expires):
            raise WorkerGone(worker_id)
    return cancel_requests(worker_id)


class WorkerGone(Exception):
    """This worker's lease ran out and its row was removed; it must stop all its runs and register anew."""


def cancel_requests(worker_id: str) -> list[str]:
    """Return the ids of this worker's running tasks that somebody wants cancelled."""
    running = Task.objects.filter(state=TaskState.RUNNING, worker_id=worker_id, cancel_requested=True)
    return list(running.values_list("id", flat=True))


def reap(*, own: str, now: datetime) -> list[str]:
    """Take the tasks of dead workers back and return their ids.

    A lease that ends later than a fresh one could means that the clock was set back: that worker is judged
    dead too, and fenced, rather than left holding its tasks until the clock has caught up.
    """
    with write_transaction():
        take_turn()  # first, and no row is waited for after it: who is judged dead may be writing still
        clock = lease_clock(now)
        latest = clock + timedelta(seconds=LEASE_SECONDS + BEAT_SECONDS)
        running = list(Task.objects.filter(state=TaskState.RUNNING).exclude(worker_id__in=[own, WORKFLOW]))
        workers = Worker.objects.exclude(id=own)  # read after the tasks: one that came meanwhile is known
        living = {w.id for w in workers if clock < w.lease_expires_at <= latest}
        dead = {w.id for w in workers} - living
        taken = [task.id for task in running if task.worker_id not in living and _take_back(task, now=now)]
        Worker.objects.filter(id__in=dead).delete()
    return taken


def forget_workers(*, now: datetime) -> None:
    """Declare every worker dead at once: for a process that alone may hold this store, when it starts."""
    with write_transaction():
        Worker.objects.all().delete()
    reap(own="", now=now)


def _take_back(task: Task, *, now: datetime) -> bool:
    """Give a lost task to others; False if its worker has put it down after all."""
    if not _lock_held(task):
        return False
    Run.objects.filter(task_id=task.id, fence=task.fence).update(ended_at=now, outcome="lost")
    event = _end_event(EventType.RUN_LOST, task, now=now, worker=task.worker_id, losses=task.losses + 1)
    record(event)
    _mark_unknown(task, now=now)
    reconcile_run(task.id, task.fence, now=now)
    Task.objects.filter(id=task.id).update(losses=F("losses") + 1, attempt=Greatest(F("attempt") - 1, 0))
    task.refresh_from_db()
    if task.cancel_requested or task.losses >= MAX_LOSSES:
        with caused_by(event.id):
            end_lost(task, now=now)
    else:
        requeue(task, event, now=now)
    return True


def _end_event(type_: EventType, task: Task, *, now: datetime, **body: Any) -> Event:
    """Return the event of a run that its worker did not end."""
    cause_id = run_event_id(task.id, task.fence)
    return task_event(type_, task, actor=SYSTEM, now=now, body=body, cause_id=cause_id)


def _lock_held(task: Task) -> bool:
    """Lock the task as it was read; False if somebody has changed it since, or is about to."""
    same = Task.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked).filter(
        id=task.id, state=TaskState.RUNNING, worker_id=task.worker_id, fence=task.fence
    )
    return same.values_list("id", flat=True).first() is not None


def _mark_unknown(task: Task, *, now: datetime) -> None:
    steps = Step.objects.filter(task_id=task.id, state=StepState.INTENT)
    for step in steps:
        body = bodies.StepLost(stepId=step.id)
        record(task_event(EventType.STEP_LOST, task, actor=SYSTEM, now=now, body=body, cause_id=step.id))
    steps.update(state=StepState.UNKNOWN, ended_at=now)


def list_held(worker_id: str) -> list[Task]:
    """Return the tasks that a worker holds."""
    return list(Task.objects.filter(state=TaskState.RUNNING, worker_id=worker_id))


def take_back_forgotten(worker_id: str, *, forgotten: Collection[str], now: datetime) -> list[str]:
    """Take back what this worker holds but no longer runs: an ending that could not be written, a lost answer."""
    with write_transaction():
        take_turn()
        held = [task for task in list_held(worker_id) if task.id in forgotten]
        return [task.id for task in held if _take_back(task, now=now)]


def retire_worker(worker_id: str) -> list[str]:
    """Remove a worker that has given all its tasks back."""
    with write_transaction():
        Worker.objects.filter(id=worker_id).delete()
    return []


def release_unfinished(worker_id: str, *, now: datetime) -> Iterable[str]:
    """Give back whatever this worker still holds, for the end of a process: no attempt, no loss is counted."""
    with write_transaction():
        take_turn()
        held = [task for task in list_held(worker_id) if _lock_held(task)]
        for task in held:
            Run.objects.filter(task_id=task.id, fence=task.fence).update(ended_at=now, outcome="released")
            event = _end_event(EventType.RUN_RELEASED, task, now=now)
            record(event)
            _mark_unknown(task, now=now)
            reconcile_run(task.id, task.fence, now=now)
            Task.objects.filter(id=task.id).update(attempt=Greatest(F("attempt") - 1, 0))
            requeue(task, event, now=now)
    return [task.id for task in held]
