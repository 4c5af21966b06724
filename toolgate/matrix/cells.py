"""The grid at a glance: what the rules say of every agent and skill, one cell a pair. PURE.

A glance says what a rule without further conditions would come to, and marks where conditions can make it otherwise;
what a call with certain arguments comes to is for `toolgate.explaining`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from toolgate.fleet import AgentFacts, SkillFacts
from toolgate.glance import find_effect
from toolgate.policy import ANY, Limits, Rule, dump_rule
from toolgate.types import Effect
from toolgate.words.rules import WHOLE_WORKSPACE, describe_limits, show_bytes, show_pounds

UNSET: Final = "unset"  # the effect of a pair that no rule permits: refused by default
SOON: Final = timedelta(days=7)
MAX_LABEL: Final = 10  # characters of a column's head
GROUPS: Final = ("network", "files", "commands", "data")
_SHORT_NAMES: Final = {
    "data-extraction-agent": "extract",
    "summarization-agent": "summary",
    "normalization-agent": "normalise",
    "integration-agent": "workflow",
}
_PERIODS: Final = {1: "s", 60: "min", 3_600: "h", 86_400: "d", 604_800: "wk"}


class Change(StrEnum):
    """How the rules of a pair differ from those in force."""

    NONE = ""
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One agent and one skill: what the rules say at a glance, and which rules they are."""

    agent_id: str
    skill_id: str
    effect: str  # "allow", "ask", "deny" or "unset"
    limit: str = ""  # the tightest limit in a few characters: "20/task"
    limits: str = ""  # all of them in words
    is_conditional: bool = False  # arguments, hosts, folders, times or taint may make it otherwise
    rules: tuple[str, ...] = ()  # ids of the rules that hold now
    shadows: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # of rules whose time has not come
    expired: tuple[str, ...] = ()
    ends_at: datetime | None = None  # when the first of the rules expires, if that is soon
    change: Change = Change.NONE
    is_off: bool = False  # the filter by effect does not mean it

    @property
    def count(self) -> int:
        """How many rules it has, those included that do not decide now."""
        return len(self.rules) + len(self.shadows) + len(self.pending) + len(self.expired)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One agent as a column's head."""

    agent: AgentFacts
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One skill with a cell for each column."""

    skill: SkillFacts
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The matrix as it is shown."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]  # a capability and its skills
    changed: int  # cells that the draft changes


# --- rules of a pair --------------------------------------------------------------------------------------------
class RuleIndex:
    """The rules of a policy by agent and skill, so that a grid of them is built in one walk over the rules."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: dict[tuple[str, str], list[Rule]] = {}
        for rule in rules:
            self._rules.setdefault((rule.agent, rule.skill), []).append(rule)

    def find(self, agent_id: str, skill_id: str) -> list[Rule]:
        """Return every rule about a pair, by id."""
        keys = {(agent, skill) for agent in (agent_id, ANY) for skill in (skill_id, ANY)}
        found = (rule for key in keys for rule in self._rules.get(key, ()) if rule.names(agent_id))
        return sorted(found, key=lambda rule: rule.id)

    def find_own(self, agent_id: str, skill_id: str) -> list[Rule]:
        """Return the rules of exactly this pair, by id."""
        return sorted(self._rules.get((agent_id, skill_id), ()), key=lambda rule: rule.id)

    def list_others(self, agent_ids: Iterable[str], skill_ids: Iterable[str]) -> list[Rule]:
        """Return the rules that are not of one pair of these: of every agent, every skill, or of unknown ones."""
        agents, skills = set(agent_ids), set(skill_ids)
        keys = (key for key in self._rules if key[0] not in agents or key[1] not in skills)
        return sorted((rule for key in keys for rule in self._rules[key]), key=lambda rule: rule.id)


def find_main_rule(own: Sequence[Rule]) -> Rule | None:
    """Return the one rule that makes up a cell by itself, None if there is none or more than one."""
    enforced = [rule for rule in own if not rule.shadow]
    return enforced[0] if len(enforced) == 1 else None


