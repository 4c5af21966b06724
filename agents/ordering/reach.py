"""Which agents a task is about: its own, and in a workflow those of every step. What a limited token is held to."""

from collections.abc import Iterator, Mapping
from typing import Any

from agents import registry
from agents.models import Task
from agents.ordering.admission import OrderBody


def list_agents_of(work: Task | OrderBody) -> frozenset[str]:
    """Return the ids of the agents that a task or an order makes work.

    Of a workflow everything that stands under `agentId` counts, at whatever depth: rather one too many.
    """
    own = {work.agent_id}
    if not work.skill_id and work.agent_id in registry.workflow_agents():
        own.update(_find_agents(work.input))
    return frozenset(own)


def _find_agents(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(agent_id := value.get("agentId"), str):
            yield agent_id
        value = value.values()
    elif not isinstance(value, list):
        return
    for inner in value:
        yield from _find_agents(inner)
