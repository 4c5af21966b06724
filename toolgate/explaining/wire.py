"""Explanations and findings as the API shows them, and what it reads about them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from audit.wire import format_at
from toolgate.explaining.answers import Answer, Replay
from toolgate.explaining.explanation import Explanation, LookedAt
from toolgate.explaining.lint import Finding
from toolgate.explaining.narrowest import Suggestion
from toolgate.explaining.raising import LimitState
from toolgate.policy import dump_rule
from toolgate.reading import WireModel

EffectWord = Literal["allow", "ask", "deny"]
MAX_RULES = 10_000


class ExplainBody(WireModel):
    """A call that is asked about, not made. `taskId` names whose counters are looked at."""

    agent_id: Annotated[str, Field(max_length=200)]
    skill_id: Annotated[str, Field(max_length=200)]
    input: dict[str, Any]
    tainted: bool = False
    task_id: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{0,64}$")] = ""


class LintBody(WireModel):
    """Rules to look over; those in force if none are sent."""

    rules: Annotated[list[dict[str, Any]], Field(max_length=MAX_RULES)] | None = None


class ConditionWire(WireModel):
    """One condition of a rule, and what the call made of it."""

    name: str
    state: Literal["met", "not_met", "unclear"]
    sentence: str


class LookedAtWire(WireModel):
    """One rule that is about the agent and the skill, and what it had to do with the decision."""

    rule_id: str
    effect: EffectWord
    role: Literal["decides", "overruled", "idle", "misses", "not_now", "shadow", "unasked"]
    sentence: str
    conditions: list[ConditionWire]
    rule: dict[str, Any]


class DecidedWire(WireModel):
    """What the rules of one policy version come to, with all that were looked at."""

    effect: EffectWord
    reason: str
    detail: str
    policy_version: int
    deciding_rules: list[str]
    rules: list[LookedAtWire]
    other_rules: int  # about other agents and skills


class LimitWire(WireModel):
    """One limit as it stands: how much of it is used."""

    rule_id: str
    kind: str
    amount: int
    used: int | None  # null: a rate, or not counted here
    refuses: bool
    words: str


class SuggestionWire(WireModel):
    """A rule that would let the call pass, in the place of the rule `replaces`; or what stands in the way."""

    sentence: str
    rule: dict[str, Any] | None
    replaces: str | None
    obstacle: str


class AnswerWire(WireModel):
    """What would come of a call under the rules in force, limits included. It is not made, and nothing is spent."""

    effect: EffectWord
    reason: str
    detail: str
    decided: DecidedWire
    limits: list[LimitWire]
    suggestion: SuggestionWire | None


class ReplayWire(WireModel):
    """A decision on record, made again by its own rules (null if that cannot be), and the same call now."""

    decision_id: str
    at: datetime
    agent_id: str
    skill_id: str
    task_id: str
    effect: EffectWord
    reason: str
    detail: str
    policy_version: int
    deciding_rules: list[str]
    counters: dict[str, Any]
    then: DecidedWire | None
    gap: str
    now: AnswerWire
    differs: bool


class FindingWire(WireModel):
    """One thing that is odd about rules."""

    code: str
    severity: Literal["error", "warning", "note"]
    rule_ids: list[str]
    sentence: str


class FindingList(WireModel):
    """What is odd about a set of rules, errors first."""

    findings: list[FindingWire]


def answer_to_wire(answer: Answer) -> dict[str, Any]:
    """Return what would come of a call, as the API shows it."""
    return {
        "effect": answer.effect.value,
        "reason": answer.reason.value,
        "detail": answer.detail,
        "decided": explanation_to_wire(answer.why),
        "limits": [_limit_to_wire(state) for state in answer.limits],
        "suggestion": _suggestion_to_wire(answer.suggestion) if answer.suggestion else None,
    }


def replay_to_wire(replay: Replay) -> dict[str, Any]:
    """Return a decision on record beside what would come of it now, as the API shows it."""
    record = replay.record
    return {
        "decisionId": record.id,
        "at": format_at(record.at),
        "agentId": record.agent_id,
        "skillId": record.skill_id,
        "taskId": record.task_id,
        "effect": record.effect,
        "reason": record.reason,
        "detail": record.detail,
        "policyVersion": record.policy_version,
        "decidingRules": list(record.deciding_rules),
        "counters": record.counters,
        "then": explanation_to_wire(replay.then) if replay.then else None,
        "gap": replay.gap,
        "now": answer_to_wire(replay.now),
        "differs": replay.differs,
    }


def explanation_to_wire(why: Explanation) -> dict[str, Any]:
    """Return what rules come to and why, as the API shows it."""
    decision = why.decision
    return {
        "effect": decision.effect.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "policyVersion": decision.policy_version,
        "decidingRules": list(decision.deciding_rules),
        "rules": [_looked_to_wire(looked) for looked in why.rules],
        "otherRules": why.others,
    }


def finding_to_wire(finding: Finding) -> dict[str, Any]:
    """Return one finding as the API shows it."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "ruleIds": list(finding.rule_ids),
        "sentence": finding.sentence,
    }


def _looked_to_wire(looked: LookedAt) -> dict[str, Any]:
    return {
        "ruleId": looked.rule.id,
        "effect": looked.rule.effect.value,
        "role": looked.role.value,
        "sentence": looked.sentence,
        "conditions": [
            {"name": condition.name, "state": condition.state.value, "sentence": condition.sentence}
            for condition in looked.conditions
        ],
        "rule": dump_rule(looked.rule),
    }


def _limit_to_wire(state: LimitState) -> dict[str, Any]:
    return {
        "ruleId": state.limit.rule_id,
        "kind": state.limit.kind.value,
        "amount": state.limit.amount,
        "used": state.used,
        "refuses": state.refuses,
        "words": state.words,
    }


def _suggestion_to_wire(suggestion: Suggestion) -> dict[str, Any]:
    return {
        "sentence": suggestion.sentence,
        "rule": suggestion.rule,
        "replaces": suggestion.replaces,
        "obstacle": suggestion.obstacle,
    }
