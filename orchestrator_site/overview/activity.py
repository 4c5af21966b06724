"""What the fleet does: tasks by span, outcome and agent, and what the gate refused; read through indexes alone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import OuterRef, Subquery

from agents.models import Agent, Task
from agents.registry import list_agents
from agents.states import TaskState
from orchestrator_site.charts import BarChart, draw_bars, draw_spark
from orchestrator_site.overview import counting
from orchestrator_site.overview.counting import Arm, SpanCounts
from orchestrator_site.overview.windows import Span, Window, describe_change
from orchestrator_site.system.work import count_running

NEWEST: Final = 1_000  # of what failed and of what was refused, to say whose it is
KEEP_SECONDS: Final = 60.0  # a task that is retried, or waited for long, is counted anew within this
FOREVER: Final = float("inf")  # what the gate decided stays as it is
ALL: Final = "all"
_ENDED: Final = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)
_TASKS: Final = "agents_task"
_DECISIONS: Final = "toolgate_decisionrecord"
_DECIDED: Final = "id >= %s AND id < %s"
_DENY: Final = "deny"
_CREATED: Final = "created_at >= %s AND created_at < %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, by span, beside what it was before."""

    by_span: tuple[int, ...] = ()
    before: int = 0
    is_capped: bool = False

    @property
    def value(self) -> int:
        """The sum."""
        return sum(self.by_span)

    @property
    def change(self) -> tuple[str, str]:
        """How it compares with what it was before: a sign and words."""
        return describe_change(self.value, self.before)

    @property
    def spark(self) -> tuple[str, str]:
        """Line and area as path data."""
        return draw_spark(self.by_span)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentActivity:
    """What one agent did in the window."""

    by_span: tuple[int, ...] = ()
    running: int = 0
    failed: int = 0  # among the newest 1,000 failures of the fleet
    last_at: datetime | None = None  # when its newest task was submitted, in the window or before

    @property
    def spark(self) -> tuple[str, str]:
        """Line and area as path data."""
        return draw_spark(self.by_span)

    @property
    def total(self) -> int:
        """Tasks accepted in the window."""
        return sum(self.by_span)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskActivity:
    """Tasks of the window: all, by span and outcome, and by agent."""

    tasks: Figure
    outcomes: BarChart
    labels: tuple[str, ...]  # below the bars
    by_agent: dict[str, AgentActivity]

    @property
    def running(self) -> int:
        """Tasks that a worker runs now."""
        return sum(agent.running for agent in self.by_agent.values())

    @property
    def failed(self) -> int:
        """Tasks of the window that failed and were not retried."""
        return sum(bar.values[1] for bar in self.outcomes.bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Decisions of the window."""

    refused: Figure
    decided: int
    is_decided_capped: bool
    most: tuple[str, str, int] | None  # agent, skill, times; among the newest 1,000


# --- tasks ------------------------------------------------------------------------------------------------------
def _list_task_arms(span: Span) -> Iterator[Arm]:
    yield from _list_whole_arm(span)
    for state in _ENDED:
        yield _within(span, key=state, column="state", value=state.value)
    for agent in list_agents():
        yield _within(span, key=f"agent:{agent.id}", column="agent_id", value=agent.id)


def _list_whole_arm(span: Span) -> Iterator[Arm]:
    yield Arm(key=ALL, table=_TASKS, where=_CREATED, values=(span.start, span.end))


def _within(span: Span, *, key: str, column: str, value: str) -> Arm:
    return Arm(key=key, table=_TASKS, where=f"{column} = %s AND {_CREATED}", values=(value, span.start, span.end))


_task_counts: Final = SpanCounts(_list_task_arms, keep_seconds=KEEP_SECONDS)
_counts_before: Final = SpanCounts(_list_whole_arm, keep_seconds=KEEP_SECONDS)


def read_task_activity(window: Window, now: datetime) -> TaskActivity:
    """Return what the tasks accepted in the window came to."""
    spans = window.list_spans(now)
    counts = _task_counts.read(spans, now=now)
    before = sum(count[ALL] for count in _counts_before.read(window.list_spans_before(now), now=now))
    chart = draw_bars(
        [(span.start, [count[state] for state in _ENDED]) for span, count in zip(spans, counts, strict=True)],
        css=("ok", "bad", "stopped"),
        words=("succeeded", "failed", "cancelled"),
        name=window.name,
    )
    is_capped = any(count[ALL] >= counting.MAX_ROWS for count in counts)
    return TaskActivity(
        tasks=Figure(by_span=tuple(count[ALL] for count in counts), before=before, is_capped=is_capped),
        outcomes=chart,
        labels=tuple(window.label(span.start) for span in spans),
        by_agent=_read_agents(counts, since=spans[0].start),
    )


def _read_agents(counts: Sequence[Counter[str]], *, since: datetime) -> dict[str, AgentActivity]:
    failed, running, last = _count_failed(since), count_running(), _find_last()
    return {
        agent.id: AgentActivity(
            by_span=tuple(count[f"agent:{agent.id}"] for count in counts),
            running=running[agent.id],
            failed=failed[agent.id],
            last_at=last.get(agent.id),
        )
        for agent in list_agents()
    }


def _count_failed(since: datetime) -> Counter[str]:
    newest = f"""
        SELECT agent_id FROM {_TASKS} WHERE state = %s AND created_at >= %s
        ORDER BY created_at DESC, id DESC LIMIT {NEWEST}
    """  # noqa: S608  (names of ours)
    grouped = f"SELECT agent_id, COUNT(*) FROM ({newest}) AS newest GROUP BY agent_id"  # noqa: S608
    return Counter(dict(counting.ask(grouped, [TaskState.FAILED.value, since])))


def _find_last() -> dict[str, datetime]:
    newest = Task.objects.filter(agent_id=OuterRef("id")).order_by("-created_at", "-id").values("created_at")[:1]
    return dict(Agent.objects.annotate(last=Subquery(newest)).values_list("id", "last"))


# --- the gate ---------------------------------------------------------------------------------------------------
def _first_id(at: datetime) -> str:
    """Return the least id that a decision of `at` can have: ids begin with their time."""
    return f"{int(at.timestamp() * 1000):012x}"


def _list_decision_arms(span: Span) -> Iterator[Arm]:
    bounds = (_first_id(span.start), _first_id(span.end))
    yield Arm(key=ALL, table=_DECISIONS, where=_DECIDED, values=bounds)
    yield Arm(key=_DENY, table=_DECISIONS, where=f"effect = '{_DENY}' AND {_DECIDED}", values=bounds)


_decision_counts: Final = SpanCounts(_list_decision_arms, keep_seconds=FOREVER)


def read_refusals(window: Window, now: datetime) -> Refusals:
    """Return what the gate refused in the window, of all that it decided."""
    spans = window.list_spans(now)
    counts = _decision_counts.read(spans, now=now)
    refused = tuple(count[_DENY] for count in counts)
    return Refusals(
        refused=Figure(by_span=refused, is_capped=max(refused) >= counting.MAX_ROWS),
        decided=sum(count[ALL] for count in counts),
        is_decided_capped=any(count[ALL] >= counting.MAX_ROWS for count in counts),
        most=_find_most(spans[0].start) if any(refused) else None,
    )


def _find_most(since: datetime) -> tuple[str, str, int] | None:
    newest = f"""
        SELECT agent_id, skill_id FROM {_DECISIONS} WHERE effect = '{_DENY}' AND id >= %s
        ORDER BY id DESC LIMIT {NEWEST}
    """  # noqa: S608  (names of ours)
    grouped = f"SELECT agent_id, skill_id, COUNT(*) FROM ({newest}) AS newest GROUP BY agent_id, skill_id"  # noqa: S608
    rows = counting.ask(grouped, [_first_id(since)])
    return max(rows, key=lambda row: row[2], default=None)


def forget_counts() -> None:
    """Keep no counts: for tests."""
    _task_counts.forget()
    _counts_before.forget()
    _decision_counts.forget()
