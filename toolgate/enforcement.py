"""The only door to a skill. Read it from top to bottom: it is what the rest of this product stands on.

   authorise(call) ──▶ Verdict ──allow──▶ Permit ──commit──▶ invoke(permit, …) ──▶ the skill runs, once

1  bind     the digest of agent, skill, exact arguments and policy version
2  decide   normal form, then the rules of one policy version; whatever fails here denies (1 and 2: `judging`)
3  ask      a rule that asks lets through what people have approved: this very call, once, in time; or what they granted
4  spend    ceilings and rates, all or none
5  record   the decision with all it was made from, and its event in the ledger, in the caller's transaction
6  permit   good for one run of this skill with these arguments, and only once that transaction has committed
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Never

from django.db import connection, transaction

from audit.ids import new_id
from toolgate import metrics
from toolgate.approvals import find_answer
from toolgate.digests import digest_arguments, digest_call
from toolgate.exceptions import PermitViolation
from toolgate.judging import Judged, judge
from toolgate.records import record_decision
from toolgate.replay.shadow import record_flips
from toolgate.types import Call, Decision, Effect, Reason, Resource, Terms
from toolgate.usage import Spending, spend_limits

__all__ = ["Permit", "Verdict", "authorise", "digest_call", "invoke", "refuse"]

_SEAL = object()  # known to this module alone: without it no permit can be made


class Permit:
    """Leave to run one skill once, with the arguments that were decided on. Made by `authorise` alone."""

    __slots__ = (
        "_armed", "_unspent", "agent_id", "arguments", "arguments_digest", "decision_id", "domains",
        "policy_version", "read_scopes", "resource", "skill_id", "task_id", "write_scopes",
    )  # fmt: skip

    def __init__(self, seal: object, call: Call, decision: Decision, *, decision_id: str, arguments_digest: str):
        if seal is not _SEAL:
            raise PermitViolation("A permit is made by authorise() alone. Nothing ran.")
        self._armed = False
        self._unspent = [True]  # list.pop is atomic: of many threads one gets it
        self.agent_id = call.request.principal.agent_id
        self.skill_id = call.request.action.skill_id
        self.task_id = call.task_id
        self.arguments: Mapping[str, Any] = call.arguments
        self.arguments_digest = arguments_digest
        self.resource: Resource = call.request.resource
        self.decision_id = decision_id
        self.policy_version = decision.policy_version
        self.domains = decision.domains
        self.read_scopes = decision.read_scopes
        self.write_scopes = decision.write_scopes

    def __init_subclass__(cls) -> Never:
        raise PermitViolation("Permit cannot be subclassed.")

    def __reduce_ex__(self, protocol: object) -> Never:
        raise PermitViolation("A permit cannot be copied or sent to another process. Nothing ran.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The gate's answer to one call, recorded under `decision_id`."""

    decision_id: str
    effect: Effect
    reason: Reason
    detail: str
    policy_version: int
    digest: str  # what an approval of this call is bound to
    rule_id: str = ""  # the rule that decided, or that asks
    retry_after_seconds: float | None = None  # when refused by a rate
    approval_needed: bool = False
    terms: tuple[Terms, ...] = ()  # of every rule that asks
    permit: Permit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    effect: Effect
    reason: Reason = Reason.ALLOWED
    detail: str = ""
    counters: dict[str, dict[str, Any]] = field(default_factory=dict)
    retry_after_seconds: float | None = None


# --- authorise ------------------------------------------------------------------------------------------------
def authorise(call: Call) -> Verdict:
    """Decide whether `call` may run, spend its limits, and record the decision, inside the caller's transaction.

    Raises: RuntimeError outside a transaction. What the store cannot record does not run.
    """
    _require_transaction()
    judged = judge(call)
    return _conclude(judged, _settle(judged))


def refuse(call: Call, *, reason: Reason, detail: str) -> Verdict:
    """Record that `call` is refused before any rule sees it: its input is invalid, or a path leads outside."""
    _require_transaction()
    judged = judge(call, refusal=(reason, detail))
    return _conclude(judged, _refusal_of(judged.decision))


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("a decision outside a transaction: it is recorded together with what comes of it")


# --- ask and spend --------------------------------------------------------------------------------------------
def _settle(judged: Judged) -> _Outcome:
    """Return what the decision comes to once people and counters had their say."""
    decision = judged.decision
    if decision.effect is Effect.DENY:
        return _refusal_of(decision)
    if decision.effect is Effect.ASK:
        return _settle_ask(judged)
    spending = spend_limits(decision.limits, judged.call)
    return _over_limit(spending) if spending.refused else _Outcome(effect=Effect.ALLOW, counters=spending.counters)


