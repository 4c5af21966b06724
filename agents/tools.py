"""The skills as a model sees them: only what the gate lets this agent use, with the limits it will meet."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from agents import registry
from agents.providers.base import ToolSpec
from agents.skills.base import Skill
from toolgate.queries import Permission, list_permissions
from toolgate.types import Effect


def list_tools(agent_id: str) -> tuple[ToolSpec, ...]:
    """Return the tools that an agent is offered, by name; a rule about a skill that there is not offers nothing."""
    offered = ((registry.find_skill(permission.skill_id), permission) for permission in list_permissions(agent_id))
    return tuple(_write_tool(skill, permission) for skill, permission in offered if skill is not None)


def _write_tool(skill: Skill, permission: Permission) -> ToolSpec:
    description = " ".join([skill.summary, *_write_bounds(permission), *_write_asks(permission)])
    return ToolSpec(name=skill.id, description=description, input_schema=_input_schema(skill.id))


def _write_bounds(permission: Permission) -> list[str]:
    calls, rate = permission.calls_per_task, permission.rate_per_second
    return [
        *([f"At most {calls} {'call' if calls == 1 else 'calls'} a task."] if calls is not None else []),
        *([f"At most {rate} a second, of all tasks of this agent."] if rate is not None else []),
        *([f"Hosts: {', '.join(permission.domains)}."] if permission.domains else []),
    ]


def _write_asks(permission: Permission) -> list[str]:
    if permission.effect is not Effect.ASK:
        return []
    which = " ".join(f"{text.rstrip('.')}." for text in permission.asks)
    asked = "Some or all calls wait until a person has approved them; an answer may take hours, and may be no."
    return [f"{asked} {which}".strip()]


@cache
def _input_schema(skill_id: str) -> Mapping[str, Any]:
    return registry.get_skill(skill_id).input_model.model_json_schema(by_alias=True, mode="validation")
