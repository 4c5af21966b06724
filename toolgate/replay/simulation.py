"""Decide recorded calls once more, under two sets of rules, each with the counters it would have kept. PURE.

A call that waited for a person is on record several times: asked, then answered, perhaps held up by a rate in between.
It is decided once, when it was asked; what follows only spends. A call that a set of rules would ask about, and that
really ran, is taken to be approved.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from toolgate.engine import CompiledPolicy, decide
from toolgate.limits import Pace, Window, count_in_window, make_pace, make_window, spend_call, to_micros
from toolgate.matchers import Question
from toolgate.normal import NotNormal, normalise_resource
from toolgate.replay.scope import Comparison
from toolgate.types import Action, Effect, Limit, LimitKind, Principal, Reason, Request, Resource

MAX_KEPT = 50_000  # tasks, open questions and distinct calls in memory; the oldest are forgotten first
MAX_QUESTIONS = 16  # to the rules of a pair; with more of them it is quicker to decide

ANSWERS = frozenset(
    {Reason.APPROVED, Reason.APPROVAL_REJECTED, Reason.APPROVAL_EXPIRED, Reason.APPROVAL_MISMATCH}
)  # fmt: skip
_BEFORE_RULES = frozenset(
    {
        Reason.AGENT_UNKNOWN, Reason.AGENT_DISABLED, Reason.AGENT_QUARANTINED, Reason.SKILL_UNKNOWN,
        Reason.SKILL_QUARANTINED, Reason.TASK_TYPE_NOT_ASSIGNED, Reason.INPUT_INVALID, Reason.AUDIT_UNAVAILABLE,
    }
)  # fmt: skip
# Reasons that a skill, too, refuses for while it says what a call touches; then nothing of that is on record.
_SHARED = frozenset({Reason.DOMAIN_NOT_ALLOWED, Reason.ADDRESS_NOT_ALLOWED, Reason.READ_PATH, Reason.WRITE_PATH})
_PER_TASK = frozenset({LimitKind.CALLS_PER_TASK, LimitKind.BYTES_PER_TASK})
_ORDER = {kind: place for place, kind in enumerate(LimitKind)}
_SIZED = frozenset({LimitKind.BYTES_PER_TASK, LimitKind.BYTES_PER_PERIOD})
_SPENDING = frozenset({LimitKind.SPEND_PER_TASK, LimitKind.SPEND_PER_DAY})


Restore = Callable[[Mapping[str, Any]], Resource]  # from what is on record; KeyError or TypeError if that is not whole
_Key = tuple[LimitKind, str]  # of a counter: what is counted, by which rule
_Cells = dict[_Key, Any]


class Gap(StrEnum):
    """Why a recorded decision cannot be made again."""

    BEFORE_RULES = "before_rules"  # refused before any rule saw it
    UNRECORDABLE = "unrecordable"  # what it touched is not on record


class Recorded(NamedTuple):
    """One row of the history; the first two order it."""

    at: datetime
    id: str
    skill_id: str
    task_id: str
    arguments_digest: str
    resource: str  # JSON
    effect: str
    reason: str
    policy_version: int
    argument_bytes: int  # of the arguments' column; 0 where no rule weighs them


class Outcome(NamedTuple):
    """What one set of rules comes to for one call."""

    effect: Effect
    reason: Reason
    rules: tuple[str, ...]  # that decided


class Turn(NamedTuple):
    """One recorded decision under both sets of rules."""

    row: Recorded
    base: Outcome
    proposed: Outcome
    is_call: bool  # False: it only goes on with a question that was counted when it was asked
    on_spending: bool  # a limit on spending had a say, which cannot be replayed


@dataclass(frozen=True, slots=True)
class _Ruling:
    outcome: Outcome
    limits: tuple[tuple[Limit, bool, _Key], ...]  # each with whether it is a task's, and its counter's key
    on_spending: bool


class _Case(NamedTuple):
    base: _Ruling
    proposed: _Ruling
    size: int  # bytes of the arguments


class PairReplay:
    """One agent's recorded calls of one skill, replayed in their order."""

    def __init__(self, agent_id: str, skill_id: str, comparison: Comparison, restore: Restore) -> None:
        self._comparison = comparison
        self._restore = restore
        self._principal = Principal(agent_id=agent_id, version=0)
        self._action = Action(skill_id=skill_id, version="")
        self._is_timed = comparison.is_timed(agent_id, skill_id)
        self._questions = _list_questions(comparison, agent_id, skill_id)
        self._cases: OrderedDict[tuple[str, int], _Case | Gap] = OrderedDict()
        self._answers: OrderedDict[tuple[bool, ...], tuple[_Ruling, _Ruling]] = OrderedDict()
        self._asked: OrderedDict[tuple[str, str], tuple[Outcome, Outcome]] = OrderedDict()
        self._base, self._proposed = Counters(), Counters()

    def replay(self, row: Recorded) -> Turn | Gap:
        """Return what both sets of rules come to for the next row, or why that cannot be said."""
        if row.reason in _BEFORE_RULES:
            return Gap.BEFORE_RULES
        case = self._find_case(row)
        if isinstance(case, Gap):
            return case
        asked = self._asked.get((row.task_id, row.arguments_digest)) if row.effect != Effect.ASK else None
        if asked is not None:
            return self._go_on(row, case, asked)
        moment, ran = to_micros(row.at), row.effect == Effect.ALLOW
        base = self._base.settle(case.base, row, size=case.size, moment=moment, ran=ran)
        proposed = self._proposed.settle(case.proposed, row, size=case.size, moment=moment, ran=ran)
        if row.effect == Effect.ASK:
            keep_last(self._asked, (row.task_id, row.arguments_digest), (base, proposed))
        return Turn(row, base, proposed, True, case.base.on_spending or case.proposed.on_spending)

    def _go_on(self, row: Recorded, case: _Case, asked: tuple[Outcome, Outcome]) -> Turn:
        """Take a row that follows a question: where that is asked it spends only now, and only if the call ran."""
        if row.reason in ANSWERS:
            del self._asked[row.task_id, row.arguments_digest]
        sides = ((self._base, case.base, asked[0]), (self._proposed, case.proposed, asked[1]))
        for counters, ruling, outcome in sides:
            if outcome.effect is Effect.ASK and row.effect == Effect.ALLOW:
                counters.settle(ruling, row, size=case.size, moment=to_micros(row.at), ran=True)
        return Turn(row, *asked, False, case.base.on_spending or case.proposed.on_spending)

    # --- what the rules say -------------------------------------------------------------------------------------
    def _find_case(self, row: Recorded) -> _Case | Gap:
        if self._is_timed:  # the hour has a say, so no two calls are alike
            return self._make_case(row)
        key = (row.resource, row.argument_bytes)
        case = self._cases.get(key)
        if case is None:
            case = self._make_case(row)
            keep_last(self._cases, key, case)
        return case

    def _make_case(self, row: Recorded) -> _Case | Gap:
        try:
            wire = orjson.loads(row.resource)
            wire.setdefault("argumentBytes", row.argument_bytes)  # of older records the size of the column
            resource = normalise_resource(self._restore(wire))
        except NotNormal:
            return Gap.BEFORE_RULES
        except (AttributeError, KeyError, TypeError, ValueError):
            return Gap.UNRECORDABLE
        if row.reason in _SHARED and not (resource.hosts or resource.read_paths or resource.arguments):
            return Gap.BEFORE_RULES
        return _Case(*self._decide(resource, wire.get("tainted", False), row.at), resource.argument_bytes)

    def _decide(self, resource: Resource, tainted: bool, at: datetime) -> tuple[_Ruling, _Ruling]:
        """Return what both sides say; calls of which every rule says the same are decided once."""
        if self._is_timed or len(self._questions) > MAX_QUESTIONS:
            return self._decide_anew(resource, tainted, at)
        key = (tainted, *[question(resource) for question in self._questions])
        rulings = self._answers.get(key)
        if rulings is None:
            rulings = self._decide_anew(resource, tainted, at)
            if rulings[0].outcome.rules and rulings[1].outcome.rules:  # the reason of a default deny is the call's own
                keep_last(self._answers, key, rulings)
        return rulings

    def _decide_anew(self, resource: Resource, tainted: bool, at: datetime) -> tuple[_Ruling, _Ruling]:
        request = Request(principal=self._principal, action=self._action, resource=resource, tainted=tainted)
        return _rule(self._comparison.base, request, at), _rule(self._comparison.proposed, request, at)


