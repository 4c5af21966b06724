"""What there is to do and who does it: the queue, the workers with their leases, work in the background."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count
from django.utils import timezone

from agents import registry
from agents.leases import BEAT_SECONDS, lease_clock
from agents.models import Task, Worker
from agents.states import TaskState
from audit.background import OPEN, STALE
from audit.models import BackgroundRun

COUNTED_UP_TO: Final = 1_000
SHOWN: Final = 50
SILENT: Final = timedelta(seconds=3 * BEAT_SECONDS)


# --- the queue --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The queued tasks of one priority: due now, waiting for their rate or next attempt, and not before a time."""

    priority: int
    due: int
    again: int
    later: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """The queued tasks of one agent, beside how many it runs of how many it may."""

    agent_id: str
    queued: int
    running: int
    slots: int

    @property
    def is_full(self) -> bool:
        """Say whether its tasks wait for each other."""
        return self.running >= self.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What waits to be run; counted up to 1,000, by what would be taken first."""

    queued: int
    running: int
    asking: int  # tasks that wait for a person
    oldest_at: datetime | None  # when the oldest that is queued was submitted
    lines: list[Line]
    crowds: list[Crowd]

    @property
    def is_capped(self) -> bool:
        """Say whether more may be queued than was looked at."""
        return self.queued >= COUNTED_UP_TO


def read_queue() -> Queue:
    """Return the queue. Raises: DatabaseError."""
    queued = Task.objects.filter(state=TaskState.QUEUED)
    first = queued.order_by("-priority", "created_at", "id")
    rows = list(first.values_list("priority", "agent_id", "run_at", "fence")[:COUNTED_UP_TO])
    running = count_running()
    asking = Task.objects.filter(state=TaskState.AWAITING_APPROVAL).values_list("id")[:COUNTED_UP_TO]
    return Queue(
        queued=len(rows),
        running=sum(running.values()),
        asking=len(asking),
        oldest_at=queued.order_by("created_at", "id").values_list("created_at", flat=True).first(),
        lines=_count_lines(rows, now=timezone.now()),
        crowds=_count_crowds(Counter(row[1] for row in rows), running),
    )


def count_running() -> Counter[str]:
    """Return how many tasks each agent runs now. Raises: DatabaseError."""
    rows = Task.objects.filter(state=TaskState.RUNNING).values_list("agent_id").annotate(Count("id")).order_by()
    return Counter(dict(rows))


def _count_lines(rows: list[Any], *, now: datetime) -> list[Line]:
    counts = Counter[tuple[int, str]]()
    for priority, _, run_at, fence in rows:
        is_due = run_at is None or run_at <= now
        counts[priority, "due" if is_due else "again" if fence else "later"] += 1
    priorities = sorted({priority for priority, _ in counts}, reverse=True)
    return [Line(priority=one, **{kind: counts[one, kind] for kind in ("due", "again", "later")}) for one in priorities]


def _count_crowds(queued: Counter[str], running: Counter[str]) -> list[Crowd]:
    busy = sorted({*queued, *running}, key=lambda agent_id: (-queued[agent_id], agent_id))
    return [
        Crowd(agent_id=one, queued=queued[one], running=running[one], slots=registry.slots_of(one))
        for one in busy[:SHOWN]
    ]


# --- workers ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A worker: `state` is "living", "silent" (its beats stay away) or "dead" (its lease ran out)."""

    id: str
    state: str
    slots: int
    running: int
    started_at: datetime
    beat_at: datetime
    lease_expires_at: datetime


def read_workers() -> list[WorkerSeen]:
    """Return the workers, those first that need a look. Raises: DatabaseError."""
    rows = Task.objects.filter(state=TaskState.RUNNING).values_list("worker_id").annotate(Count("id")).order_by()
    running, now = Counter(dict(rows)), lease_clock(timezone.now())
    workers = [
        WorkerSeen(
            id=worker.id,
            state=judge_worker(worker, now=now),
            slots=worker.slots,
            running=running[worker.id],
            started_at=worker.started_at,
            beat_at=worker.beat_at,
            lease_expires_at=worker.lease_expires_at,
        )
        for worker in Worker.objects.order_by("lease_expires_at")[:SHOWN]
    ]
    return sorted(workers, key=lambda worker: (worker.state == "living", worker.id))


def judge_worker(worker: Worker, *, now: datetime) -> str:
    """Say whether a worker lives, by the clock that leases are judged by."""
    if worker.lease_expires_at <= now:
        return "dead"
    return "silent" if now - worker.beat_at > SILENT else "living"


# --- work in the background ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Work that outlasts a request, and is not done."""

    kind: str
    state: str
    asked_by: str
    created_at: datetime
    beat_at: datetime | None
    percent: int
    is_left: bool  # whoever did it is silent; the next worker takes it from its start


def read_errands() -> list[Errand]:
    """Return what waits or is under way of each kind, the oldest first. Raises: DatabaseError."""
    kinds = sorted(BackgroundRun.__subclasses__(), key=lambda kind: kind._meta.label)
    found = [_describe(run) for kind in kinds for run in _list_open(kind)]
    return sorted(found, key=lambda errand: errand.created_at)


def _list_open(kind: type[BackgroundRun]) -> list[BackgroundRun]:
    return list(kind._default_manager.filter(state__in=OPEN).order_by("created_at")[:SHOWN])


def _describe(run: BackgroundRun) -> Errand:
    kind = getattr(run, "kind", "") or str(run._meta.verbose_name)
    return Errand(
        kind=kind,
        state=run.state,
        asked_by=run.asked_by,
        created_at=run.created_at,
        beat_at=run.beat_at,
        percent=100 * run.done // run.total if run.total else 0,
        is_left=run.state == "running" and run.beat_at is not None and timezone.now() - run.beat_at > STALE,
    )
