"""Answer "may it, and why?" about a call that is imagined, or about a decision that is on record. Nothing is recorded.

imagined ─▶ described by the fleet ─▶ refused before any rule, or the rules in force ─▶ their limits, as they stand
recorded ─▶ the rules of its own version, at its own moment, on what it touched then; and beside it the same call now
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, cast

from toolgate.digests import dump_arguments
from toolgate.editing.drafts import find_open_draft, put_rule
from toolgate.editing.versions import read_rules
from toolgate.engine import CompiledPolicy, compile_policy, deny
from toolgate.exceptions import GateError, NothingToSuggest, VersionMissing
from toolgate.explaining.explanation import Explanation, explain
from toolgate.explaining.narrowest import Suggestion, suggest
from toolgate.explaining.raising import LimitState, suggest_raise, weigh_limits
from toolgate.fleet import Described, SkillFacts, get_fleet
from toolgate.in_force import policy_in_force
from toolgate.models import Approval, DecisionRecord, PolicyDraft
from toolgate.normal import NotNormal, is_plain_id, normalise_resource
from toolgate.policy import Policy, read_policy
from toolgate.records import restore_resource
from toolgate.types import Action, Call, Decision, Effect, Principal, Reason, Request, Resource
from toolgate.usage import peek_limits

_STATUSES: Final = {
    Reason.AGENT_UNKNOWN: "unknown",
    Reason.AGENT_DISABLED: "disabled",
    Reason.AGENT_QUARANTINED: "quarantined",
}
_BEFORE_RULES: Final = {*_STATUSES, Reason.SKILL_UNKNOWN, Reason.SKILL_QUARANTINED}
# What the rules do not decide: people and counters do, after them.
LATER: Final = frozenset(
    {
        Reason.APPROVED,
        Reason.APPROVAL_REJECTED,
        Reason.APPROVAL_EXPIRED,
        Reason.APPROVAL_MISMATCH,
        Reason.CALL_CEILING,
        Reason.RATE_LIMITED,
        Reason.BUDGET_EXHAUSTED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A call that is asked about; `task_id` is whose counters are looked at, empty for a task that has made none."""

    agent_id: str
    skill_id: str
    arguments: Mapping[str, Any]
    tainted: bool = False
    task_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What would come of a call now: the rules' decision, their limits as they stand, and a way to let it pass."""

    question: Question
    request: Request
    arguments: Mapping[str, Any]  # after defaults: exactly what would run
    why: Explanation
    refusal: str  # why no rule was asked, empty if they were
    limits: tuple[LimitState, ...]
    effect: Effect
    reason: Reason
    detail: str
    suggestion: Suggestion | None

    @property
    def asked_rules(self) -> bool:
        """Say whether rules were asked: what none of them decided is refused because none covers it."""
        return not self.refusal and self.reason not in _BEFORE_RULES


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A decision on record: what its rules make of it once more, and what the rules in force make of the call."""

    record: DecisionRecord
    then: Explanation | None  # None: it was refused before any rule, or cannot be made again
    gap: str  # why `then` is missing, or why it differs from what was decided
    now: Answer

    @property
    def asked_rules(self) -> bool:
        """Say whether rules were asked, then."""
        return not self.gap and self.record.reason not in _BEFORE_RULES

    @property
    def differs(self) -> bool:
        """Say whether the call would be answered otherwise now."""
        return self.record.effect != self.now.effect


# --- an imagined call -------------------------------------------------------------------------------------------
def answer_call(question: Question, *, now: datetime) -> Answer:
    """Return what the rules in force make of a call, and why."""
    return _answer(question, _describe(question), policy_in_force(), now=now)


def _describe(question: Question) -> Described:
    """Return the call as the gate would judge it; what is no id is unknown, as at the gate."""
    is_agent, is_skill = is_plain_id(question.agent_id), is_plain_id(question.skill_id)
    if is_agent and is_skill:
        return get_fleet().describe_call(
            question.agent_id, question.skill_id, question.arguments, tainted=question.tainted
        )
    request = Request(
        principal=Principal(agent_id=question.agent_id, version=0, status="enabled" if is_agent else "unknown"),
        action=Action(skill_id=question.skill_id, version="", known=is_skill),
        resource=Resource(),
        tainted=question.tainted,
    )
    return Described(request=request, arguments=question.arguments)


def _answer(question: Question, described: Described, policy: CompiledPolicy, *, now: datetime) -> Answer:
    request, refused = _measure(described)
    why = explain(policy, request, now=now)
    if refused is not None:
        reason, detail = refused
        why = replace(why, decision=deny(policy.version, reason, detail), rules=())
    limits, effect, reason, detail = _look_at_limits(why.decision, question, request, now=now)
    decision = replace(why.decision, effect=effect, reason=reason, detail=detail)
    return Answer(
        question=question,
        request=request,
        arguments=described.arguments,
        why=why,
        refusal=refused[1] if refused else "",
        limits=limits,
        effect=effect,
        reason=reason,
        detail=detail,
        suggestion=_suggest(policy.policy, request, decision, limits, now=now),
    )


def _measure(described: Described) -> tuple[Request, tuple[Reason, str] | None]:
    """Return the request in the form that rules judge, and why they cannot, if so."""
    request = described.request
    if described.refusal is not None:
        return request, described.refusal
    try:
        size = len(dump_arguments(described.arguments))
        resource = normalise_resource(replace(request.resource, argument_bytes=size))
    except NotNormal as error:
        return request, (error.reason, error.detail)
    except TypeError:
        return request, (Reason.INPUT_INVALID, "the arguments cannot be written down as JSON")
    return replace(request, resource=resource), None


def _look_at_limits(
    decision: Decision, question: Question, request: Request, *, now: datetime
) -> tuple[tuple[LimitState, ...], Effect, Reason, str]:
    if decision.effect is Effect.DENY:
        return (), decision.effect, decision.reason, decision.detail
    call = Call(
        request=request,
        arguments=question.arguments,
        task_id=question.task_id,
        trace_id="",
        submitted_by="",
        now=now,
    )
    counters = peek_limits(decision.limits, call)
    limits = weigh_limits(decision.limits, counters, size=request.resource.argument_bytes)
    full = next((state for state in limits if state.refuses), None)
    if full is None:
        return limits, decision.effect, decision.reason, decision.detail
    return limits, Effect.DENY, full.reason, f"the rule {full.limit.rule_id} lets no more through: {full.words}"


def _suggest(
    policy: Policy, request: Request, decision: Decision, limits: tuple[LimitState, ...], *, now: datetime
) -> Suggestion | None:
    raised = suggest_raise(policy, limits)
    if raised is not None:
        return raised
    return suggest(policy, request, decision, now=now, skill=_find_skill(request.action.skill_id))


def _find_skill(skill_id: str) -> SkillFacts | None:
    return next((facts for facts in get_fleet().list_skills() if facts.id == skill_id), None)


# --- a decision on record ---------------------------------------------------------------------------------------
def answer_decision(record: DecisionRecord, *, now: datetime) -> Replay:
    """Return what a decision came from, by the rules and at the moment of its own, and what would come of it now."""
    then, gap = _make_again(record)
    return Replay(record=record, then=then, gap=gap, now=answer_call(question_of(record), now=now))


def question_of(record: DecisionRecord) -> Question:
    """Return the call that a decision was about, as it would be made now."""
    arguments = record.arguments if isinstance(record.arguments, dict) else {}
    resource = record.resource if isinstance(record.resource, dict) else {}
    return Question(
        agent_id=record.agent_id,
        skill_id=record.skill_id,
        arguments=arguments,
        tainted=bool(resource.get("tainted", False)),
        task_id=record.task_id,
    )


def find_asking_decision(approval: Approval) -> DecisionRecord | None:
    """Return the last decision that asked for an approval, None if none is on record."""
    asked = DecisionRecord.objects.filter(
        task_id=approval.task_id, agent_id=approval.agent_id, skill_id=approval.skill_id, effect=Effect.ASK
    )
    return asked.filter(policy_version=approval.policy_version).order_by("-at", "-id").first()


def _make_again(record: DecisionRecord) -> tuple[Explanation | None, str]:
    try:
        policy = compile_policy(read_policy(read_rules(record.policy_version)), record.policy_version)
        why = explain(policy, _request_of(record), now=record.at)
    except (GateError, KeyError, TypeError, VersionMissing):
        return None, "What it was made from is not whole any more, so it cannot be made again."
    if why.decision.reason == record.reason:
        return why, ""
    if record.reason in LATER:
        said = f"The rules came to “{why.decision.effect.value}”"
        return why, f"{said}; what came after them decided: {record.detail or record.reason}."
    return None, "It was refused before any rule was asked."


def _request_of(record: DecisionRecord) -> Request:
    """Return the request of a decision: who was refused as such is so again, for the fleet has moved on since."""
    reason, resource = Reason(record.reason), cast("dict[str, Any]", record.resource)
    return Request(
        principal=Principal(
            agent_id=record.agent_id, version=record.agent_version, status=_STATUSES.get(reason, "enabled")
        ),
        action=Action(
            skill_id=record.skill_id,
            version=record.skill_version,
            known=reason is not Reason.SKILL_UNKNOWN,
            quarantined=reason is Reason.SKILL_QUARANTINED,
        ),
        resource=restore_resource(resource),
        tainted=resource.get("tainted", False),
    )


# --- into a draft -----------------------------------------------------------------------------------------------
def draft_suggestion(question: Question, author: str, *, now: datetime) -> PolicyDraft:
    """Put the narrowest rule that lets a call pass into the author's draft, and return the draft.

    It is worked out anew, on the draft as it is. Raises: NothingToSuggest; what `put_rule` raises.
    """
    draft = find_open_draft(author)
    policy = compile_policy(read_policy(draft.rules), draft.base_version) if draft else policy_in_force()
    suggestion = _answer(question, _describe(question), policy, now=now).suggestion
    if suggestion is None or suggestion.rule is None:
        raise NothingToSuggest(suggestion.obstacle if suggestion else "")
    return put_rule(author, suggestion.rule, replaces=suggestion.replaces, now=now)
