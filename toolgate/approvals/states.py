"""The states of a question, and the only moves between them. Each is one conditional update with its event.

pending ──a quorum approves──▶ approved ──the call runs──▶ used
   ├────one refuses────▶ refused      │
   ├────time───────────▶ expired ◀────┤ too late
   └────the policy or the task moved on──▶ superseded
"""

from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Max

from audit.context import SYSTEM, caused_by
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate import metrics
from toolgate.approvals.grants import revoke_grants_of
from toolgate.models import Approval, ApprovalState, PolicyVersion
from toolgate.signals import approval_decided

CALL = "call"
STEP_UNKNOWN = "step_unknown"
REVIEW = "review"  # of an agent's report, before its task counts as done
OPEN_STATES = (ApprovalState.PENDING, ApprovalState.APPROVED)

_EVENTS = {
    ApprovalState.APPROVED: EventType.APPROVAL_GRANTED,
    ApprovalState.REFUSED: EventType.APPROVAL_REFUSED,
    ApprovalState.EXPIRED: EventType.APPROVAL_EXPIRED,
    ApprovalState.SUPERSEDED: EventType.APPROVAL_SUPERSEDED,
    ApprovalState.USED: EventType.APPROVAL_USED,
}


def close(
    approval: Approval, state: ApprovalState, *, now: datetime, decided_by: str = "", note: str = "", **columns: Any
) -> bool:
    """Move a pending approval, tell the receivers inside this transaction; False if another was first."""
    event = _move(approval, state, now=now, decided_by=decided_by, decided_at=now, note=note, **columns)
    if event is None:
        return False
    seconds = (now - approval.created_at).total_seconds()
    transaction.on_commit(partial(metrics.observe_answer, state.value, seconds))
    with caused_by(event.id):
        approval_decided.send(sender=Approval, approval=approval, now=now)
    return True


def move(approval: Approval, state: ApprovalState, *, now: datetime, **columns: Any) -> bool:
    """Change the state if it still is what it was read as, with its event; False if another was first."""
    return _move(approval, state, now=now, **columns) is not None


def _move(approval: Approval, state: ApprovalState, *, now: datetime, **columns: Any) -> Event | None:
    if not Approval.objects.filter(id=approval.id, state=approval.state).update(state=state, **columns):
        return None
    for name, value in {"state": state.value, **columns}.items():
        setattr(approval, name, value)
    actor = f"user:{approval.decided_by}" if columns.get("decided_by") else SYSTEM
    event = approval_event(_EVENTS[state], approval, at=now, actor=actor)
    record(event)
    return event


def expire_due(now: datetime, *, limit: int = 100) -> list[Approval]:
    """Close the approvals that nobody answered in time, the oldest first, and return them."""
    due = Approval.objects.filter(state=ApprovalState.PENDING, expires_at__lte=now).order_by("expires_at")
    if not due.exists():  # the usual case takes no lock
        return []
    with write_transaction():
        return [one for one in due.select_for_update()[:limit] if close(one, ApprovalState.EXPIRED, now=now)]


def lock_approvals(task_id: str) -> None:
    """Lock the open approvals of a task, before its own row is locked: an answer takes the two in that order too."""
    list(Approval.objects.select_for_update().filter(task_id=task_id, state__in=OPEN_STATES).order_by("id"))


def supersede_approvals(task_id: str, *, now: datetime) -> int:
    """Close what is open or unused about a task that is over or cancelled; no signal, for nothing waits for it.

    Leave that was given for the whole task ends too. Returns how many approvals were closed.
    """
    approvals = Approval.objects.select_for_update().filter(task_id=task_id, state__in=OPEN_STATES)
    revoke_grants_of(task_id, now=now)
    return sum(move(approval, ApprovalState.SUPERSEDED, now=now) for approval in approvals)


def current_version() -> int:
    """Return the number of the policy in force, read in this transaction; 0 if none was published."""
    return PolicyVersion.objects.aggregate(number=Max("number"))["number"] or 0


def approval_event(type_: EventType, approval: Approval, *, at: datetime, actor: str, **more: Any) -> Event:
    """Return an event about `approval`, led to by its question; `more` are further members of its body."""
    body = {
        "approvalId": approval.id,
        "kind": approval.kind,
        "digest": approval.digest,
        "policyVersion": approval.policy_version,
        "ruleId": approval.rule_id,
        "submittedBy": approval.submitted_by,
        "expiresAt": approval.expires_at.isoformat(),
        "note": approval.note,
        **more,
    }
    return Event(
        type=type_,
        at=at,
        actor=actor,
        task_id=approval.task_id,
        agent_id=approval.agent_id,
        skill_id=approval.skill_id,
        trace_id=approval.trace_id,
        cause_id=approval.id,
        body=body,
    )
