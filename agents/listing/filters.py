"""What a list of tasks is narrowed to, read from an address. PURE."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from agents.states import TaskState
from audit.exploring.filters import read_time
from audit.wire import format_at

DEAD: Final = "dead"  # the dead letters: what failed because its attempts were used up
DEAD_CODE: Final = "attempts_exhausted"
NAMES: Final = ("status", "agent", "skill", "error", "by", "task", "since", "until")
ID: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_PERSON: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_STATES: Final = frozenset({*(state.value for state in TaskState), DEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilters:
    """What a list is narrowed to; empty means no bound. `since` ≤ submitted < `until`, both aware."""

    status: str = ""  # a state, or DEAD
    agent: str = ""
    skill: str = ""
    error: str = ""  # the code that it failed with
    by: str = ""  # who submitted it
    task: str = ""  # its id, whole or the last eight characters that lists show
    since: datetime | None = None
    until: datetime | None = None
    parent: str = ""  # the workflow that it is a step of
    reach: frozenset[str] | None = None  # the agents that who asks is limited to, None if to none

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def equalities(self) -> dict[str, str]:
        """Return the columns that must equal a value."""
        code = self.error or (DEAD_CODE if self.status == DEAD else "")
        says_it_all = code and self.status in (DEAD, TaskState.FAILED)  # only what failed has a code
        wanted = {
            "error_code": code,
            "state": "" if says_it_all else self.status,
            "agent_id": self.agent,
            "skill_id": self.skill,
            "submitted_by": self.by,
            "parent_task_id": self.parent,
        }
        return {column: value for column, value in wanted.items() if value}

    @property
    def is_contradictory(self) -> bool:
        """Tell whether nothing can match: a dead letter has the one code."""
        return self.status == DEAD and self.error not in ("", DEAD_CODE)

    def describe(self) -> dict[str, str]:
        """Return what is set, under the names that addresses use."""
        values = {name: getattr(self, name) for name in NAMES}
        return {
            name: format_at(value) if isinstance(value, datetime) else value for name, value in values.items() if value
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a list's address asks for; `problems` names what could not be understood and was left out."""

    filters: TaskFilters
    values: dict[str, str]
    problems: list[str]


def read_filters(query: Mapping[str, str]) -> Asked:
    """Return the filters of an address; what is malformed is left out and named."""
    values = {name: query.get(name, "").strip() for name in NAMES}
    problems = {name: problem for name, value in values.items() if value and (problem := _find_problem(name, value))}
    sound = {name: "" if name in problems else value for name, value in values.items()}
    filters = TaskFilters(
        status=sound["status"],
        agent=sound["agent"],
        skill=sound["skill"],
        error=sound["error"],
        by=sound["by"].removeprefix("user:"),
        task=sound["task"],
        since=read_time(sound["since"]),
        until=read_time(sound["until"]),
    )
    return Asked(filters=filters, values=values, problems=list(problems.values()))


def _find_problem(name: str, value: str) -> str:
    """Say what is wrong with one value, nothing if it is sound."""
    shown = f"“{value[:40]}”"
    if name == "status":
        return "" if value in _STATES else f"there is no state {shown}"
    if name == "by":
        return "" if _PERSON.fullmatch(value) else f"{shown} is no name"
    if name in {"since", "until"}:
        return "" if read_time(value) else f"{name} {shown} is not a time"
    return "" if ID.fullmatch(value) else f"{name} {shown} is not an id"