# --- one cell ---------------------------------------------------------------------------------------------------
def summarise_pair(agent_id: str, skill: SkillFacts, rules: Iterable[Rule], *, now: datetime) -> Cell:
    """Return the cell of a pair from every rule about it."""
    listed = list(rules)
    enforced = [rule for rule in listed if not rule.shadow]
    expired = [rule for rule in enforced if rule.valid_until is not None and rule.valid_until <= now]
    pending = [rule for rule in enforced if rule.valid_from is not None and rule.valid_from > now]
    live = [rule for rule in enforced if rule not in expired and rule not in pending]
    effect = find_effect(live)
    counted = [rule for rule in live if effect in {Effect.ALLOW, Effect.ASK} and not rule.only_restricts]
    ends = [rule.valid_until for rule in live if rule.valid_until is not None and rule.valid_until - now <= SOON]
    return Cell(
        agent_id=agent_id,
        skill_id=skill.id,
        effect=UNSET if effect is None else effect.value,
        limit=_label_limits([rule.limits for rule in counted]),
        limits=", ".join(phrase for rule in counted for phrase in describe_limits(dump_rule(rule)["limits"])),
        is_conditional=effect is not None and any(_can_turn(rule, skill) for rule in live),
        rules=_ids(live),
        shadows=_ids(rule for rule in listed if rule.shadow),
        pending=_ids(pending),
        expired=_ids(expired),
        ends_at=min(ends, default=None),
    )