def _list_questions(comparison: Comparison, agent_id: str, skill_id: str) -> list[Question]:
    """Return what the engine could ask about a call: whether a rule covers it, whether it touches it."""
    mine = {entry.rule.id: entry for entry in comparison.base.entries_of(agent_id, skill_id)}
    theirs = comparison.proposed.entries_of(agent_id, skill_id)
    other = [entry for entry in theirs if entry.rule.id not in mine or mine[entry.rule.id].rule != entry.rule]
    entries = [*mine.values(), *other]
    covers = [entry.covers for entry in entries if entry.rule.effect is not Effect.DENY]
    return covers + [entry.touches for entry in entries if entry.rule.effect is not Effect.ALLOW]


def _rule(policy: CompiledPolicy, request: Request, at: datetime) -> _Ruling:
    decision = decide(policy, request, now=at)
    outcome = Outcome(decision.effect, decision.reason, decision.deciding_rules)
    limits = sorted(decision.limits, key=lambda limit: (_ORDER[limit.kind], limit.rule_id))  # as `toolgate.usage` does
    replayable = tuple(
        (limit, limit.kind in _PER_TASK, (limit.kind, limit.rule_id)) for limit in limits if limit.kind not in _SPENDING
    )
    return _Ruling(outcome, replayable, on_spending=len(replayable) < len(limits))


