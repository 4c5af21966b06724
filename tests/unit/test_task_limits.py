"""What a task has used of its limits: of an own run since its last retry, of a skill task only time and attempts."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from agents.models import Run, Step, Task
from agents.registry import read_fleet
from agents.task_limits import Limit, list_limits

NOW = datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
CONFIG = next(config for config in read_fleet(settings.FLEET_DIR) if config.id == "summarization-agent")


def limits_of(task: Task, *, kinds: list[tuple[str, int]]) -> dict[str, Limit]:
    steps = [Step(kind=kind, fence=fence) for kind, fence in kinds]
    runs = [Run(started_at=NOW - timedelta(seconds=100), ended_at=NOW - timedelta(seconds=90)), run_of(30)]
    return {limit.label: limit for limit in list_limits(task, CONFIG, steps=steps, runs=runs, now=NOW)}


def run_of(seconds: int, **columns: Any) -> Run:
    return Run(started_at=NOW - timedelta(seconds=seconds), **columns)


def test_an_own_run_counts_from_its_last_retry() -> None:
    task = Task(skill_id="", attempt=1, cost_micro=0, retried_fence=1)
    found = limits_of(task, kinds=[("model", 1), ("model", 2), ("skill", 2), ("skill", 3)])
    assert (found["Turns"].used, found["Turns"].most) == (1, CONFIG.limits.max_steps)
    assert (found["Skill calls"].used, found["Skill calls"].most) == (2, CONFIG.limits.max_calls)
    assert (found["Time of the run"].used, found["Time of the run"].most) == (30, CONFIG.timeout_seconds)
    assert (found["Attempts"].used, found["Attempts"].most) == (1, 1 + CONFIG.retries)


def test_a_skill_task_has_no_turns_and_no_cost() -> None:
    assert set(limits_of(Task(skill_id="normalizer", attempt=1), kinds=[])) == {"Time of the run", "Attempts"}


def test_a_limit_that_is_near_is_marked_and_never_drawn_past_its_end() -> None:
    assert [Limit(label="x", used=used, most=10).is_near for used in (7, 8)] == [False, True]
    assert Limit(label="x", used=30, most=10).percent == 100
    assert Limit(label="x", used=0, most=0).percent == 0
