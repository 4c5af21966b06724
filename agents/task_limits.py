"""How much of each of its limits a task has used: cost, turns, skill calls, time and attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from agents.models import Run, Step, Task
from agents.money.budget import to_micro_usd
from agents.types import AgentConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What was used of what there is; `unit` is "money" (micro-dollars), "time" (seconds) or empty for a count."""

    label: str
    used: int
    most: int
    unit: str = ""

    @property
    def percent(self) -> int:
        """Share that is used, in whole per cent, at most 100."""
        return min(100, 100 * self.used // self.most) if self.most else 0

    @property
    def is_near(self) -> bool:
        """Say whether little is left."""
        return self.percent >= 80


def list_limits(
    task: Task, config: AgentConfig, *, steps: Sequence[Step], runs: Sequence[Run], now: datetime
) -> list[Limit]:
    """Return a task's limits as its agent has them; those of an own run count anew when a person retries it."""
    limits = [] if task.skill_id or config.is_workflow else _list_own(task, config, steps)
    if runs and not config.is_workflow:
        seconds = ((runs[-1].ended_at or now) - runs[-1].started_at).total_seconds()
        limits.append(Limit(label="Time of the run", used=int(seconds), most=config.timeout_seconds, unit="time"))
    return [*limits, Limit(label="Attempts", used=task.attempt, most=1 + config.retries)]


def _list_own(task: Task, config: AgentConfig, steps: Sequence[Step]) -> list[Limit]:
    counted = [step.kind for step in steps if step.fence > task.retried_fence]
    most = to_micro_usd(config.limits.max_cost_gbp, settings.USD_PER_GBP.usd_per_gbp)
    return [
        Limit(label="Cost", used=task.cost_micro, most=most, unit="money"),
        Limit(label="Turns", used=counted.count("model"), most=config.limits.max_steps),
        Limit(label="Skill calls", used=counted.count("skill"), most=config.limits.max_calls),
    ]
