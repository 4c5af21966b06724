"""Count what a replay turns, and say it in a report of bounded size, ready for JSON. PURE."""

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from toolgate.fleet import TaskFacts
from toolgate.replay.simulation import Gap, Outcome, Recorded, Turn
from toolgate.types import Effect

# From what hurts most to what hurts least.
KINDS = ("allow_deny", "ask_deny", "allow_ask", "deny_ask", "ask_allow", "deny_allow")
MAX_GROUPS = 50  # rows of a table
MAX_SAMPLES = 10  # calls shown of each kind
MAX_BROKEN = 20  # tasks shown
MAX_TASKS = 100_000  # tasks with turned calls that are looked up
SUCCEEDED = "succeeded"
_DEFAULT_DENY = ""  # stands for a rule where none decided

Report = dict[str, Any]


@dataclass(slots=True)
class _Touched:
    """A task with a turned call."""

    first_at: datetime
    is_broken: bool = False  # a call that ran would have been refused


@dataclass(slots=True)
class Tally:
    """What was counted so far; `changed` are the ids of the rules that differ."""

    changed: frozenset[str]
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)  # by agent and skill
    flips: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # by agent, skill and kind
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)  # by rule and kind
    gaps: Counter[Gap] = field(default_factory=Counter)
    touched: dict[str, _Touched] = field(default_factory=dict)
    samples: dict[str, list[tuple[datetime, str, dict[str, Any]]]] = field(default_factory=dict)
    taken: int = 0
    continued: int = 0  # rows that go on with a question
    following: int = 0  # calls after a turned call of their task
    asked_before: int = 0
    asked_after: int = 0
    passing: int = 0
    on_spending: int = 0
    comparable: int = 0
    agreeing: int = 0
    is_cut: bool = False
    first_at: datetime | None = None
    last_at: datetime | None = None

    def take(self, agent_id: str, turn: Turn | Gap, *, base_version: int) -> None:
        """Count the next recorded decision."""
        self.taken += 1
        if isinstance(turn, Gap):
            self.gaps[turn] += 1
        else:
            self._add(agent_id, turn, base_version=base_version)

    def _add(self, agent_id: str, turn: Turn, *, base_version: int) -> None:
        row, base, proposed = turn.row, turn.base, turn.proposed
        touched = self.touched.get(row.task_id)
        if turn.is_call:
            self._count_call(agent_id, turn, base_version=base_version)
            self.following += touched is not None and touched.first_at < row.at
        else:
            self.continued += 1
        if base.effect is proposed.effect:
            return
        if touched is None:
            touched = self._touch(row)
        if row.effect == Effect.ALLOW and proposed.effect is Effect.DENY:
            touched.is_broken = True
        if turn.is_call:
            self._count_flip(agent_id, row, base, proposed)

    def _count_call(self, agent_id: str, turn: Turn, *, base_version: int) -> None:
        row = turn.row
        self.calls[agent_id, row.skill_id] += 1
        self.asked_before += turn.base.effect is Effect.ASK
        self.asked_after += turn.proposed.effect is Effect.ASK
        if turn.on_spending:
            self.on_spending += 1
        elif row.policy_version == base_version:
            self.comparable += 1
            self.agreeing += _agrees(row, turn.base)
        if self.first_at is None or row.at < self.first_at:
            self.first_at = row.at
        if self.last_at is None or row.at > self.last_at:
            self.last_at = row.at

    def _touch(self, row: Recorded) -> _Touched:
        touched = _Touched(row.at)
        if len(self.touched) < MAX_TASKS:
            self.touched[row.task_id] = touched
        else:
            self.is_cut = True
        return touched

    def _count_flip(self, agent_id: str, row: Recorded, base: Outcome, proposed: Outcome) -> None:
        kind = f"{base.effect.value}_{proposed.effect.value}"
        rule_id = self._blame(base, proposed)
        self.flips[agent_id, row.skill_id, kind] += 1
        self.rules[rule_id, kind] += 1
        self.passing += row.effect == Effect.DENY and proposed.effect is Effect.ALLOW
        shown = self.samples.setdefault(kind, [])
        if len(shown) < MAX_SAMPLES or row.at < shown[-1][0]:
            insort(
                shown, (row.at, row.id, _describe(agent_id, row, base, proposed, rule_id)), key=lambda call: call[:2]
            )
            del shown[MAX_SAMPLES:]

    def _blame(self, base: Outcome, proposed: Outcome) -> str:
        """Return the rule that turned the call: one that differs, if such a one decided on either side."""
        deciding = (*proposed.rules, *base.rules)
        return next((rule for rule in deciding if rule in self.changed), deciding[0] if deciding else _DEFAULT_DENY)


