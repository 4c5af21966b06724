"""Questions to people: ask, answer, expire, use. One answer each, bound to one call, used once.

pending ──approve──▶ approved ──the call runs──▶ used
   ├────refuse────▶ refused      │
   ├────time──────▶ expired ◀────┤ too late
   └────the policy or the task moved on──▶ superseded
"""

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate import metrics
from toolgate.digests import digest_arguments, digest_call
from toolgate.exceptions import (
    ApprovalDecided,
    ApprovalError,
    ApprovalLate,
    ApprovalNotFound,
    ApprovalSuperseded,
    OwnRequest,
)
from toolgate.models import Approval, ApprovalState, PolicyVersion
from toolgate.signals import approval_decided
from toolgate.texts import check_text
from toolgate.types import Call, Reason

if TYPE_CHECKING:
    from toolgate.enforcement import Verdict

CALL = "call"
STEP_UNKNOWN = "step_unknown"
REVIEW = "review"  # of an agent's report, before its task counts as done
SYSTEM = "system"
MAX_NOTE_LENGTH = 2000
MAX_LOOKED_AT = 100  # approvals of one task, newest first

_EVENTS = {
    ApprovalState.APPROVED: EventType.APPROVAL_GRANTED,
    ApprovalState.REFUSED: EventType.APPROVAL_REFUSED,
    ApprovalState.EXPIRED: EventType.APPROVAL_EXPIRED,
    ApprovalState.SUPERSEDED: EventType.APPROVAL_SUPERSEDED,
    ApprovalState.USED: EventType.APPROVAL_USED,
}


# --- ask ------------------------------------------------------------------------------------------------------
def open_approval(
    call: Call,
    verdict: "Verdict | None" = None,
    *,
    kind: str = CALL,
    expires_seconds: float | None = None,
    task_type: str = "unknown",
) -> Approval:
    """Ask a person about `call`, or return the question that is open about it already.

    Inside the caller's transaction, beside the parking of the task. `verdict` is the gate's ASK; without one the
    question is whether to repeat a step of unknown outcome (`kind="step_unknown"`), or whether a report holds
    (`kind="review"`, its arguments are the report).
    """
    agent_id, skill_id = call.request.principal.agent_id, call.request.action.skill_id
    version = verdict.policy_version if verdict else current_version()
    digest = digest_call(agent_id, skill_id, call.arguments, version)
    same = Approval.objects.filter(task_id=call.task_id, kind=kind, digest=digest, state=ApprovalState.PENDING).first()
    if same is not None:
        return same
    seconds = settings.APPROVAL_EXPIRY_SECONDS if expires_seconds is None else expires_seconds
    arguments: Any = dict(call.arguments)
    approval = Approval.objects.create(
        id=new_id(),
        kind=kind,
        task_id=call.task_id,
        agent_id=agent_id,
        skill_id=skill_id,
        arguments=arguments,
        digest=digest,
        policy_version=version,
        rule_id=verdict.rule_id if verdict else "",
        submitted_by=call.submitted_by,
        four_eyes=verdict.four_eyes if verdict else True,
        created_at=call.now,
        expires_at=call.now + timedelta(seconds=seconds),
    )
    record(_event(EventType.APPROVAL_ASKED, approval, at=call.now, actor=f"agent:{agent_id}"))
    transaction.on_commit(partial(metrics.count_question, agent_id, task_type))
    return approval


# --- answer ---------------------------------------------------------------------------------------------------
def decide_approval(approval_id: str, *, approve: bool, user: str, note: str = "", now: datetime) -> Approval:
    """Give a person's answer; the parked task moves in the same transaction, by the signal `approval_decided`.

    Raises: ApprovalNotFound; ApprovalDecided (it has an answer); OwnRequest (four eyes); TextInvalid (the note);
    ApprovalLate, ApprovalSuperseded: not kept as an answer, but the approval is closed and the task told.
    """
    note = check_text(note, name="note", limit=MAX_NOTE_LENGTH)
    with write_transaction():
        outcome = _answer(approval_id, approve=approve, user=user, note=note, now=now)
    if isinstance(outcome, ApprovalError):  # raised out here, so that what was closed stays closed
        raise outcome
    return outcome


def _answer(approval_id: str, *, approve: bool, user: str, note: str, now: datetime) -> Approval | ApprovalError:
    approval = Approval.objects.select_for_update().filter(id=approval_id).first()
    if approval is None:
        return ApprovalNotFound(approval_id)
    obstacle = _find_obstacle(approval, approve=approve, user=user, now=now)
    if obstacle is not None:
        return obstacle
    state = ApprovalState.APPROVED if approve else ApprovalState.REFUSED
    if not _close(approval, state, now=now, decided_by=user, note=note):
        approval.refresh_from_db()
        return _refuse_second(approval)
    return approval


def _find_obstacle(approval: Approval, *, approve: bool, user: str, now: datetime) -> ApprovalError | None:
    """Return why this answer cannot be kept, having closed what is out of time or of an older policy."""
    if approval.state != ApprovalState.PENDING:
        return _refuse_second(approval)
    if approval.four_eyes and _same_person(approval.submitted_by, user):
        return OwnRequest()
    if approval.expires_at <= now:
        _close(approval, ApprovalState.EXPIRED, now=now)
        return ApprovalLate()
    version = current_version()
    if approve and approval.kind == CALL and approval.policy_version != version:
        _close(approval, ApprovalState.SUPERSEDED, now=now)
        return ApprovalSuperseded(asked_version=approval.policy_version, current_version=version)
    return None


def _refuse_second(approval: Approval) -> ApprovalError:
    if approval.state == ApprovalState.EXPIRED:
        return ApprovalLate()
    return ApprovalDecided(state=approval.state, decided_by=approval.decided_by)


