"""What the gate has to be told of the fleet, which it does not know: who there is, and what a call would touch.

The app above hands in one object that can say it; pages, explanations and replays ask here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from toolgate.types import Reason, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """One agent, as the pages of the gate name it."""

    id: str
    name: str  # "Market & Web Research"
    status: str  # enabled, paused, quarantined, disabled


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFacts:
    """One skill, as rules can speak of it."""

    id: str
    summary: str
    capabilities: frozenset[str]  # "network", "read_workspace", "write_workspace", "run_command"
    arguments: tuple[str, ...]  # the names of all that rules can test: its arguments, and what is measured of them
    quarantined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A call as the gate would judge it: what it touches, or why it cannot even be judged."""

    request: Request
    arguments: Mapping[str, Any]  # after defaults: exactly what would run
    refusal: tuple[Reason, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """How a task that is on record ended."""

    id: str
    state: str
    cost_micro: int  # micro-USD


class Fleet(Protocol):
    """Who there is and what they do, as of at most half a second ago."""

    def list_agents(self) -> tuple[AgentFacts, ...]:
        """Return every agent, by id."""
        ...

    def list_skills(self) -> tuple[SkillFacts, ...]:
        """Return every skill, by id."""
        ...

    def describe_call(self, agent_id: str, skill_id: str, arguments: Mapping[str, Any], *, tainted: bool) -> Described:
        """Return what a call would touch; it is not made, and unknown ids are described as unknown."""
        ...

    def find_tasks(self, task_ids: Iterable[str]) -> dict[str, TaskFacts]:
        """Return what is known of these tasks, by id."""
        ...


_fleet: Fleet | None = None


def set_fleet(fleet: Fleet) -> None:
    """Say who can tell of the fleet; called once, when the app above is ready."""
    global _fleet  # noqa: PLW0603
    _fleet = fleet


def get_fleet() -> Fleet:
    """Return who can tell of the fleet. Raises: RuntimeError before `set_fleet`."""
    if _fleet is None:
        raise RuntimeError("nobody has told the gate of the fleet: agents.apps does, when Django is set up")
    return _fleet
