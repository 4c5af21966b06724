"""What the system monitor is handed are the tables' own figures, bounded; other agents are handed nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents import monitoring
from agents.models import Agent
from agents.monitoring import build_context, read_fleet_health
from agents.prompts import build_task
from agents.registry import forget_fleet, get_agent
from tests.integration.console_cast import FETCHER, PATCHER, make_task, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def make_tasks(agent_id: str, *, succeeded: int = 0, failed: int = 0, **columns: Any) -> None:
    for state, count in (("succeeded", succeeded), ("failed", failed)):
        for _ in range(count):
            make_task(state=state, agent_id=agent_id, **columns)


def health_of(agent_id: str) -> Any:
    return read_fleet_health(None)["agentHealth"][agent_id]


@pytest.mark.parametrize(
    ("succeeded", "failed", "status", "rate"),
    [
        (0, 0, "idle", 0.0),
        (20, 0, "healthy", 0.0),
        (20, 1, "healthy", 0.0476),
        (19, 1, "degraded", 0.05),
        (3, 1, "failing", 0.25),
        (0, 2, "failing", 1.0),
    ],
)
def test_status_and_rate_follow_from_the_tasks_that_ended(succeeded, failed, status, rate) -> None:
    make_tasks(FETCHER, succeeded=succeeded, failed=failed)
    assert health_of(FETCHER) == {"status": status, "tasksCompleted": succeeded, "errorRate": rate}


def test_only_the_last_day_counts_and_only_what_ended() -> None:
    make_tasks(FETCHER, succeeded=1)
    make_tasks(FETCHER, failed=3, age=timedelta(hours=25))
    for state in ("running", "queued", "cancelled", "awaiting_approval"):
        make_task(state=state)
    assert health_of(FETCHER) == {"status": "healthy", "tasksCompleted": 1, "errorRate": 0.0}
    late = read_fleet_health(None, now=timezone.now() + timedelta(hours=24))
    assert late["agentHealth"][FETCHER]["status"] == "idle"


def test_the_queue_and_what_waits_of_each_agent_are_told() -> None:
    make_task(state="queued")
    make_task(state="queued", agent_id=PATCHER)
    make_task(state="awaiting_approval", agent_id=PATCHER)
    found = read_fleet_health([PATCHER])
    assert found["queue"] == {"queued": 2, "running": 0, "awaiting_approval": 1}
    assert found["agents"] == {
        PATCHER: {"agentStatus": "enabled", "failed": 0, "queued": 1, "running": 0, "awaiting_approval": 1}
    }


def test_a_paused_agent_is_told_as_such() -> None:
    Agent.objects.filter(id=PATCHER).update(status="paused")
    forget_fleet()
    assert read_fleet_health([PATCHER])["agents"][PATCHER]["agentStatus"] == "paused"


def test_it_tells_of_the_agents_that_were_asked_for_or_of_all() -> None:
    assert len(read_fleet_health(None)["agentHealth"]) == 11
    assert list(read_fleet_health([PATCHER, "nobody"])["agentHealth"]) == [PATCHER]
    assert read_fleet_health([])["agentHealth"] == {}


def test_counting_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "COUNTED_UP_TO", 3)
    make_tasks(FETCHER, succeeded=5)
    for _ in range(5):
        make_task(state="queued", agent_id=PATCHER)
    with CaptureQueriesContext(connection) as queries:
        found = read_fleet_health(None)
    assert found["agentHealth"][FETCHER]["tasksCompleted"] == 3
    assert found["queue"]["queued"] == 3
    assert len(queries) <= 11 + 3 + 14  # one an agent, one a state, the fleet itself and its switches
    assert all("LIMIT 3" in query["sql"] for query in queries if 'FROM "agents_task"' in query["sql"])


def test_only_the_monitor_is_handed_it() -> None:
    make_tasks(FETCHER, failed=1)
    monitor = get_agent("system-monitor-agent").config
    context = build_context(monitor, {"type": "health", "agents": [FETCHER]})
    assert context["agentHealth"] == {FETCHER: {"status": "failing", "tasksCompleted": 0, "errorRate": 1.0}}
    assert '"errorRate":1.0' in build_task(monitor, {"type": "health"}, context)
    assert build_context(get_agent(FETCHER).config, {"query": "q", "agents": [FETCHER]}) == {}
