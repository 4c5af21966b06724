"""The whole fleet as it is shipped, a worker, and both vendors played by llmock, a real server with faults to order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from django.utils import timezone
from llmock.pytest_plugin import LLMock

from agents import queue, registry
from agents.models import BudgetAccount, Reservation, Task
from agents.orders import Order
from orchestrator_site.bootstrap import copy_examples
from tests.contract.conftest import ended, until, worker
from toolgate.in_force import forget_policy
from toolgate.seed import seed_policy

__all__ = ["ended", "until", "worker"]

KEYS: Final = {"openai": "canary-openai-5f2a9c71d3", "anthropic": "canary-anthropic-0b8e4d66a9"}
MODELS: Final = {
    "cheap": {"openai": "openai:gpt-6-luna", "anthropic": "anthropic:claude-haiku-5-5"},
    "balanced": {"openai": "openai:gpt-6.1-terra", "anthropic": "anthropic:claude-sonnet-5-5"},
}
OTHER: Final = {"openai": "anthropic", "anthropic": "openai"}


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """Import the SDKs once, before any test with a short deadline makes its first call."""
    import anthropic
    import openai

    _ = openai.AsyncOpenAI.responses, anthropic.AsyncAnthropic.messages


@pytest.fixture
def fleet(transactional_db: None, settings: Any, tmp_path: Path) -> Iterator[None]:
    """Give the fleet, the rules and the workspace of a fresh installation."""
    settings.WORKSPACE_ROOT = tmp_path / "workspace"
    registry.forget_fleet()
    forget_policy()
    registry.seed_agents(now=timezone.now())
    seed_policy(now=timezone.now())
    copy_examples()
    yield
    registry.forget_fleet()
    forget_policy()


@pytest.fixture
def use(llmock: LLMock, settings: Any) -> Callable[..., LLMock]:
    """Map every tier to one vendor's models, with or without the other vendor's to take over."""

    def _use(vendor: str, *, fallback: bool = False, api: str = "responses") -> LLMock:
        settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = KEYS["openai"], llmock.base_url("openai")
        settings.ANTHROPIC_API_KEY, settings.ANTHROPIC_BASE_URL = KEYS["anthropic"], llmock.base_url("anthropic")
        settings.OPENAI_API = api
        settings.MODEL_TIERS = {tier: models[vendor] for tier, models in MODELS.items()}
        settings.MODEL_FALLBACKS = {tier: models[OTHER[vendor]] for tier, models in MODELS.items() if fallback}
        return llmock.tool_mode("off")

    return _use


@pytest.fixture
def think(fleet: None) -> Callable[..., Task]:
    """Submit an agent's own run, as olga."""

    def _think(agent_id: str, value: dict[str, Any]) -> Task:
        order = Order(agent_id=agent_id, skill_id="", input=value, submitted_by="olga")
        return queue.submit_task(order, now=timezone.now()).task

    return _think


def list_reservations(task: Task) -> list[Reservation]:
    """Return a task's reservations in their order, having seen that money and books are closed."""
    found = list(Reservation.objects.filter(task_id=task.id).order_by("opened_at", "id"))
    assert all(one.closed_at is not None for one in found)
    assert set(BudgetAccount.objects.values_list("held_micro", flat=True)) <= {0}
    assert task.cost_micro == sum(one.actual_micro or 0 for one in found)
    return found