def _ids(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(rule.id for rule in rules)


def _can_turn(rule: Rule, skill: SkillFacts) -> bool:
    """Say whether some call of the skill meets the rule's conditions and another does not."""
    conditions, capabilities = rule.conditions, skill.capabilities
    return bool(
        (conditions.domains is not None and "network" in capabilities)
        or (_divides(rule, conditions.read_paths) and "read_workspace" in capabilities)
        or (_divides(rule, conditions.write_paths) and "write_workspace" in capabilities)
        or conditions.arguments
        or conditions.argument_bytes
        or conditions.time_window
        or conditions.tainted is not None
    )


def _divides(rule: Rule, places: Sequence[str] | None) -> bool:
    """Say whether it is about some calls only; the whole workspace permits all, and denies or asks what touches it."""
    return places is not None and (rule.effect is not Effect.ALLOW or WHOLE_WORKSPACE not in places)


def _label_limits(limits: Iterable[Limits]) -> str:
    """Return the one limit that is felt first, in at most eight characters or so."""
    labels: dict[int, list[tuple[float, str]]] = {}
    for limit in limits:
        for rank, amount, label in _rank_limits(limit):
            labels.setdefault(rank, []).append((amount, label))
    return min(labels[min(labels)])[1] if labels else ""


def _rank_limits(limits: Limits) -> Iterable[tuple[int, float, str]]:
    """Give each limit that is set as its rank, its size and its label."""
    if limits.calls_per_task is not None:
        yield 0, limits.calls_per_task, f"{_compact(limits.calls_per_task)}/task"
    if limits.calls_per_period is not None:
        amount, seconds = limits.calls_per_period.amount, limits.calls_per_period.seconds
        yield 1, amount / seconds, f"{_compact(amount)}/{_PERIODS.get(seconds, f'{seconds} s')}"
    if limits.rate_per_second is not None:
        yield 2, limits.rate_per_second, f"{_compact(limits.rate_per_second)}/s"
    if limits.spend_per_day is not None:
        yield 3, float(limits.spend_per_day), f"{show_pounds(str(limits.spend_per_day))}/d"
    if limits.spend_per_task is not None:
        yield 4, float(limits.spend_per_task), f"{show_pounds(str(limits.spend_per_task))}/task"
    if limits.bytes_per_task is not None:
        yield 5, limits.bytes_per_task, show_bytes(limits.bytes_per_task)
    if limits.bytes_per_period is not None:
        yield 6, limits.bytes_per_period.amount, show_bytes(limits.bytes_per_period.amount)


def _compact(count: int) -> str:
    return f"{count // 1_000}k" if count >= 10_000 and count % 1_000 == 0 else str(count)


# --- the grid ---------------------------------------------------------------------------------------------------
def build_grid(
    rules: Iterable[Rule],
    *,
    agents: Sequence[AgentFacts],
    skills: Sequence[SkillFacts],
    now: datetime,
    base: Iterable[Rule] | None = None,
    query: str = "",
    effect: str = "",
) -> Grid:
    """Return the matrix of `rules`; beside `base`, the rules in force, it says what differs.

    `query` keeps the agents or the skills whose id or name holds it, `effect` marks the cells of any other as off.
    """
    index, before = RuleIndex(rules), None if base is None else RuleIndex(base)
    labels = label_agents(agent.id for agent in agents)
    shown_agents, shown_skills = _filter(agents, skills, query.strip().lower())
    rows = []
    for skill in shown_skills:
        cells = (_build_cell(agent.id, skill, index, before=before, now=now) for agent in shown_agents)
        rows.append(Row(skill=skill, cells=tuple(_switch_off(cell, effect) for cell in cells)))
    groups = ((name, tuple(row for row in rows if find_group(row.skill) == name)) for name in GROUPS)
    return Grid(
        columns=tuple(Column(agent=agent, label=labels[agent.id]) for agent in shown_agents),
        groups=tuple((name, members) for name, members in groups if members),
        changed=sum(cell.change != Change.NONE for row in rows for cell in row.cells),
    )


def _build_cell(agent_id: str, skill: SkillFacts, index: RuleIndex, *, before: RuleIndex | None, now: datetime) -> Cell:
    found = index.find(agent_id, skill.id)
    cell = summarise_pair(agent_id, skill, found, now=now)
    if before is None:
        return cell
    return replace(cell, change=find_change(before.find(agent_id, skill.id), found))


def find_change(before: Sequence[Rule], after: Sequence[Rule]) -> Change:
    """Return how the rules of a pair differ."""
    if before == after:
        return Change.NONE
    if not before:
        return Change.ADDED
    return Change.CHANGED if after else Change.REMOVED


def _switch_off(cell: Cell, effect: str) -> Cell:
    return replace(cell, is_off=True) if effect and cell.effect != effect else cell


def _filter(
    agents: Sequence[AgentFacts], skills: Sequence[SkillFacts], query: str
) -> tuple[Sequence[AgentFacts], Sequence[SkillFacts]]:
    """Keep what a query names; one that names only agents keeps every skill, and the other way round."""
    named_agents = [agent for agent in agents if query in f"{agent.id} {agent.name}".lower()]
    named_skills = [skill for skill in skills if query in skill.id.lower()]
    if not named_agents and not named_skills:
        return (), ()
    return named_agents or agents, named_skills or skills


def find_group(skill: SkillFacts) -> str:
    """Return the one of `GROUPS` under which a skill is listed: by the most dangerous thing that it can do."""
    if "network" in skill.capabilities:
        return "network"
    if "run_command" in skill.capabilities:
        return "commands"
    return "files" if skill.capabilities & {"read_workspace", "write_workspace"} else "data"


def label_agents(agent_ids: Iterable[str]) -> Mapping[str, str]:
    """Return a label of at most ten characters for each agent, no two alike."""
    ids = list(agent_ids)
    labels = {agent_id: _shorten(agent_id) for agent_id in ids}
    counts = Counter(labels.values())
    return {agent_id: label if counts[label] == 1 else _cut(agent_id) for agent_id, label in labels.items()}


def _shorten(agent_id: str) -> str:
    if agent_id in _SHORT_NAMES:
        return _SHORT_NAMES[agent_id]
    name = agent_id.removesuffix("-agent")
    candidates = (name, *reversed(name.split("-")))
    return next((part for part in candidates if 0 < len(part) <= MAX_LABEL), _cut(name))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[:6]}…{text[-3:]}"
