"""The fleet and its skills: load, validate, look up. The only module that knows which skills there are."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic

from django.conf import settings

from agents.models import Agent, AgentDraft, AgentVersion, FleetSwitch, SkillSwitch
from agents.skills.base import Skill
from agents.skills.document_parser import DocumentParser
from agents.skills.normalizer import Normalizer
from agents.skills.source_fetch import SourceFetch
from agents.skills.test_runner import TestRunner
from agents.skills.workspace_patch import WorkspacePatch
from agents.switches.stops import Switches
from agents.types import AgentConfig, AgentStatus
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction

SKILLS: dict[str, Skill] = {
    skill.id: skill for skill in (SourceFetch(), DocumentParser(), Normalizer(), WorkspacePatch(), TestRunner())
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredAgent:
    """An agent as it is now: the configuration in force, and whether it may work."""

    config: AgentConfig
    version: int
    status: AgentStatus

    @property
    def id(self) -> str:
        return self.config.id


class AgentNotFound(LookupError):
    """There is no agent of this id."""


class SkillNotFound(LookupError):
    """There is no skill of this id."""


# --- skills ---------------------------------------------------------------------------------------------------
def list_skills() -> list[Skill]:
    """Return every skill, by id."""
    return [SKILLS[skill_id] for skill_id in sorted(SKILLS)]


def find_skill(skill_id: str) -> Skill | None:
    """Return a skill, or None."""
    return SKILLS.get(skill_id)


def get_skill(skill_id: str) -> Skill:
    """Return a skill.

    Raises: SkillNotFound.
    """
    skill = SKILLS.get(skill_id)
    if skill is None:
        raise SkillNotFound(skill_id)
    return skill


# --- agents ---------------------------------------------------------------------------------------------------
FRESH_SECONDS = 0.5  # a stop switch is seen by every process within a second

_configs: dict[tuple[str, int], AgentConfig] = {}  # a version never changes, so it is parsed once a process
_seen: "_Seen | None" = None
_looks = 0  # raised when what was seen is out of date, so that a read begun before is not kept


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The agents and the stop switches, as they were at one moment."""

    agents: dict[str, RegisteredAgent]
    skills: dict[str, SkillSwitch]  # that a person ever quarantined
    fleet: FleetSwitch | None
    read_at: float  # monotonic


def find_agent(agent_id: str) -> RegisteredAgent | None:
    """Return an agent as it was at most half a second ago, or None."""
    return _look().agents.get(agent_id)


def _look() -> _Seen:
    global _seen  # noqa: PLW0603
    seen, looks = _seen, _looks
    if seen is None or monotonic() - seen.read_at >= FRESH_SECONDS:
        seen = _read_fleet()
        if looks == _looks:
            _seen = seen
    return seen


def _read_fleet() -> _Seen:
    read_at = monotonic()
    rows = Agent.objects.order_by("id").values_list("id", "current_version", "status")
    return _Seen(
        agents={row[0]: _register(*row) for row in rows},
        skills={switch.skill_id: switch for switch in SkillSwitch.objects.all()},
        fleet=FleetSwitch.objects.first(),
        read_at=read_at,
    )


def get_agent(agent_id: str) -> RegisteredAgent:
    """Return an agent as it is now.

    Raises: AgentNotFound.
    """
    agent = find_agent(agent_id)
    if agent is None:
        raise AgentNotFound(agent_id)
    return agent


def list_agents() -> list[RegisteredAgent]:
    """Return every agent, by id."""
    return list(_look().agents.values())


def paused_agents() -> list[str]:
    """Return the ids of the agents whose tasks wait."""
    return [agent.id for agent in list_agents() if agent.status == AgentStatus.PAUSED]


def workflow_agents() -> frozenset[str]:
    """Return the ids of the agents whose own runs are workflows."""
    return frozenset(agent.id for agent in list_agents() if agent.config.is_workflow)


def _register(agent_id: str, version: int, status: str) -> RegisteredAgent:
    return RegisteredAgent(config=get_config(agent_id, version), version=version, status=AgentStatus(status))


