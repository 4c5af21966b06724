"""The fleet's health in figures: what the system monitor is handed beside its input, from the real tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from agents import registry
from agents.models import Task
from agents.states import TaskState
from agents.types import AgentConfig
from audit.wire import format_at

MONITOR: Final = "system-monitor"
WINDOW: Final = timedelta(hours=24)
COUNTED_UP_TO: Final = 1_000  # of an agent's newest tasks, and of the queue
MAX_AGENTS: Final = 100
DEGRADED_FROM: Final = 0.05  # of the tasks that ended
FAILING_FROM: Final = 0.25
_OPEN: Final = (TaskState.QUEUED, TaskState.RUNNING, TaskState.AWAITING_APPROVAL)


def build_context(config: AgentConfig, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002
    """Return what an agent is handed beside its input: the fleet's counters for the monitor, nothing for others."""
    return read_fleet_health(input.get("agents")) if config.task_type == MONITOR else {}


def read_fleet_health(agent_ids: Sequence[str] | None, *, now: datetime | None = None) -> dict[str, Any]:
    """Return the counters of the last 24 hours, of these agents or of all; an id that is no agent's is left out.

    `agentHealth` is {id: {status, tasksCompleted, errorRate}}, by an agent's newest 1,000 tasks; `agents` says what
    else is known of each; `queue` counts the tasks of the whole fleet by state, up to 1,000 each.
    """
    since = (now or timezone.now()) - WINDOW
    agents = [agent for agent in registry.list_agents() if agent_ids is None or agent.id in agent_ids][:MAX_AGENTS]
    counts = {agent.id: _count_states(agent.id, since=since) for agent in agents}
    return {
        "agentHealth": {agent_id: _describe(states) for agent_id, states in counts.items()},
        "agents": {agent.id: {"agentStatus": agent.status.value, **_count_open(counts[agent.id])} for agent in agents},
        "queue": {state.value: _count_up_to(state) for state in _OPEN},
        "bounds": {"degradedFrom": DEGRADED_FROM, "failingFrom": FAILING_FROM, "countedUpTo": COUNTED_UP_TO},
        "since": format_at(since),
    }


def _count_states(agent_id: str, *, since: datetime) -> Counter[str]:
    newest = Task.objects.filter(agent_id=agent_id, created_at__gte=since).order_by("-created_at", "-id")
    return Counter(newest.values_list("state", flat=True)[:COUNTED_UP_TO])


def _describe(states: Counter[str]) -> dict[str, Any]:
    completed, failed = states[TaskState.SUCCEEDED], states[TaskState.FAILED]
    ended = completed + failed
    rate = failed / ended if ended else 0.0
    return {"status": _name_status(rate, ended), "tasksCompleted": completed, "errorRate": round(rate, 4)}


def _name_status(rate: float, ended: int) -> str:
    if not ended:
        return "idle"
    if rate >= FAILING_FROM:
        return "failing"
    return "degraded" if rate >= DEGRADED_FROM else "healthy"


def _count_open(states: Counter[str]) -> dict[str, int]:
    return {state.value: states[state] for state in (TaskState.FAILED, *_OPEN)}


def _count_up_to(state: TaskState) -> int:
    return len(Task.objects.filter(state=state).values_list("id")[:COUNTED_UP_TO])
