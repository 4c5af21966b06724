"""What the API and the console read about tasks."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Length

from agents.exceptions import TaskNotFound
from agents.listing.filters import TaskFilters
from agents.models import Artifact, IdTail, Run, Step, StepState, Task
from agents.outbound.receivers import show_receiver
from audit.ids import span_of
from audit.wire import format_at

MAX_PAGE: Final = 1_000
MAX_PAGE_CHARACTERS: Final = 8_000_000  # of inputs and results in one page; a page has one task at least
LOOKED_AT: Final = 5_000  # of the newest steps, for the failures of one skill
TAIL: Final = 8  # characters of an id that lists show
EVERYTHING: Final = TaskFilters()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_DIGITS: Final = 16  # of the microseconds since 1970, until the year 2286
_NEWEST: Final = (F("created_at").desc(), F("id").desc())

Cursor = tuple[datetime, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Tasks, newest first; `next` is the cursor of the older ones, None at the end."""

    results: list[Task]
    next: str | None


# --- tasks ----------------------------------------------------------------------------------------------------
def find_task(task_id: str) -> Task | None:
    """Return a task, or None."""
    return Task.objects.filter(id=task_id).first()


def get_task(task_id: str) -> Task:
    """Return a task.

    Raises: TaskNotFound.
    """
    task = find_task(task_id)
    if task is None:
        raise TaskNotFound(task_id)
    return task


def list_tasks(
    filters: TaskFilters = EVERYTHING, *, before: Cursor | None = None, limit: int = 50, results: bool = True
) -> Page:
    """Return at most `limit` tasks older than `before`, newest first; fewer when their contents are large.

    Without `results`, what they came to is neither read nor weighed.
    """
    limit = min(limit, MAX_PAGE)
    rows = filter_tasks(filters, before=before)
    size = Length("input") + Coalesce(Length("result"), 0) if results else Length("input")
    sizes = list(rows.annotate(size=size).values_list("id", "size")[: limit + 1])
    ids = _cut(sizes[:limit])
    found = Task.objects.filter(id__in=ids).order_by(*_NEWEST)
    tasks = list(found if results else found.defer("result"))
    more = len(sizes) > len(ids)
    return Page(results=tasks, next=write_cursor(tasks[-1]) if more and tasks else None)


def filter_tasks(filters: TaskFilters, *, before: Cursor | None = None) -> QuerySet[Task]:
    """Return the tasks that the filters let through and that are older than `before`, newest first."""
    wanted = filters.equalities()
    rows = Task.objects.none() if filters.is_contradictory else Task.objects.filter(**wanted)
    if "error_code" in wanted:
        rows = rows.exclude(error_code="")  # says nothing new but to SQLite: it is the condition of the index
    if filters.reach is not None:
        rows = rows.filter(agent_id__in=filters.reach)
    if filters.task:
        rows = rows.alias(tail=IdTail("id")).filter(_names(filters.task))
    if filters.since:
        rows = rows.filter(created_at__gte=filters.since)
    if filters.until:
        rows = rows.filter(created_at__lt=filters.until)
    if before is not None:
        at, task_id = before
        rows = rows.filter(Q(created_at__lt=at) | Q(id__lt=task_id), created_at__lte=at)
    return rows.order_by(*_NEWEST)


def _names(text: str) -> Q:
    return Q(tail=text) if len(text) == TAIL else Q(id=text)


def _cut(sizes: list[tuple[str, int]]) -> list[str]:
    """Return the ids of the first tasks, as many as their contents leave room for."""
    wanted: list[str] = []
    total = 0
    for task_id, size in sizes:
        total += size
        if wanted and total > MAX_PAGE_CHARACTERS:
            break
        wanted.append(task_id)
    return wanted