# --- counters ---------------------------------------------------------------------------------------------------
class Counters:
    """What an agent's calls of a skill have used up of the limits of one set of rules."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, _Cells] = OrderedDict()
        self._agent: _Cells = {}
        self._task: tuple[str, _Cells] = ("", {})  # the last one: its calls come one after the other

    def settle(self, ruling: _Ruling, row: Recorded, *, size: int, moment: int, ran: bool) -> Outcome:
        """Return what a ruling comes to, having spent its limits if the call would run: all of them or none.

        `size` is the bytes of the arguments, `moment` the time in microseconds; `ran` says that the recorded call was
        made.
        """
        if not ruling.limits or ruling.outcome.effect is Effect.DENY:
            return ruling.outcome
        staged = []
        for limit, is_of_task, key in ruling.limits:
            cells = self._find_task(row.task_id) if is_of_task else self._agent
            kept, has_room = weigh(limit, cells.get(key), size=size, moment=moment)
            if not has_room:
                return _refuse(ruling, limit, size)
            staged.append((cells, key, kept))
        if ran or ruling.outcome.effect is Effect.ALLOW:
            for cells, key, kept in staged:
                cells[key] = kept
        return ruling.outcome

    def _find_task(self, task_id: str) -> _Cells:
        if task_id != self._task[0]:
            cells = self._tasks.pop(task_id, None)
            self._task = (task_id, {} if cells is None else cells)
            keep_last(self._tasks, *self._task)
        return self._task[1]


def _refuse(ruling: _Ruling, limit: Limit, size: int) -> Outcome:
    is_final = limit.kind in _PER_TASK or (limit.kind is LimitKind.BYTES_PER_PERIOD and size > limit.amount)
    if ruling.outcome.effect is Effect.ASK and not is_final:
        return ruling.outcome  # a person is asked all the same, and a rate has room again by then
    return Outcome(Effect.DENY, Reason.CALL_CEILING if is_final else Reason.RATE_LIMITED, (limit.rule_id,))


def weigh(limit: Limit, kept: Any, *, size: int, moment: int) -> tuple[Any, bool]:
    """Return what to keep of a counter after one call more, and whether the limit has room for that call.

    `kept` is None at first, `size` the bytes of the call's arguments, `moment` in microseconds.
    """
    if limit.kind is LimitKind.RATE:
        spent = spend_call(kept, _pace_of(limit.amount, limit.burst), moment)
        return spent.arrival, spent.wait == 0
    size = size if limit.kind in _SIZED else 1
    if limit.kind in _PER_TASK:
        return (kept or 0) + size, (kept or 0) + size <= limit.amount
    if size > limit.amount:
        return kept, False
    window = _window_of(limit.seconds)
    counted = count_in_window(kept or (), window, amount=limit.amount, size=size, now=moment)
    return counted.buckets, counted.wait == 0


@lru_cache(maxsize=1024)
def _pace_of(rate: int, burst: int) -> Pace:
    return make_pace(rate=rate, burst=burst)


@lru_cache(maxsize=1024)
def _window_of(seconds: int) -> Window:
    return make_window(seconds=seconds)


def keep_last[Key, Value](store: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Put a value last, and forget the first if there are too many."""
    if len(store) >= MAX_KEPT:
        store.popitem(last=False)
    store[key] = value
