"""Who runs next: the due task that comes first and whose agent has a free slot, taken by one conditional update."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from agents import registry
from agents.models import Task
from agents.orders import WORKFLOW, Lease
from agents.queue import run_event
from audit import bodies
from audit.events import EventType
from audit.ledger import record

CLAIM_LOCK = 0x6F7263  # PostgreSQL advisory lock: claims are decided one after another
LOWEST, NORMAL, HIGH = -100, 0, 1


def claim_next(worker_id: str, *, now: datetime) -> Lease | None:
    """Take the due task that comes first, by priority and then age, whose agent has a free slot.

    The engine's message says only that there is work: taking the best task rather than the named one is what
    makes priority an order, and lets a task that waited for its agent's slot go when the slot frees.
    """
    room = _find_room()
    if room is None:
        return None
    row = _take_first(worker_id, room=room, now=now)
    if row is None:
        return None
    queued_by, *columns = row
    lease = _lease_from(columns, worker_id=worker_id, now=now)
    _open_run(lease, queued_by or lease.task_id, now=now)
    return lease


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """What may be claimed now: no priority below `least`, no task of `full`, none below zero of `nearly_full`."""

    least: int
    full: list[str]
    nearly_full: list[str]


def _find_room() -> _Room | None:
    """Return what may be claimed, or None if the fleet is stopped or busy; a parked workflow takes no slot.

    The last RESERVED_SLOTS of the fleet are for high priorities (above 0), as many before them not for low ones
    (below 0), and low work leaves one slot of its agent free: a flood of it never starves what matters more.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])
        cursor.execute("SELECT stopped, slots FROM agents_fleetswitch")  # whoever turns it waits for this lock too
        stopped, slots = cursor.fetchone() or (False, None)
        if bool(stopped) != registry.is_stopped():
            registry.look_again()  # else a run would be given back for a stop that is over
        if stopped:
            return None
        cursor.execute(
            "SELECT agent_id, COUNT(*) FROM agents_task WHERE state = 'running' AND worker_id <> %s GROUP BY agent_id",
            [WORKFLOW],
        )
        running = dict(cursor.fetchall())
    bound = min(settings.MAX_AGENTS, slots or settings.MAX_AGENTS)  # while it is resumed in stages
    free = bound - sum(running.values())
    if free <= 0:
        return None
    reserved = min(settings.RESERVED_SLOTS, (bound - 1) // 2)  # whatever is set, everyone has a slot
    least = HIGH if free <= reserved else NORMAL if free <= 2 * reserved else LOWEST
    own = {agent_id: registry.slots_of(agent_id) for agent_id in running}
    full = [agent_id for agent_id, count in running.items() if count >= own[agent_id]]
    nearly_full = [agent_id for agent_id, count in running.items() if count == own[agent_id] - 1 > 0]
    return _Room(least=least, full=full + registry.paused_agents(), nearly_full=nearly_full)


_CLAIM = """
UPDATE agents_task
SET state = 'running', worker_id = %s, fence = fence + 1, attempt = attempt + 1,
    started_at = COALESCE(started_at, %s)
WHERE id = (
    SELECT id FROM agents_task
    WHERE state = 'queued' AND (run_at IS NULL OR run_at <= %s) {without}
    ORDER BY priority DESC, created_at, id LIMIT 1 {lock}
)
RETURNING queued_by, id, fence, agent_id, agent_version, draft_id, skill_id, input, attempt, submitted_by, trace_id,
    deadline_at, parent_task_id
"""


def _take_first(worker_id: str, *, room: _Room, now: datetime) -> tuple[Any, ...] | None:
    without, parameters = "", []
    if room.least > LOWEST:
        without, parameters = "AND priority >= %s", [room.least]
    if room.full:
        without += f" AND agent_id NOT IN ({_marks(room.full)})"
    if room.nearly_full:
        without += f" AND NOT (priority < 0 AND agent_id IN ({_marks(room.nearly_full)}))"
    lock = "FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    stamp = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM.format(without=without, lock=lock),
            [worker_id, stamp, stamp, *parameters, *room.full, *room.nearly_full],
        )
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def _marks(values: list[str]) -> str:
    return ", ".join(["%s"] * len(values))


def _lease_from(row: list[Any], *, worker_id: str, now: datetime) -> Lease:
    (
        task_id, fence, agent_id, version, draft_id, skill_id, input_, attempt, submitted_by, trace_id,
        deadline, parent,
    ) = row  # fmt: skip
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
        parent_task_id=parent,
    )


def _read_time(value: Any) -> datetime | None:
    """Return a time as raw SQL gives it: PostgreSQL's is aware, SQLite's is in UTC and naive."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _open_run(lease: Lease, cause_id: str, *, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents_run (task_id, fence, worker_id, started_at, outcome) VALUES (%s, %s, %s, %s, '')",
            [lease.task_id, lease.fence, lease.worker_id, connection.ops.adapt_datetimefield_value(now)],
        )
    body = bodies.RunStarted(attempt=lease.attempt, fence=lease.fence)
    event = run_event(EventType.RUN_STARTED, lease, now=now, body=body, cause_id=cause_id)
    record(replace(event, id=lease.event_id))