def _settle_ask(judged: Judged) -> _Outcome:
    call, decision = judged.call, judged.decision
    answer = find_answer(call, decision, digest=judged.digest)
    if answer.refused:
        return _Outcome(effect=Effect.DENY, reason=answer.reason, detail=answer.detail)
    with transaction.atomic():
        spending = spend_limits(decision.limits, call)
        if not spending.refused and answer.use(now=call.now):
            return _Outcome(effect=Effect.ALLOW, reason=answer.reason, detail=answer.detail, counters=spending.counters)
        transaction.set_rollback(True)  # nothing runs now, so nothing is spent
    if spending.refused and (answer.lets_through or spending.reason is not Reason.RATE_LIMITED):
        return _over_limit(spending)  # nobody is asked about a call that could not run anyway
    reason = Reason.APPROVAL_REQUIRED if answer.lets_through else answer.reason
    detail = decision.detail if reason is Reason.APPROVAL_REQUIRED else f"{decision.detail}; {answer.detail}"
    return _Outcome(effect=Effect.ASK, reason=reason, detail=detail)


def _refusal_of(decision: Decision) -> _Outcome:
    return _Outcome(effect=Effect.DENY, reason=decision.reason, detail=decision.detail)


def _over_limit(spending: Spending) -> _Outcome:
    return _Outcome(
        effect=Effect.DENY,
        reason=spending.reason,
        detail=spending.detail,
        counters=spending.counters,
        retry_after_seconds=spending.retry_after_seconds,
    )


# --- record and permit ----------------------------------------------------------------------------------------
def _conclude(judged: Judged, outcome: _Outcome) -> Verdict:
    """Record the decision; what it lets through gets a permit that the commit makes good."""
    call, decision, decision_id = judged.call, judged.decision, new_id()
    record_decision(
        decision_id,
        call,
        decision=decision,
        effect=outcome.effect,
        reason=outcome.reason,
        detail=outcome.detail,
        arguments=judged.arguments,
        arguments_digest=judged.arguments_digest,
        counters=outcome.counters,
    )
    if decision.flips:
        record_flips(decision_id, call, decision, judged.policy)
    permit = None
    if outcome.effect is Effect.ALLOW:
        permit = Permit(_SEAL, call, decision, decision_id=decision_id, arguments_digest=judged.arguments_digest)
    transaction.on_commit(partial(_after_commit, judged, outcome, permit))
    return Verdict(
        decision_id=decision_id,
        effect=outcome.effect,
        reason=outcome.reason,
        detail=outcome.detail,
        policy_version=decision.policy_version,
        digest=judged.digest,
        rule_id=decision.deciding_rules[0] if decision.deciding_rules else "",
        retry_after_seconds=outcome.retry_after_seconds,
        approval_needed=outcome.effect is Effect.ASK,
        terms=decision.terms,
        permit=permit,
    )


def _after_commit(judged: Judged, outcome: _Outcome, permit: Permit | None) -> None:
    if permit is not None:
        permit._armed = True
    principal, action = judged.call.request.principal, judged.call.request.action
    metrics.count_decision(
        agent_id=metrics.UNKNOWN if principal.status == "unknown" else judged.agent_id,
        skill_id=judged.skill_id if action.known else metrics.UNKNOWN,
        effect=outcome.effect,
        reason=outcome.reason,
    )


# --- invoke ---------------------------------------------------------------------------------------------------
def invoke[Context, Output](
    permit: Permit,
    skill_run: Callable[[Any, Context], Output],
    arguments: Any,
    context_factory: Callable[[Permit], Context],
) -> Output:
    """Run a skill on its permit: the one place from which any skill is run.

    `skill_run` is the bound `run` of the permit's skill; `arguments` are those decided on, as a mapping or as the
    skill's input model; `context_factory` makes of the permit what the skill may reach.
    Raises: PermitViolation, nothing having run; and whatever the skill raises.
    """
    _redeem(permit, skill_run, arguments)
    return skill_run(arguments, context_factory(permit))


def _redeem(permit: Permit, skill_run: Callable[..., Any], arguments: Any) -> None:
    if type(permit) is not Permit:
        raise PermitViolation("A skill was called without a permit. Nothing ran.")
    if not getattr(permit, "_armed", False):
        raise PermitViolation("The decision behind this permit was not committed. Nothing ran.")
    if getattr(getattr(skill_run, "__self__", None), "id", None) != permit.skill_id:
        raise PermitViolation(f"The permit is for {permit.skill_id} and no other skill. Nothing ran.")
    if digest_arguments(arguments) != permit.arguments_digest:
        raise PermitViolation("The arguments are not those that were decided on. Nothing ran.")
    try:
        permit._unspent.pop()
    except IndexError:
        raise PermitViolation("A permit is good for one run, and this one has been used. Nothing ran.") from None