def write_cursor(task: Task) -> str:
    """Return the cursor of what is older than `task`."""
    micros = (task.created_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(f"{micros}:{task.id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> Cursor | None:
    """Return the place that a cursor names, None if it is none."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    micros, colon, task_id = decoded.partition(":")
    if not (colon and micros.isdigit() and len(micros) <= _MAX_DIGITS and task_id.isalnum() and len(task_id) <= 64):
        return None
    return _EPOCH + int(micros) * _MICROSECOND, task_id


def find_tasks_by_id(part: str, *, limit: int) -> list[Task]:
    """Return tasks whose id begins with `part`, or ends with it if it is the eight characters that lists show.

    Without input and result. Nothing for what is no part of an id.
    """
    try:
        span = span_of(part)
    except ValueError:
        return []
    ids = list(Task.objects.filter(id__range=span).order_by("-id").values_list("id", flat=True)[:limit])
    if len(part) == TAIL:
        ids += Task.objects.alias(tail=IdTail("id")).filter(tail=part).values_list("id", flat=True)[:limit]
    return list(Task.objects.filter(id__in=ids).defer("input", "result").order_by("-id")[:limit])


# --- what belongs to a task -----------------------------------------------------------------------------------
def list_runs(task_id: str) -> list[Run]:
    """Return the runs of a task, in order."""
    return list(Run.objects.filter(task_id=task_id).order_by("fence"))


def list_steps(task_id: str) -> list[Step]:
    """Return the steps of a task, in order."""
    return list(Step.objects.filter(task_id=task_id).order_by("fence", "ordinal"))


def list_last_steps(task_id: str, *, limit: int) -> list[Step]:
    """Return the last steps of a task, in order, without what they brought."""
    rows = Step.objects.filter(task_id=task_id).defer("output", "usage").order_by("-fence", "-ordinal")
    return list(reversed(rows[:limit]))


def list_failed_calls(skill_id: str, *, limit: int) -> list[Step]:
    """Return the newest calls of a skill that failed, were refused or are of unknown outcome, with their tasks.

    Only the newest 5,000 steps of the fleet are looked at; a step's id begins with its time.
    """
    newest = Step.objects.order_by("-id").values("id")[:LOOKED_AT]
    bad = (StepState.FAILED, StepState.REFUSED, StepState.UNKNOWN)
    rows = Step.objects.filter(id__in=newest, kind="skill", skill_id=skill_id, state__in=bad).order_by("-id")
    return list(rows.select_related("task").defer("output", "task__input", "task__result")[:limit])


def list_artifacts(task_id: str) -> list[Artifact]:
    """Return the files of a task, by name."""
    return list(Artifact.objects.filter(task_id=task_id).order_by("name"))


def find_artifact(task_id: str, name: str) -> Artifact | None:
    """Return one file of a task, or None."""
    return Artifact.objects.select_related("task").filter(task_id=task_id, name=name).first()


# --- wire -----------------------------------------------------------------------------------------------------
def task_to_wire(task: Task) -> dict[str, Any]:
    """Return a task as the API shows it; what is empty is null."""
    return {
        "taskId": task.id,
        "status": task.state,
        "agentId": task.agent_id,
        "skillId": task.skill_id or None,
        "input": task.input,
        "result": task.result,
        "error": _error_to_wire(task),
        "attempt": task.attempt,
        "priority": task.priority,
        "runAt": _time_to_wire(task.run_at),
        "createdAt": format_at(task.created_at),
        "startedAt": _time_to_wire(task.started_at),
        "endedAt": _time_to_wire(task.ended_at),
        "parentTaskId": task.parent_task_id or None,
        "traceId": task.trace_id,
        "costMicro": task.cost_micro,
        "callbackUrl": show_receiver(task.callback_url) or None,
    }


def _error_to_wire(task: Task) -> dict[str, str | None] | None:
    if not task.error_code:
        return None
    return {"code": task.error_code, "reason": task.error_reason or None, "message": task.error_message}


def _time_to_wire(at: datetime | None) -> str | None:
    return None if at is None else format_at(at)
