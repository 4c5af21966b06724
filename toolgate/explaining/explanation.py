"""Why the rules come to what they come to: every rule about an agent and a skill, condition by condition. PURE.

 explain ──▶ Explanation
              ├ decision      of the engine itself
              └ rules         each with its role, and each of its conditions: met, not met, or unclear

A rule that permits has to *cover* the call, a rule that restricts to *touch* it; an ask rule may do either, so one
that covers and does not touch is told as a rule that permits, any other as one that restricts
(`toolgate.policy` says what the words mean).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from toolgate.engine import WORKING, CompiledPolicy, decide
from toolgate.entries import Entry
from toolgate.explaining.sentences import tell_condition
from toolgate.matchers import compile_conditions
from toolgate.policy import Conditions, Rule
from toolgate.types import Decision, Effect, Request, Resource


class State(StrEnum):
    """What became of one condition."""

    MET = "met"
    NOT_MET = "not_met"
    UNCLEAR = "unclear"  # it cannot be evaluated: it permits nothing, and holds no restriction back


class Role(StrEnum):
    """What one rule had to do with the decision."""

    DECIDES = "decides"
    OVERRULED = "overruled"  # it matches, and a stricter rule decides
    IDLE = "idle"  # it would have a person asked, but nothing permits the call
    MISSES = "misses"
    NOT_NOW = "not_now"  # out of its validity or its hours
    SHADOW = "shadow"  # log only
    UNASKED = "unasked"  # the call was refused before any rule was asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a rule, and what the call made of it."""

    name: str  # as on the wire: domains, readPaths, arguments.dryRun, validUntil, …
    state: State
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """One rule that is about the agent and the skill."""

    rule: Rule
    covers: bool  # all of the call lies inside its conditions
    touches: bool  # some of it does, and nothing speaks against it
    holds_now: bool
    conditions: tuple[Condition, ...]
    role: Role = Role.MISSES
    sentence: str = ""

    @property
    def permits(self) -> bool:
        """Say whether it permits the call, as far as it goes."""
        return self.covers and self.holds_now and not self.rule.shadow and not self.rule.only_restricts

    @property
    def restricts(self) -> bool:
        """Say whether it denies the call, or has a person asked."""
        is_strict = self.rule.effect is not Effect.ALLOW
        return is_strict and self.touches and self.holds_now and not self.rule.shadow


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision, and every rule that was looked at for it: those that decide first."""

    decision: Decision
    rules: tuple[LookedAt, ...]
    others: int  # how many rules are about other agents and skills


def explain(policy: CompiledPolicy, request: Request, *, now: datetime) -> Explanation:
    """Return what `policy` makes of `request` at `now` and why; `request` is in normal form."""
    decision = decide(policy, request, now=now)
    entries = policy.entries_of(request.principal.agent_id, request.action.skill_id)
    looked = [_look_at(entry, request, now=now) for entry in entries]
    told = [
        replace(one, role=role, sentence=_tell(one, role, decision)) for one, role in _cast(looked, decision, request)
    ]
    order = list(Role)
    return Explanation(
        decision=decision,
        rules=tuple(sorted(told, key=lambda one: (order.index(one.role), one.rule.id))),
        others=len(policy.policy.rules) - len(entries),
    )


def list_conditions(conditions: Conditions) -> Iterator[tuple[str, Conditions]]:
    """Yield each condition on what a call touches by its name on the wire, alone in conditions of its own."""
    for name in ("domains", "read_paths", "write_paths", "argument_bytes"):
        value = getattr(conditions, name)
        if value is not None:
            yield Conditions.model_fields[name].alias or name, Conditions.model_validate({name: value})
    for name, test in sorted((conditions.arguments or {}).items()):
        yield f"arguments.{name}", Conditions(arguments={name: test})


# --- one rule -------------------------------------------------------------------------------------------------
def _look_at(entry: Entry, request: Request, *, now: datetime) -> LookedAt:
    rule, resource = entry.rule, request.resource
    clocks, taint = list(_look_at_clocks(entry, now=now)), list(_look_at_taint(rule, request))
    fits = all(condition.state is State.MET for condition in taint)
    covers, touches = entry.covers(resource), entry.touches(resource)
    restricts = rule.effect is not Effect.ALLOW and (touches or not covers or rule.only_restricts)
    alone = list_conditions(rule.conditions)
    asked = [_look_at_condition(name, one, resource, restricts=restricts) for name, one in alone]
    return LookedAt(
        rule=rule,
        covers=fits and covers,
        touches=fits and touches,
        holds_now=all(clock.state is State.MET for clock in clocks),
        conditions=(*clocks, *taint, *asked),
    )


def _look_at_clocks(entry: Entry, *, now: datetime) -> Iterator[Condition]:
    rule = entry.rule
    given = {
        "validUntil": rule.valid_until,
        "validFrom": rule.valid_from,
        "timeWindow": rule.conditions.time_window,
    }
    names = [name for name, value in given.items() if value is not None]
    for name, clock in zip(names, entry.clocks, strict=True):
        state = State.MET if clock.holds(now) else State.NOT_MET
        yield Condition(name=name, state=state, sentence=clock.describe(now))


def _look_at_taint(rule: Rule, request: Request) -> Iterator[Condition]:
    wanted = rule.conditions.tainted
    if wanted is not None:
        state = State.MET if wanted is request.tainted else State.NOT_MET
        sentence = f"it is for {_taint(wanted)} tasks, and this one is {_taint(request.tainted)}"
        yield Condition(name="tainted", state=state, sentence=sentence)


def _taint(tainted: bool) -> str:
    return "tainted" if tainted else "clean"


def _look_at_condition(name: str, alone: Conditions, resource: Resource, *, restricts: bool) -> Condition:
    state = _judge(alone, resource, restricts=restricts)
    return Condition(name=name, state=state, sentence=tell_condition(alone, resource, restricts=restricts))


def _judge(alone: Conditions, resource: Resource, *, restricts: bool) -> State:
    [matcher] = compile_conditions(alone)
    covers, touches = matcher.covers(resource), matcher.touches(resource)
    is_about_values = alone.arguments is not None or alone.argument_bytes is not None
    if is_about_values and touches and not covers:
        return State.UNCLEAR
    return State.MET if (touches if restricts else covers) else State.NOT_MET


# --- what it had to do with the decision ----------------------------------------------------------------------
def _cast(looked: list[LookedAt], decision: Decision, request: Request) -> Iterator[tuple[LookedAt, Role]]:
    principal, action = request.principal, request.action
    is_unasked = principal.status not in WORKING or not action.known or action.quarantined
    is_permitted = any(one.permits for one in looked)
    for one in looked:
        role = Role.UNASKED if is_unasked else _find_role(one, decision, is_permitted=is_permitted)
        yield one, role


def _find_role(one: LookedAt, decision: Decision, *, is_permitted: bool) -> Role:
    if one.rule.shadow:
        return Role.SHADOW
    if not one.holds_now:
        return Role.NOT_NOW
    if one.rule.id in decision.deciding_rules:
        return Role.DECIDES
    if not one.permits and not one.restricts:
        return Role.MISSES
    return Role.OVERRULED if is_permitted or decision.deciding_rules else Role.IDLE


_DOES = {Effect.ALLOW: "allow this call", Effect.ASK: "have a person asked", Effect.DENY: "deny this call"}
_DECIDES = {
    Effect.ALLOW: "It allows this call.",
    Effect.ASK: "It has a person asked.",
    Effect.DENY: "It denies this call.",
}


def _tell(one: LookedAt, role: Role, decision: Decision) -> str:
    if role is Role.SHADOW:
        return _tell_shadow(one, decision)
    if role is Role.DECIDES:
        return _DECIDES[decision.effect]
    if role is Role.OVERRULED and decision.effect is Effect.ALLOW:
        return "It asks nobody: the call names nothing that it is about, and another rule allows it. Its limits count."
    return {
        Role.UNASKED: "It was not asked: the call was refused before any rule.",
        Role.NOT_NOW: f"It does not hold now: {_first_miss(one)}.",
        Role.MISSES: f"It does not match: {_first_miss(one)}.",
        Role.IDLE: "It would have a person asked, but no rule permits all of this call.",
    }.get(role, f"It would {_DOES[one.rule.effect]}, but {', '.join(decision.deciding_rules[:3])} is stricter.")


def _tell_shadow(one: LookedAt, decision: Decision) -> str:
    flip = next((flip for flip in decision.flips if flip.rule_id == one.rule.id), None)
    if flip is not None:
        return f"Log only: were it enforced, the decision would be {flip.effect.value}."
    matches = one.holds_now and (one.covers or one.touches)
    return "Log only: it matches, and would change nothing." if matches else f"Log only: {_first_miss(one)}."


def _first_miss(one: LookedAt) -> str:
    """Return the sentence of the first condition that keeps the rule from matching."""
    unmet = [condition for condition in one.conditions if condition.state is State.NOT_MET]
    blind = [condition for condition in one.conditions if condition.state is State.UNCLEAR]
    return next((condition.sentence for condition in [*unmet, *blind]), "nothing of the call is what it is about")
