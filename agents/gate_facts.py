"""What the gate is told of the fleet: who there is, what a call would touch, how tasks ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from pydantic import ValidationError

from agents import registry
from agents.models import Task
from agents.skills.base import Skill, SkillRefused, dump
from toolgate.fleet import AgentFacts, Described, SkillFacts, TaskFacts
from toolgate.types import Action, Principal, Reason, Request, Resource

MAX_FLAWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A skill's arguments, validated: exactly what would run, what that touches, and whether it may be repeated."""

    arguments: dict[str, Any]
    resource: Resource = field(default_factory=Resource)
    idempotent: bool = True
    refusal: tuple[Reason, str] | None = None  # why the gate cannot even judge it


def read_arguments(skill: Skill | None, arguments: Mapping[str, Any]) -> Reading:
    """Return `arguments` as `skill` takes them; those of an unknown skill touch nothing."""
    if skill is None:
        return Reading(arguments=dict(arguments))
    try:
        model = skill.input_model.model_validate(dict(arguments))
    except ValidationError as error:
        return Reading(arguments=dict(arguments), refusal=(Reason.INPUT_INVALID, _describe_flaws(error)))
    idempotent = skill.is_idempotent(model)
    try:
        resource = skill.resource(model, settings.WORKSPACE_ROOT)
    except SkillRefused as error:
        refusal = Reason(error.code), error.message
        return Reading(arguments=dump(model), idempotent=idempotent, refusal=refusal)
    return Reading(arguments=dump(model), resource=resource, idempotent=idempotent)


def describe_action(skill_id: str) -> Action:
    """Return the skill as it is now, as the gate judges it."""
    skill = registry.find_skill(skill_id)
    version, quarantined = skill.version if skill else "", registry.is_quarantined(skill_id)
    return Action(skill_id=skill_id, version=version, known=skill is not None, quarantined=quarantined)


def _describe_flaws(error: ValidationError) -> str:
    flaws = [
        f"{'.'.join(map(str, flaw['loc'])) or 'input'}: {flaw['msg'].removeprefix('Value error, ')}"
        for flaw in error.errors(include_url=False)
    ]
    more = f" and {len(flaws) - MAX_FLAWS} more" if len(flaws) > MAX_FLAWS else ""
    return f"the input is not as the skill wants it: {'; '.join(flaws[:MAX_FLAWS])}{more}"


class RegisteredFleet:
    """The fleet and the skills of the registry, as `toolgate.fleet` asks for them."""

    def list_agents(self) -> tuple[AgentFacts, ...]:
        """Return every agent, by id."""
        return tuple(
            AgentFacts(id=agent.id, name=agent.config.display_name, status=agent.status.value)
            for agent in registry.list_agents()
        )

    def list_skills(self) -> tuple[SkillFacts, ...]:
        """Return every skill, by id."""
        return tuple(_describe_skill(skill) for skill in registry.list_skills())

    def describe_call(self, agent_id: str, skill_id: str, arguments: Mapping[str, Any], *, tainted: bool) -> Described:
        """Return what a call would touch; it is not made, and unknown ids are described as unknown."""
        agent = registry.find_agent(agent_id)
        reading = read_arguments(registry.find_skill(skill_id), arguments)
        principal = Principal(
            agent_id=agent_id, version=agent.version if agent else 0, status=registry.status_of(agent_id)
        )
        request = Request(
            principal=principal, action=describe_action(skill_id), resource=reading.resource, tainted=tainted
        )
        return Described(request=request, arguments=reading.arguments, refusal=reading.refusal)

    def find_tasks(self, task_ids: Iterable[str]) -> dict[str, TaskFacts]:
        """Return what is known of these tasks, by id."""
        rows = Task.objects.filter(id__in=list(task_ids)).values_list("id", "state", "cost_micro")
        return {row[0]: TaskFacts(id=row[0], state=row[1], cost_micro=row[2]) for row in rows}


def _describe_skill(skill: Skill) -> SkillFacts:
    measures: tuple[str, ...] = getattr(skill, "measures", ())
    return SkillFacts(
        id=skill.id,
        summary=skill.summary,
        capabilities=frozenset(capability.value for capability in skill.capabilities),
        arguments=(*(field.alias or name for name, field in skill.input_model.model_fields.items()), *measures),
        quarantined=describe_action(skill.id).quarantined,
    )