def _same_person(one: str, other: str) -> bool:
    # Stricter than user names are: names that a reader would take for the same must not pass as two people.
    return _fold(one) == _fold(other)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name.removeprefix("user:")).casefold()


# --- close ----------------------------------------------------------------------------------------------------
def expire_due(now: datetime, *, limit: int = 100) -> list[Approval]:
    """Close the approvals that nobody answered in time, the oldest first, and return them."""
    due = Approval.objects.filter(state=ApprovalState.PENDING, expires_at__lte=now).order_by("expires_at")
    if not due.exists():  # the usual case takes no lock
        return []
    with write_transaction():
        return [one for one in due.select_for_update()[:limit] if _close(one, ApprovalState.EXPIRED, now=now)]


def lock_approvals(task_id: str) -> None:
    """Lock the open approvals of a task, before its own row is locked: an answer takes the two in that order too."""
    open_states = (ApprovalState.PENDING, ApprovalState.APPROVED)
    list(Approval.objects.select_for_update().filter(task_id=task_id, state__in=open_states).order_by("id"))


def supersede_approvals(task_id: str, *, now: datetime) -> int:
    """Close what is open or unused about a task that is over or cancelled; no signal, for nothing waits for it."""
    open_states = (ApprovalState.PENDING, ApprovalState.APPROVED)
    approvals = Approval.objects.select_for_update().filter(task_id=task_id, state__in=open_states)
    return sum(_move(approval, ApprovalState.SUPERSEDED, now=now) for approval in approvals)


def _close(approval: Approval, state: ApprovalState, *, now: datetime, decided_by: str = "", note: str = "") -> bool:
    """Move a pending approval, tell the receivers inside this transaction; False if another was first."""
    if not _move(approval, state, now=now, decided_by=decided_by, decided_at=now, note=note):
        return False
    seconds = (now - approval.created_at).total_seconds()
    transaction.on_commit(partial(metrics.observe_answer, state.value, seconds))
    approval_decided.send(sender=Approval, approval=approval, now=now)
    return True


def _move(approval: Approval, state: ApprovalState, *, now: datetime, **columns: Any) -> bool:
    """Change the state if it still is what it was read as, with its event; False if another was first."""
    if not Approval.objects.filter(id=approval.id, state=approval.state).update(state=state, **columns):
        return False
    for name, value in {"state": state.value, **columns}.items():
        setattr(approval, name, value)
    actor = f"user:{approval.decided_by}" if columns.get("decided_by") else SYSTEM
    record(_event(_EVENTS[state], approval, at=now, actor=actor))
    return True


# --- use ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What people have said so far to one call: it may run on `approval`, it is `refused`, or it is to be asked."""

    approval: Approval | None = None
    refused: bool = False
    reason: Reason = Reason.APPROVAL_REQUIRED
    detail: str = ""


def find_answer(call: Call, *, digest: str) -> Answer:
    """Return what people have said to exactly this call of this task, under exactly this policy.

    Closes on the way what can never be used any more.
    """
    arguments_digest = digest_arguments(call.arguments)
    mismatch = Answer()
    for approval in _approvals_of(call):
        same_arguments = digest_arguments(approval.arguments) == arguments_digest
        if approval.state == ApprovalState.APPROVED and approval.digest == digest:
            return _read_approved(approval, now=call.now)
        if approval.state == ApprovalState.APPROVED and approval.expires_at > call.now:
            mismatch = _read_other(approval, same_arguments=same_arguments, now=call.now)
        elif same_arguments and approval.kind == CALL:
            answer = _read_closed(approval, now=call.now)
            if answer is not None:
                return answer
    return mismatch


def use_approval(approval: Approval, *, now: datetime) -> bool:
    """Use an approved approval up; False if it was used, closed or has run out meanwhile."""
    return approval.expires_at > now and _move(approval, ApprovalState.USED, now=now, used_at=now)


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


def current_version() -> int:
    """Return the number of the policy in force, read in this transaction; 0 if none was published."""
    return PolicyVersion.objects.aggregate(number=Max("number"))["number"] or 0


def _approvals_of(call: Call) -> list[Approval]:
    request = call.request
    mine = Approval.objects.filter(
        task_id=call.task_id, agent_id=request.principal.agent_id, skill_id=request.action.skill_id
    )
    return list(mine.order_by("-created_at", "-id")[:MAX_LOOKED_AT])


def _read_approved(approval: Approval, *, now: datetime) -> Answer:
    if approval.expires_at > now:
        return Answer(approval=approval, reason=Reason.APPROVED, detail=f"approved by {approval.decided_by}")
    _move(approval, ApprovalState.EXPIRED, now=now, used_at=now)
    return _late()


def _read_other(approval: Approval, *, same_arguments: bool, now: datetime) -> Answer:
    """An approval of another call: other arguments, or another policy, under which it can never be used."""
    if not same_arguments:
        return Answer(reason=Reason.APPROVAL_MISMATCH, detail="what was approved had other arguments")
    _move(approval, ApprovalState.SUPERSEDED, now=now)
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


def _event(type_: EventType, approval: Approval, *, at: datetime, actor: str) -> Event:
    body = {
        "approvalId": approval.id,
        "kind": approval.kind,
        "digest": approval.digest,
        "policyVersion": approval.policy_version,
        "ruleId": approval.rule_id,
        "submittedBy": approval.submitted_by,
        "expiresAt": approval.expires_at.isoformat(),
        "note": approval.note,
    }
    return Event(
        type=type_,
        at=at,
        actor=actor,
        task_id=approval.task_id,
        agent_id=approval.agent_id,
        skill_id=approval.skill_id,
        body=body,
    )
