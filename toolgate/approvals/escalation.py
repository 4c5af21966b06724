"""Escalation: a question that nobody answered within its SLA is told of once, by an event and a count."""

from datetime import datetime
from functools import partial

from django.db import transaction

from audit.context import SYSTEM
from audit.events import EventType
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate import metrics
from toolgate.approvals.states import approval_event
from toolgate.models import Approval, ApprovalState


def escalate_due(now: datetime, *, limit: int = 100) -> list[Approval]:
    """Escalate what waits longer than its SLA, the most overdue first, each once, and return it."""
    due = Approval.objects.filter(state=ApprovalState.PENDING, escalated_at=None, sla_at__lte=now).order_by("sla_at")
    if not due.exists():  # the usual case takes no lock
        return []
    with write_transaction():
        return [one for one in due[:limit] if _escalate(one, now=now)]


def _escalate(approval: Approval, *, now: datetime) -> bool:
    """Mark it, unless another worker has or somebody has answered."""
    waiting = Approval.objects.filter(id=approval.id, state=ApprovalState.PENDING, escalated_at=None)
    if approval.sla_at is None or not waiting.update(escalated_at=now):
        return False
    approval.escalated_at = now
    waited, sla = now - approval.created_at, approval.sla_at - approval.created_at
    seconds = {"waitedSeconds": int(waited.total_seconds()), "slaSeconds": int(sla.total_seconds())}
    record(approval_event(EventType.APPROVAL_ESCALATED, approval, at=now, actor=SYSTEM, **seconds))
    transaction.on_commit(partial(metrics.count_escalation, metrics.OVERDUE))
    return True
