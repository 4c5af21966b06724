"""The overview's figures: bounded reads over the last 24 hours, never a whole table.

Each aggregate looks at no more than the newest `MAX_ROWS` of its window, through an index; a figure that hit
that bound says so with a plus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import CharField, Count, Max, Min
from django.db.models.functions import Cast, Substr

from agents.models import Task
from agents.states import TaskState
from orchestrator_site.charts import BarChart, draw_bars, draw_spark
from toolgate.models import Approval, ApprovalState, DecisionRecord

HOURS = 24
MAX_ROWS = 10_000
_ENDED = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with the line beneath it."""

    value: int
    is_capped: bool = False
    by_hour: tuple[int, ...] = ()

    @property
    def spark(self) -> tuple[str, str]:
        """Line and area as path data."""
        return draw_spark(self.by_hour)


@dataclass(slots=True, kw_only=True)
class AgentActivity:
    """What one agent did in the window."""

    by_hour: list[int] = field(default_factory=lambda: [0] * HOURS)
    running: int = 0
    failed: int = 0
    last_at: datetime | None = None

    @property
    def spark(self) -> tuple[str, str]:
        """Line and area as path data."""
        return draw_spark(self.by_hour)

    @property
    def total(self) -> int:
        """Tasks accepted in the window."""
        return sum(self.by_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskActivity:
    """Tasks of the window: all, by hour and outcome, and by agent."""

    tasks: Figure
    outcomes: BarChart
    drawn_from: datetime  # hours before it hold tasks that the bound left out
    by_agent: dict[str, AgentActivity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Decisions of the window."""

    refused: Figure
    decided: int
    most: tuple[str, str, int] | None  # agent, skill, times


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Approvals nobody has answered."""

    count: int
    oldest_at: datetime | None
    expires_at: datetime | None


def list_hours(now: datetime) -> list[datetime]:
    """Return the starts of the 24 hours that end with the current one."""
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [this_hour - timedelta(hours=HOURS - 1 - index) for index in range(HOURS)]


def read_task_activity(now: datetime) -> TaskActivity:
    """Return what the tasks accepted in the window came to."""
    hours = list_hours(now)
    place = {_hour_key(at): index for index, at in enumerate(hours)}
    outcomes: dict[int, Counter[str]] = defaultdict(Counter)
    agents: dict[str, AgentActivity] = defaultdict(AgentActivity)
    total = 0
    for row in _group_tasks(hours[0]):
        index = place.get(row["hour"])
        if index is None:
            continue
        total += row["count"]
        outcomes[index][row["state"]] += row["count"]
        _add_to_agent(agents[row["agent_id"]], row, index)
    _add_running(agents)
    oldest = min(outcomes, default=0)  # asked before the chart, which fills the empty hours in
    chart = draw_bars(
        [(at, [outcomes[index][state] for state in _ENDED]) for index, at in enumerate(hours)],
        css=("ok", "bad", "stopped"),
        words=("succeeded", "failed", "cancelled"),
    )
    by_hour = tuple(outcomes[index].total() for index in range(HOURS))
    figure = Figure(value=total, is_capped=total >= MAX_ROWS, by_hour=by_hour)
    drawn_from = hours[oldest] if figure.is_capped else hours[0]
    return TaskActivity(tasks=figure, outcomes=chart, drawn_from=drawn_from, by_agent=dict(agents))


def _group_tasks(since: datetime) -> Iterable[Any]:
    newest = Task.objects.filter(created_at__gte=since).order_by("-created_at", "-id").values("id")[:MAX_ROWS]
    return (
        Task.objects.filter(id__in=newest)
        .annotate(hour=Substr(Cast("created_at", CharField()), 1, 13))
        .values("hour", "agent_id", "state")
        .annotate(count=Count("id"), last=Max("created_at"))
        .order_by()
    )


def _add_to_agent(agent: AgentActivity, row: dict[str, Any], index: int) -> None:
    agent.by_hour[index] += row["count"]
    agent.failed += row["count"] if row["state"] == TaskState.FAILED else 0
    agent.last_at = max(filter(None, (agent.last_at, row["last"])))


def _add_running(agents: dict[str, AgentActivity]) -> None:
    running = Task.objects.filter(state=TaskState.RUNNING).values("agent_id").annotate(count=Count("id")).order_by()
    for row in running[:MAX_ROWS]:
        agents[row["agent_id"]].running = row["count"]


def read_refusals(now: datetime) -> Refusals:
    """Return what the gate refused in the window; ids begin with their time, so the key finds them."""
    hours = list_hours(now)
    place = {_hour_key(at): index for index, at in enumerate(hours)}
    by_hour, pairs, decided = [0] * HOURS, Counter[tuple[str, str]](), 0
    for row in _group_decisions(hours[0]):
        decided += row["count"]
        if row["effect"] == "deny" and row["hour"] in place:
            by_hour[place[row["hour"]]] += row["count"]
            pairs[row["agent_id"], row["skill_id"]] += row["count"]
    most = [(agent, skill, times) for (agent, skill), times in pairs.most_common(1)]
    refused = Figure(value=sum(by_hour), is_capped=decided >= MAX_ROWS, by_hour=tuple(by_hour))
    return Refusals(refused=refused, decided=decided, most=most[0] if most else None)


def _group_decisions(since: datetime) -> Iterable[Any]:
    first_id = f"{int(since.timestamp() * 1000):012x}"
    newest = DecisionRecord.objects.filter(id__gte=first_id).order_by("-id").values("id")[:MAX_ROWS]
    return (
        DecisionRecord.objects.filter(id__in=newest)
        .annotate(hour=Substr(Cast("at", CharField()), 1, 13))
        .values("hour", "agent_id", "skill_id", "effect")
        .annotate(count=Count("id"))
        .order_by()
    )


def read_waiting() -> Waiting:
    """Return how many approvals wait, the oldest question and the soonest expiry; counts to 1,000."""
    pending = Approval.objects.filter(state=ApprovalState.PENDING).order_by("expires_at").values("id")[:1000]
    row = Approval.objects.filter(id__in=pending).aggregate(
        count=Count("id"), oldest=Min("created_at"), soonest=Min("expires_at")
    )
    return Waiting(count=row["count"], oldest_at=row["oldest"], expires_at=row["soonest"])


def _hour_key(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H}"