def get_config(agent_id: str, version: int) -> AgentConfig:
    """Return one version of an agent's configuration.

    Raises: AgentNotFound.
    """
    config = _configs.get((agent_id, version))
    if config is None:
        row = AgentVersion.objects.filter(agent_id=agent_id, version=version).values_list("config", flat=True).first()
        if row is None:
            raise AgentNotFound(f"{agent_id} version {version}")
        config = _configs[agent_id, version] = AgentConfig.model_validate(row)
    return config


def find_config(agent_id: str, version: int, *, draft_id: str = "") -> AgentConfig | None:
    """Return the configuration that a task runs with: its draft's, else the version it started with; or None."""
    if draft_id:
        row = AgentDraft.objects.filter(id=draft_id, agent_id=agent_id).values_list("config", flat=True).first()
        return None if row is None else AgentConfig.model_validate(row)
    try:
        return get_config(agent_id, version)
    except AgentNotFound:
        return None


def forget_fleet() -> None:
    """Make the next look-up read the store, whole versions too: after a change in this process, and for tests."""
    look_again()
    _configs.clear()


def look_again() -> None:
    """Make the next look-up read the store: after a switch was turned in this process."""
    global _seen, _looks  # noqa: PLW0603
    _looks += 1
    _seen = None


# --- stop switches --------------------------------------------------------------------------------------------
def status_of(agent_id: str) -> AgentStatus:
    """Return whether an agent may work now: its own status, unless the whole fleet is stopped."""
    agent = find_agent(agent_id)
    if agent is None:
        return AgentStatus.UNKNOWN
    return AgentStatus.STOPPED if is_stopped() else agent.status


def is_stopped() -> bool:
    """Say whether the whole fleet is stopped."""
    fleet = _look().fleet
    return fleet is not None and fleet.stopped


def find_fleet_switch() -> FleetSwitch | None:
    """Return who stopped or resumed the fleet last, when and why; None if nobody ever did."""
    return _look().fleet


def is_quarantined(skill_id: str) -> bool:
    """Say whether a skill is quarantined."""
    switch = find_skill_switch(skill_id)
    return switch is not None and switch.quarantined


def find_skill_switch(skill_id: str) -> SkillSwitch | None:
    """Return who quarantined or released a skill last, when and why; None if nobody ever did."""
    return _look().skills.get(skill_id)


def read_switches() -> Switches:
    """Return all stop switches as they are in the store now."""
    look_again()
    seen = _look()
    return Switches(
        is_stopped=seen.fleet is not None and seen.fleet.stopped,
        agents={agent.id: agent.status for agent in seen.agents.values()},
        quarantined=frozenset(skill_id for skill_id, switch in seen.skills.items() if switch.quarantined),
    )


# --- what the queue asks of an agent; an agent that is gone has one slot ----------------------------------------
def slots_of(agent_id: str) -> int:
    """Return how many tasks the agent may run at once."""
    agent = find_agent(agent_id)
    return agent.config.concurrent if agent else 1


def version_of(agent_id: str) -> int:
    """Return the version in force, or 0."""
    agent = find_agent(agent_id)
    return agent.version if agent else 0


# --- seed -----------------------------------------------------------------------------------------------------
def read_fleet(folder: Path) -> Iterable[AgentConfig]:
    """Read every agent's file.

    Raises: pydantic.ValidationError, tomllib.TOMLDecodeError.
    """
    for path in sorted(folder.glob("*.toml")):
        yield AgentConfig.model_validate(tomllib.loads(path.read_text()))


def seed_agents(*, now: datetime) -> list[str]:
    """Publish version 1 of every agent of the files that the store does not know, and return their ids."""
    known = set(Agent.objects.values_list("id", flat=True))
    missing = [config for config in read_fleet(settings.FLEET_DIR) if config.id not in known]
    with write_transaction():
        for config in missing:
            _publish_first(config, now=now)
    forget_fleet()
    return [config.id for config in missing]


def _publish_first(config: AgentConfig, *, now: datetime) -> None:
    reason = "first start: read from the fleet's files"
    agent = Agent.objects.create(id=config.id, status=AgentStatus.ENABLED, current_version=1)
    document = config.model_dump(mode="json", by_alias=True)
    AgentVersion.objects.create(agent=agent, version=1, config=document, author="system", reason=reason, created_at=now)
    body = {"version": 1, "reason": reason}
    record(Event(type=EventType.AGENT_PUBLISHED, at=now, actor="system", agent_id=config.id, body=body))
