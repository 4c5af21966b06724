"""What happens above when something was decided below: an answered approval moves its parked task."""

from datetime import datetime
from typing import Any

from django.db import transaction

from agents import metrics, registry
from agents.endings import end_waiting
from agents.models import Task
from agents.orders import TaskError
from agents.queue import requeue, task_event
from agents.states import TaskState
from audit.events import EventType
from audit.ledger import record
from toolgate.approvals import CALL, REVIEW, STEP_UNKNOWN
from toolgate.models import Approval, ApprovalState

_REFUSALS = {
    ApprovalState.REFUSED: ("approval_rejected", "{who} refused {what}{note}."),
    ApprovalState.EXPIRED: ("approval_expired", "Nobody decided in time about {what}. Retry to ask again."),
}
_ASKED_ABOUT = {STEP_UNKNOWN: "a second run of this call", REVIEW: "the report"}


def move_parked_task(sender: object, *, approval: Approval, now: datetime, **_: Any) -> None:
    """Resume or end the task that waits for `approval`; inside the decision's transaction."""
    task = Task.objects.select_for_update().filter(id=approval.task_id, state=TaskState.AWAITING_APPROVAL).first()
    if task is None:
        return
    actor = f"user:{approval.decided_by}" if approval.decided_by else "system"
    if approval.state in _REFUSALS and not _is_told_to_model(approval, task):
        code, text = _REFUSALS[ApprovalState(approval.state)]
        note = f": {approval.note}" if approval.note else ""
        what = _ASKED_ABOUT.get(approval.kind, "this call")
        message = text.format(who=approval.decided_by, what=what, note=note)
        if end_waiting(task, TaskError(code=code, message=message), now=now, actor=actor):
            agent = task.agent_id if registry.find_agent(task.agent_id) else metrics.UNKNOWN
            transaction.on_commit(lambda: metrics.count_failure(agent, code))
        return
    event = task_event(EventType.TASK_RESUMED, task, actor=actor, now=now)
    if requeue(task, event, now=now, renew_deadline=True):  # people may take longer than a rate may be waited for
        record(event)


def _is_told_to_model(approval: Approval, task: Task) -> bool:
    """Say whether a refusal ends only one call: an agent's own run goes on, its model told who refused and why."""
    return approval.state == ApprovalState.REFUSED and approval.kind == CALL and not task.skill_id