def _agrees(row: Recorded, base: Outcome) -> bool:
    """Say whether a replay under the rules of that time comes to what was really decided."""
    return row.effect == base.effect or (base.effect is Effect.ASK and row.effect == Effect.ALLOW)


def _describe(agent_id: str, row: Recorded, base: Outcome, proposed: Outcome, rule_id: str) -> dict[str, Any]:
    return {
        "decisionId": row.id,
        "taskId": row.task_id,
        "agentId": agent_id,
        "skillId": row.skill_id,
        "at": row.at.isoformat(),
        "recorded": row.effect,
        "was": base.effect.value,
        "would": proposed.effect.value,
        "reason": proposed.reason.value,
        "ruleId": rule_id,
    }


# --- the report -------------------------------------------------------------------------------------------------
def write_report(tally: Tally, tasks: Mapping[str, TaskFacts]) -> Report:
    """Return what a tally comes to; `tasks` are those of `tally.touched`."""
    return {
        "calls": tally.calls.total(),
        "flips": _by_kind((kind, count) for (_, _, kind), count in tally.flips.items()),
        "byAgent": _group(tally, lambda agent_id, skill_id: agent_id),
        "bySkill": _group(tally, lambda agent_id, skill_id: skill_id),
        "byRule": _group_rules(tally),
        "broken": _list_broken(tally, tasks),
        "passing": tally.passing,
        "asks": {"before": tally.asked_before, "after": tally.asked_after, "days": _count_days(tally)},
        "tasks": {
            "count": len(tally.touched),
            "costMicro": sum(facts.cost_micro for facts in tasks.values()),
            "isCut": tally.is_cut,
        },
        "samples": [call for kind in KINDS for _, _, call in tally.samples.get(kind, ())],
        "coverage": {
            "continued": tally.continued,
            "following": tally.following,
            "onSpending": tally.on_spending,
            "comparable": tally.comparable,
            "agreeing": tally.agreeing,
            **{_camel(gap): tally.gaps[gap] for gap in Gap},
        },
    }


def _camel(gap: Gap) -> str:
    return {Gap.BEFORE_RULES: "beforeRules", Gap.UNRECORDABLE: "unrecordable"}[gap]


def _by_kind(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for kind, count in counts:
        found[kind] += count
    return {kind: found[kind] for kind in KINDS}


def _group(tally: Tally, key: Callable[[str, str], str]) -> list[dict[str, Any]]:
    calls, flips = Counter[str](), dict[str, Counter[str]]()
    for pair, count in tally.calls.items():
        calls[key(*pair)] += count
    for (agent_id, skill_id, kind), count in tally.flips.items():
        flips.setdefault(key(agent_id, skill_id), Counter())[kind] += count
    totals = {name: flips.get(name, Counter[str]()).total() for name in calls}
    shown = sorted(calls, key=lambda name: (-totals[name], name))[:MAX_GROUPS]
    return [
        {"key": name, "calls": calls[name], "total": totals[name], "flips": _by_kind(flips.get(name, {}).items())}
        for name in shown
    ]


def _group_rules(tally: Tally) -> list[dict[str, Any]]:
    totals: Counter[str] = Counter()
    for (rule_id, _), count in tally.rules.items():
        totals[rule_id] += count
    shown = sorted(totals, key=lambda rule_id: (-totals[rule_id], rule_id))[:MAX_GROUPS]
    return [
        {"key": name, "total": totals[name], "flips": {kind: tally.rules[name, kind] for kind in KINDS}}
        for name in shown
    ]


def _list_broken(tally: Tally, tasks: Mapping[str, TaskFacts]) -> dict[str, Any]:
    broken = [
        task_id
        for task_id, touched in tally.touched.items()
        if touched.is_broken and task_id in tasks and tasks[task_id].state == SUCCEEDED
    ]
    shown = sorted(broken, key=lambda task_id: (tally.touched[task_id].first_at, task_id))[:MAX_BROKEN]
    return {"count": len(broken), "tasks": shown}


def _count_days(tally: Tally) -> float:
    """Return how many days the replayed calls span, one at least."""
    if tally.first_at is None or tally.last_at is None:
        return 1.0
    return max((tally.last_at - tally.first_at).total_seconds() / 86_400, 1.0)
