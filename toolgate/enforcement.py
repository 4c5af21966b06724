"""The only door to a skill. Read it from top to bottom: it is what the rest of this product stands on.

   authorise(call) ──▶ Verdict ──allow──▶ Permit ──commit──▶ invoke(permit, …) ──▶ the skill runs, once

1  bind     the digest of agent, skill, exact arguments and policy version
2  decide   normal form, then the rules of one policy version; whatever fails here denies
3  ask      a rule that asks lets through what a person has approved: this very call, once, in time
4  spend    ceilings and rates, all or none
5  record   the decision with all it was made from, and its event in the ledger, in the caller's transaction
6  permit   good for one run of this skill with these arguments, and only once that transaction has committed
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any, Never

from django.db import connection, transaction

from audit.ids import new_id
from toolgate import metrics
from toolgate.approvals import find_answer, use_approval
from toolgate.digests import bind_digest, digest_arguments, digest_call, dump_arguments
from toolgate.engine import CompiledPolicy, decide, deny
from toolgate.exceptions import PermitViolation
from toolgate.in_force import policy_in_force
from toolgate.normal import NotNormal, is_plain_id, normalise_resource
from toolgate.records import record_decision, recordable_id
from toolgate.types import Call, Decision, Effect, Reason, Request, Resource
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
    four_eyes: bool = True
    permit: Permit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    arguments: bytes
    arguments_digest: str
    digest: str
    is_whole: bool  # False: the arguments have no JSON form, and null stands in their place


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
    policy = policy_in_force()
    bound = _bind(call, policy.version)
    decision = _decide(call, policy) if bound.is_whole else _deny_unwritable(policy)
    return _conclude(call, bound, decision, _settle(call, bound, decision))


def refuse(call: Call, *, reason: Reason, detail: str) -> Verdict:
    """Record that `call` is refused before any rule sees it: its input is invalid, or a path leads outside."""
    _require_transaction()
    decision = deny(policy_in_force().version, reason, detail)
    return _conclude(call, _bind(call, decision.policy_version), decision, _refusal_of(decision))


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("a decision outside a transaction: it is recorded together with what comes of it")


def _bind(call: Call, policy_version: int) -> _Bound:
    try:
        arguments, is_whole = dump_arguments(call.arguments), True
    except TypeError:
        arguments, is_whole = b"null", False
    arguments_digest = sha256(arguments).hexdigest()
    agent_id, skill_id = _ids_of(call)
    digest = bind_digest(agent_id, skill_id, arguments_digest, policy_version)
    return _Bound(arguments=arguments, arguments_digest=arguments_digest, digest=digest, is_whole=is_whole)


def _decide(call: Call, policy: CompiledPolicy) -> Decision:
    try:
        return decide(policy, _normalise(call.request), now=call.now)
    except NotNormal as error:
        return deny(policy.version, error.reason, error.detail)
    except Exception as error:  # the edge of the gate, as in decide()
        return deny(policy.version, Reason.INPUT_INVALID, f"what the call touches is unclear ({type(error).__name__})")


def _normalise(request: Request) -> Request:
    """Return `request` as rules can judge it: what is no id is unknown, hosts and paths are in normal form."""
    principal, action = request.principal, request.action
    if not is_plain_id(principal.agent_id):
        return replace(request, principal=replace(principal, status="unknown"), resource=Resource())
    if not is_plain_id(action.skill_id):
        return replace(request, action=replace(action, known=False), resource=Resource())
    resource = normalise_resource(request.resource)
    return request if resource is request.resource else replace(request, resource=resource)


def _deny_unwritable(policy: CompiledPolicy) -> Decision:
    return deny(policy.version, Reason.INPUT_INVALID, "the arguments cannot be written down as JSON")


# --- ask and spend --------------------------------------------------------------------------------------------
def _settle(call: Call, bound: _Bound, decision: Decision) -> _Outcome:
    """Return what the decision comes to once people and counters had their say."""
    if decision.effect is Effect.DENY:
        return _refusal_of(decision)
    if decision.effect is Effect.ASK:
        return _settle_ask(call, bound, decision)
    spending = spend_limits(decision.limits, call)
    return _over_limit(spending) if spending.refused else _Outcome(effect=Effect.ALLOW, counters=spending.counters)


def _settle_ask(call: Call, bound: _Bound, decision: Decision) -> _Outcome:
    answer = find_answer(call, digest=bound.digest)
    if answer.refused:
        return _Outcome(effect=Effect.DENY, reason=answer.reason, detail=answer.detail)
    with transaction.atomic():
        spending = spend_limits(decision.limits, call)
        if not spending.refused and answer.approval is not None and use_approval(answer.approval, now=call.now):
            return _Outcome(effect=Effect.ALLOW, reason=answer.reason, detail=answer.detail, counters=spending.counters)
        transaction.set_rollback(True)  # nothing runs now, so nothing is spent
    if spending.refused and (answer.approval is not None or spending.reason is Reason.CALL_CEILING):
        return _over_limit(spending)  # nobody is asked about a call that could not run anyway
    reason = Reason.APPROVAL_REQUIRED if answer.approval is not None else answer.reason
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
def _conclude(call: Call, bound: _Bound, decision: Decision, outcome: _Outcome) -> Verdict:
    """Record the decision; what it lets through gets a permit that the commit makes good."""
    decision_id = new_id()
    record_decision(
        decision_id,
        call,
        decision=decision,
        effect=outcome.effect,
        reason=outcome.reason,
        detail=outcome.detail,
        arguments=bound.arguments,
        arguments_digest=bound.arguments_digest,
        counters=outcome.counters,
    )
    permit = None
    if outcome.effect is Effect.ALLOW:
        permit = Permit(_SEAL, call, decision, decision_id=decision_id, arguments_digest=bound.arguments_digest)
    transaction.on_commit(partial(_after_commit, call, outcome, permit))
    return Verdict(
        decision_id=decision_id,
        effect=outcome.effect,
        reason=outcome.reason,
        detail=outcome.detail,
        policy_version=decision.policy_version,
        digest=bound.digest,
        rule_id=decision.approval_rule or (decision.deciding_rules[0] if decision.deciding_rules else ""),
        retry_after_seconds=outcome.retry_after_seconds,
        approval_needed=outcome.effect is Effect.ASK,
        four_eyes=decision.four_eyes,
        permit=permit,
    )


def _after_commit(call: Call, outcome: _Outcome, permit: Permit | None) -> None:
    if permit is not None:
        permit._armed = True
    agent_id, skill_id = _ids_of(call)
    principal, action = call.request.principal, call.request.action
    metrics.count_decision(
        agent_id=metrics.UNKNOWN if principal.status == "unknown" else agent_id,
        skill_id=skill_id if action.known else metrics.UNKNOWN,
        effect=outcome.effect,
        reason=outcome.reason,
    )


def _ids_of(call: Call) -> tuple[str, str]:
    return recordable_id(call.request.principal.agent_id), recordable_id(call.request.action.skill_id)


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
