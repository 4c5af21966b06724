"""Look at what a bulk run would do, and start it: from then on its list of tasks is fixed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agents import queries
from agents.bulk.actions import CHANGES, Action, describe_outcome
from agents.bulk.running import tell_end, work_through
from agents.exceptions import BulkRefused
from agents.listing.filters import ID, TaskFilters
from agents.models import BulkRun, Task
from agents.states import TaskState
from audit.background import OPEN, Hold, see_through
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.models import RunState
from audit.status import require_room
from audit.transactions import write_transaction
from toolgate.texts import check_reason

MAX_TASKS: Final = 10_000  # of one run
MAX_NAMED: Final = 1_000  # named one by one
AT_ONCE: Final = 50  # done while the asker waits: half a second at most
MAX_OPEN: Final = 3  # of one person
SAMPLE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The tasks that are meant: those named, else those that the filters let through."""

    task_ids: tuple[str, ...] = ()
    filters: TaskFilters = queries.EVERYTHING

    def describe(self) -> dict[str, str]:
        """Return the filters under the names that addresses use, nothing if the tasks are named."""
        return {} if self.task_ids else self.filters.describe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The tasks of a selection that are in one state."""

    state: TaskState
    count: int
    outcome: str  # what would become of them
    is_changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do. Each count stops at 10,000; `is_cut` says that more tasks match than one run takes."""

    action: Action
    task_ids: tuple[str, ...]  # in the order of their turn, the oldest first
    kinds: tuple[Kind, ...]
    unknown: int  # named, and there is no such task
    is_cut: bool
    snapshot: str  # tasks that were submitted after it was made are not meant

    @property
    def changed(self) -> int:
        """How many would be changed."""
        return sum(kind.count for kind in self.kinds if kind.is_changed)

    def list_sample(self) -> list[Task]:
        """Return the first that would have their turn, without what they came to."""
        rows = Task.objects.defer("result").in_bulk(self.task_ids[:SAMPLE])
        return [rows[task_id] for task_id in self.task_ids[:SAMPLE] if task_id in rows]


def plan_bulk(action: Action, selection: Selection, *, snapshot: str = "") -> Plan:
    """Look at what would become of a selection; nothing is changed.

    Of filters, only the tasks that the action can change have a turn. Tasks that are named have one each, and learn
    why they are refused. `snapshot` is that of an earlier look: what came later is left out.
    """
    snapshot = snapshot or new_id()
    if selection.task_ids:
        return _plan_named(action, selection.task_ids, snapshot=snapshot)
    rows = queries.filter_tasks(selection.filters).filter(id__lte=snapshot)
    changed = list(rows.filter(state__in=CHANGES[action]).values_list("id", "state")[: MAX_TASKS + 1])
    others = rows.exclude(state__in=CHANGES[action]).values_list("state", flat=True)[:MAX_TASKS]
    turns = changed[:MAX_TASKS]
    return Plan(
        action=action,
        task_ids=tuple(task_id for task_id, _ in reversed(turns)),
        kinds=_count_kinds(action, [*(state for _, state in turns), *others]),
        unknown=0,
        is_cut=len(changed) > MAX_TASKS,
        snapshot=snapshot,
    )


def _plan_named(action: Action, task_ids: tuple[str, ...], *, snapshot: str) -> Plan:
    if len(task_ids) > MAX_NAMED:
        raise BulkRefused(f"{len(task_ids)} tasks are named, and a run takes {MAX_NAMED:,}; narrow a list by filters.")
    if not all(map(ID.fullmatch, task_ids)):
        raise BulkRefused("What was named holds something that is no task's id. Nothing was started.")
    task_ids = tuple(dict.fromkeys(task_ids))
    states = dict(Task.objects.filter(id__in=task_ids).values_list("id", "state"))
    return Plan(
        action=action,
        task_ids=tuple(sorted(task_ids)),
        kinds=_count_kinds(action, states.values()),
        unknown=len(task_ids) - len(states),
        is_cut=False,
        snapshot=snapshot,
    )


def _count_kinds(action: Action, states: Iterable[str]) -> tuple[Kind, ...]:
    counts = Counter(states)
    kinds = [
        Kind(
            state=state,
            count=counts[state],
            outcome=describe_outcome(action, state),
            is_changed=state in CHANGES[action],
        )
        for state in TaskState
        if counts[state]
    ]
    return tuple(sorted(kinds, key=lambda kind: not kind.is_changed))


def start_bulk(
    action: Action, selection: Selection, *, reason: str, asked_by: str, snapshot: str, now: datetime
) -> BulkRun:
    """Fix the list of tasks and have each its turn: a few before this returns, many by a worker.

    Raises: ReasonRequired, TextInvalid; BulkRefused if nothing would be changed, or three of theirs are under way;
    TrailBehind if the audit trail takes no task that is queued again.
    """
    reason = check_reason(reason)
    if action is Action.RETRY:
        require_room()
    plan = plan_bulk(action, selection, snapshot=snapshot)
    if not plan.task_ids:
        raise BulkRefused("No task that matches can be changed so any more. Nothing was started.")
    is_small = len(plan.task_ids) <= AT_ONCE
    run = BulkRun(
        id=new_id(),
        action=action,
        reason=reason,
        filters=selection.describe(),
        task_ids=list(plan.task_ids),
        total=len(plan.task_ids),
        state=RunState.RUNNING if is_small else RunState.WAITING,
        asked_by=asked_by,
        created_at=now,
        beat_at=now if is_small else None,  # held from the start: no worker is quicker
    )
    _open(run, named=len(selection.task_ids))
    if is_small:
        see_through(Hold(run), work_through, tell=tell_end)
    return BulkRun.objects.get(id=run.id)


def _open(run: BulkRun, *, named: int) -> None:
    theirs = BulkRun.objects.filter(asked_by=run.asked_by, state__in=OPEN)
    body = {
        "bulkId": run.id,
        "action": run.action,
        "reason": run.reason,
        "filters": run.filters,
        "tasks": run.total,
        "named": bool(named),
    }
    event = Event(type=EventType.BULK_STARTED, at=run.created_at, actor=f"user:{run.asked_by}", body=body, id=run.id)
    with write_transaction():
        if theirs.count() >= MAX_OPEN:
            raise BulkRefused(f"{MAX_OPEN} bulk runs of yours are under way; wait for one. Nothing was started.")
        run.save(force_insert=True)
        record(event)
