"""What a list of the trail is narrowed to, read from an address. PURE."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from audit.events import EventType
from audit.wire import format_at

DECISIONS: Final = ("allow", "ask", "deny")
MAX_SEQ: Final = 2**53
_MAX_DIGITS: Final = 16
NAMES: Final = ("q", "type", "decision", "agent", "skill", "task", "actor", "since", "until", "beats")
_ID: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_ACTOR: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_NOT_PEOPLE: Final = frozenset({"system", "anonymous"})
_NUMBER: Final = re.compile(r"#?([0-9]{1,15})")
_KINDS: Final = frozenset(EventType)
NOUNS: Final = tuple(sorted({f"{kind.partition('.')[0]}." for kind in _KINDS}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list is narrowed to; empty means no bound. `since` ≤ at < `until`, both aware.

    A `type` that ends in "." stands for every type that begins so. `text` is an id that the event carries anywhere,
    the name of an agent, a skill or an actor, or an event's number.
    """

    text: str = ""
    task_id: str = ""
    agent_id: str = ""
    skill_id: str = ""
    actor: str = ""
    type: str = ""
    decision: str = ""
    since: datetime | None = None
    until: datetime | None = None
    agents: tuple[str, ...] | None = None  # whose events alone are to be seen, whatever else is asked for
    beats: bool = True  # the sequencer's signs of life too, which a quiet night leaves thousands of

    def equalities(self) -> list[tuple[str, str]]:
        """Return the fields that must equal a value, the most selective first."""
        wanted = (
            ("taskId", self.task_id), ("actor", self.actor), ("agentId", self.agent_id),
            ("type", "" if self.is_noun else self.type), ("decision", self.decision), ("skillId", self.skill_id),
        )  # fmt: skip
        return [(name, value) for name, value in wanted if value]

    @property
    def is_noun(self) -> bool:
        """Tell whether `type` stands for several."""
        return self.type.endswith(".")

    @property
    def types(self) -> list[str]:
        """The types that `type` stands for."""
        return sorted(kind.value for kind in _KINDS if kind.startswith(self.type)) if self.is_noun else [self.type]

    @property
    def is_sole(self) -> bool:
        """Tell whether at most one thing is wanted, and it is not a time: then an index finds it without sifting."""
        return len(self._set()) <= 1 and not (self.since or self.until) and self.beats

    @property
    def seq(self) -> int | None:
        """The number that `text` is, if it is one."""
        number = _NUMBER.fullmatch(self.text)
        return int(number[1]) if number else None

    def __bool__(self) -> bool:
        return bool(self._set())

    def _set(self) -> list[str]:
        return [field.name for field in fields(self) if field.name != "beats" and getattr(self, field.name)]

    def match(self, document: Mapping[str, Any]) -> bool:
        """Tell whether a document passes all of them but `text`, which the search itself looks for."""
        if any(document.get(name) != value for name, value in self.equalities()):
            return False
        if self.agents is not None and document.get("agentId") not in self.agents:
            return False
        if self.is_noun and not str(document.get("type")).startswith(self.type):
            return False
        if not self.beats and document.get("type") == EventType.SEQUENCER_BEAT:
            return False
        at = str(document.get("at"))
        if self.since and at < format_at(self.since):
            return False
        return not (self.until and at >= format_at(self.until))

    def describe(self) -> dict[str, str]:
        """Return what is set, under the names that addresses use."""
        values = (self.text, self.type, self.decision, self.agent_id, self.skill_id, self.task_id, self.actor)
        times = [format_at(at) if at else "" for at in (self.since, self.until)]
        beats = "1" if self.beats and not (self.text or self.type) else ""
        return {name: value for name, value in zip(NAMES, (*values, *times, beats), strict=True) if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a list's address asks for; `problems` names what could not be understood and was left out."""

    filters: Filters
    values: dict[str, str]
    problems: list[str]


def read_filters(query: Mapping[str, str]) -> Asked:
    """Return the filters of an address; what is malformed is left out and named."""
    values = {name: query.get(name, "").strip() for name in NAMES}
    problems = {name: problem for name, value in values.items() if value and (problem := _find_problem(name, value))}
    sound = {name: "" if name in problems else value for name, value in values.items()}
    filters = Filters(
        text=sound["q"],
        task_id=sound["task"],
        agent_id=sound["agent"],
        skill_id=sound["skill"],
        actor=name_actor(sound["actor"]),
        type=sound["type"],
        decision=sound["decision"],
        since=read_time(sound["since"]),
        until=read_time(sound["until"]),
        beats=bool(sound["type"] or sound["q"] or sound["beats"]),
    )
    return Asked(filters=filters, values=values, problems=list(problems.values()))


def name_actor(text: str) -> str:
    """Return who acted as events write it: a bare name is a person's."""
    return text if not text or ":" in text or text in _NOT_PEOPLE else f"user:{text}"


def _find_problem(name: str, value: str) -> str:
    """Say what is wrong with one value, nothing if it is sound."""
    shown = f"“{value[:40]}”"
    if name in {"task", "agent", "skill"}:
        return "" if _ID.fullmatch(value) else f"{name} {shown} is not an id"
    if name in {"q", "actor"}:
        text = name_actor(value) if name == "actor" else value  # so that it is read back from where it was kept
        return "" if _ACTOR.fullmatch(text) else f"{shown} is no text to look for"
    if name in {"since", "until"}:
        return "" if read_time(value) else f"{name} {shown} is not a time"
    if name == "beats":
        return "" if value == "1" else f"beats {shown} is not 1"
    if name == "type":
        return "" if value in _KINDS or value in NOUNS else f"there is no kind {shown}"
    return "" if value in DECISIONS else f"there is no decision {shown}"


def read_time(text: str) -> datetime | None:
    """Return the time of an ISO 8601 text, UTC if it names no zone; None if it is none, or far from every event's."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) if 1971 <= at.year <= 9000 else None


def read_seq(text: str | None) -> int | None:
    """Return an event's number, None for what is none."""
    if not text or len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if int(text) <= MAX_SEQ else None
