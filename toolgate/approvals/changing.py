"""Change the arguments of a call before it is approved: another call, with another digest, under the same rules."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from audit.events import EventType
from audit.ledger import record
from toolgate.approvals.asking import read_terms
from toolgate.approvals.states import approval_event
from toolgate.approvals.terms import write_terms
from toolgate.digests import digest_arguments, digest_call
from toolgate.exceptions import AnswerInvalid
from toolgate.fleet import get_fleet
from toolgate.in_force import forget_policy
from toolgate.judging import judge
from toolgate.models import Approval, DecisionRecord
from toolgate.types import Call, Decision, Effect


def change_arguments(approval: Approval, arguments: Mapping[str, Any], *, user: str, now: datetime) -> None:
    """Put other arguments in the place of those that were asked about, in the caller's transaction.

    They are read as the skill reads them and judged by the policy in force: what it denies cannot be made of it, and
    what further rules ask about needs those rules' approvers too. Earlier votes are for another digest, so void.
    Raises: AnswerInvalid; nothing was changed.
    """
    call = _describe(approval, arguments, now=now)
    digest = _digest(approval, call)
    if digest == approval.digest:
        return
    decision = _judge(call, version=approval.policy_version)
    before = approval.digest
    if approval.asked_arguments is None:
        approval.asked_arguments = approval.arguments
    approval.arguments, approval.digest = dict(call.arguments), digest
    _add_terms(approval, decision)
    approval.save(update_fields=["arguments", "asked_arguments", "digest", "terms", "four_eyes"])
    event = approval_event(EventType.APPROVAL_EDITED, approval, at=now, actor=f"user:{user}", digestBefore=before)
    record(event)


def _describe(approval: Approval, arguments: Mapping[str, Any], *, now: datetime) -> Call:
    tainted = was_tainted(approval) is not False  # the strict answer if it is not on record
    described = get_fleet().describe_call(approval.agent_id, approval.skill_id, arguments, tainted=tainted)
    if described.refusal is not None:
        raise AnswerInvalid(f"These arguments cannot run: {described.refusal[1]}. Nothing was changed.")
    return Call(
        request=described.request,
        arguments=described.arguments,
        task_id=approval.task_id,
        trace_id="",
        submitted_by=approval.submitted_by,
        now=now,
    )


def was_tainted(approval: Approval) -> bool | None:
    """Say whether the task was tainted when the gate asked; None if that is not on record."""
    asked = DecisionRecord.objects.filter(
        task_id=approval.task_id, skill_id=approval.skill_id, effect=Effect.ASK.value, at__lte=approval.created_at
    )
    resource = asked.order_by("-at", "-id").values_list("resource", flat=True).first()
    return None if resource is None else bool(resource["tainted"])


def _digest(approval: Approval, call: Call) -> str:
    try:
        digest_arguments(call.arguments)
    except TypeError:
        raise AnswerInvalid("These arguments cannot be written down as JSON. Nothing was changed.") from None
    return digest_call(approval.agent_id, approval.skill_id, call.arguments, approval.policy_version)


def _judge(call: Call, *, version: int) -> Decision:
    decision = judge(call).decision
    if decision.policy_version != version:  # published elsewhere within this half second
        forget_policy()
        decision = judge(call).decision
    if decision.effect is Effect.DENY:
        raise AnswerInvalid(
            f"With these arguments the policy denies the call: {decision.detail}. Nothing was changed.",
            code=decision.reason.value,
        )
    return decision


def _add_terms(approval: Approval, decision: Decision) -> None:
    """Let every further rule that asks about the changed call have its say; none that asked before loses it."""
    terms = read_terms(approval)
    known = {one.rule_id for one in terms}
    further = [one for one in decision.terms if one.rule_id not in known]
    approval.terms = write_terms([*terms, *further])
    approval.four_eyes = approval.four_eyes or any(one.four_eyes for one in further)
