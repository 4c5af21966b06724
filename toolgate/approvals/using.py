"""Use what people have answered: the very call that was approved, once, in time, under the same policy.

A task makes its call with the arguments it has; if a person changed them, the call is known by what was *asked*,
and what runs is what was approved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from toolgate.approvals.grants import describe_leave, find_leave, use_leave
from toolgate.approvals.states import CALL, move
from toolgate.approvals.terms import describe_voters
from toolgate.approvals.votes import list_votes
from toolgate.digests import digest_arguments
from toolgate.models import Approval, ApprovalState, Grant
from toolgate.types import Call, Decision, Reason, Terms

MAX_LOOKED_AT = 100  # approvals of one task, newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What people have said so far to one call: it may run on an approval or a grant, is refused, or is to be asked."""

    approval: Approval | None = None
    grant: Grant | None = None
    refused: bool = False
    reason: Reason = Reason.APPROVAL_REQUIRED
    detail: str = ""

    @property
    def lets_through(self) -> bool:
        """Say whether the call may run."""
        return self.approval is not None or self.grant is not None

    def use(self, *, now: datetime) -> bool:
        """Use the approval up, or count a use of the grant; False if there is none, or no longer."""
        if self.approval is not None:
            return use_approval(self.approval, now=now)
        return self.grant is not None and use_leave(self.grant, now=now)


def find_answer(call: Call, decision: Decision, *, digest: str) -> Answer:
    """Return what people have said to exactly this call, which `decision` asks about under exactly this policy.

    Closes on the way what can never be used any more.
    """
    answer = _find_own_answer(call, decision, digest=digest)
    if answer.refused or answer.lets_through:
        return answer
    grant = find_leave(call, decision)
    return answer if grant is None else Answer(grant=grant, reason=Reason.APPROVED, detail=describe_leave(grant))


def _find_own_answer(call: Call, decision: Decision, *, digest: str) -> Answer:
    arguments_digest = digest_arguments(call.arguments)
    mismatch = Answer()
    for approval in _approvals_of(call):
        is_about = arguments_digest in _list_digests(approval)
        is_late = approval.expires_at <= call.now
        if approval.state == ApprovalState.APPROVED and (approval.digest == digest or (is_about and is_late)):
            answer = _read_approved(approval, decision.terms, now=call.now)
            if answer.refused or answer.lets_through:
                return answer
            mismatch = answer
        elif approval.state == ApprovalState.APPROVED and not is_late:
            mismatch = _read_other(approval, is_about=is_about, now=call.now)
        elif is_about and approval.kind == CALL:
            closed = _read_closed(approval, now=call.now)
            if closed is not None:
                return closed
    return mismatch


def use_approval(approval: Approval, *, now: datetime) -> bool:
    """Use an approved approval up; False if it was used, closed or has run out meanwhile."""
    is_open = approval.state == ApprovalState.APPROVED and approval.expires_at > now
    return is_open and move(approval, ApprovalState.USED, now=now, used_at=now)


def find_edit(call: Call, *, repeated: bool = False) -> Mapping[str, Any] | None:
    """Return the arguments with which a person approved this call, if they changed them.

    `repeated`: the call may have run already, and what would be repeated is what a person made of it.
    """
    try:
        digest = digest_arguments(call.arguments)
    except TypeError:  # what JSON cannot hold was never asked about; the gate refuses it
        return None
    for approval in _approvals_of(call):
        if approval.asked_arguments is None or digest_arguments(approval.asked_arguments) != digest:
            continue
        granted = approval.state == ApprovalState.APPROVED and approval.expires_at > call.now
        if granted or (repeated and approval.state == ApprovalState.USED):
            arguments: Mapping[str, Any] = approval.arguments
            return arguments
    return None


def find_granted(call: Call) -> Approval | None:
    """Return an unused approval, in time, of this call: also one to repeat a step, under an older policy."""
    arguments_digest = digest_arguments(call.arguments)
    for approval in _approvals_of(call):
        granted = approval.state == ApprovalState.APPROVED and approval.expires_at > call.now
        if granted and digest_arguments(approval.arguments) == arguments_digest:
            return approval
    return None


def use_granted(call: Call) -> bool:
    """Use up the leave to repeat a step, unless the gate has already: one leave is for one repetition."""
    granted = find_granted(call)
    return granted is not None and use_approval(granted, now=call.now)


def _approvals_of(call: Call) -> list[Approval]:
    request = call.request
    mine = Approval.objects.filter(
        task_id=call.task_id, agent_id=request.principal.agent_id, skill_id=request.action.skill_id
    )
    return list(mine.order_by("-created_at", "-id")[:MAX_LOOKED_AT])


def _list_digests(approval: Approval) -> set[str]:
    """Return what the question was about: the arguments as asked, and as a person changed them."""
    asked = approval.asked_arguments
    digests = {digest_arguments(approval.arguments)}
    return digests if asked is None else digests | {digest_arguments(asked)}


# --- what each of them says -----------------------------------------------------------------------------------
def _read_approved(approval: Approval, asking: Iterable[Terms], *, now: datetime) -> Answer:
    if approval.expires_at <= now:
        move(approval, ApprovalState.EXPIRED, now=now, used_at=now)
        return _late()
    unasked = _find_unasked(approval, asking)
    if unasked is None:
        voters = [vote.user for vote in list_votes(approval)] or [approval.decided_by]
        return Answer(approval=approval, reason=Reason.APPROVED, detail=f"approved by {describe_voters(voters)}")
    if approval.kind == CALL:
        move(approval, ApprovalState.SUPERSEDED, now=now)
    detail = f"what was approved does not answer the rule {unasked.rule_id}, which asks by now"
    return Answer(reason=Reason.APPROVAL_MISMATCH, detail=detail)


def _find_unasked(approval: Approval, asking: Iterable[Terms]) -> Terms | None:
    """Return the first rule that this approval does not answer; leave to repeat a step answers only plain terms."""
    if approval.kind == CALL:
        asked = {one["ruleId"] for one in approval.terms} or {approval.rule_id}
        return next((one for one in asking if one.rule_id not in asked), None)
    return next((one for one in asking if one.quorum > 1 or one.approvers is not None), None)


def _read_other(approval: Approval, *, is_about: bool, now: datetime) -> Answer:
    """An approval of another call: other arguments, or another policy, under which it can never be used."""
    if not is_about:
        return Answer(reason=Reason.APPROVAL_MISMATCH, detail="what was approved had other arguments")
    move(approval, ApprovalState.SUPERSEDED, now=now)
    detail = f"it was approved under policy version {approval.policy_version}, which is no longer in force"
    return Answer(reason=Reason.APPROVAL_MISMATCH, detail=detail)


def _read_closed(approval: Approval, *, now: datetime) -> Answer | None:
    if approval.state == ApprovalState.REFUSED:
        note = f": {approval.note}" if approval.note else ""
        detail = f"{approval.decided_by} refused this call{note}"
        return Answer(refused=True, reason=Reason.APPROVAL_REJECTED, detail=detail)
    if approval.state == ApprovalState.EXPIRED and approval.used_at is None:
        Approval.objects.filter(id=approval.id).update(used_at=now)  # told once: a retry asks again
        return _late()
    return None


def _late() -> Answer:
    return Answer(refused=True, reason=Reason.APPROVAL_EXPIRED, detail="the approval ran out before the call was made")
