"""A report that a person has to read before its task counts as done."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agents import registry, steps
from agents.endings import finish
from agents.models import Step, StepState
from agents.orders import Failed, Lease, Parked
from agents.queue import run_event
from agents.switches.heeding import heed_switches
from audit import bodies
from audit.events import EventType
from audit.ledger import record
from toolgate import approvals
from toolgate.digests import digest_arguments
from toolgate.models import Approval, ApprovalState
from toolgate.types import Action, Call, Principal, Request, Resource

_REFUSED = "A person refused this report{note}. Mend it."

REPORT = "report"  # stands where an approval names a skill


def pass_review(lease: Lease, output: Mapping[str, Any], *, now: datetime) -> bool:
    """Say whether a person has approved exactly this report; if not, park the task and ask.

    In the caller's transaction. A lost lease passes nothing.
    """
    if steps.find_held(lease) is None:
        return False
    if isinstance(stopped := heed_switches(lease), Failed):
        finish(lease, stopped, now=now)
        return False
    principal = Principal(
        agent_id=lease.agent_id, version=lease.agent_version, status=registry.status_of(lease.agent_id)
    )
    call = Call(
        request=Request(
            principal=principal, action=Action(skill_id=REPORT, version="", known=False), resource=Resource()
        ),
        arguments=output,
        task_id=lease.task_id,
        trace_id=lease.trace_id,
        cause_id=lease.event_id,
        submitted_by=lease.submitted_by,
        now=now,
    )
    if approvals.use_granted(call):
        return True
    approval = approvals.open_approval(call, kind=approvals.REVIEW, task_type=lease.task_type)
    finish(lease, Parked(approval_id=approval.id, reason="review_required"), now=now)
    return False


def reopen_refused(lease: Lease, *, now: datetime) -> None:
    """Send a report that a person refused back to the model with their note, when the task is retried."""
    last = Step.objects.filter(task_id=lease.task_id, kind="model", state=StepState.DONE).order_by("-fence", "-ordinal")
    step = last.first()
    if step is None or not step.output.get("answer"):
        return
    digest = digest_arguments(step.output["answer"])
    reviews = Approval.objects.filter(task_id=lease.task_id, kind=approvals.REVIEW).order_by("-created_at", "-id")
    newest = next((one for one in reviews if digest_arguments(one.arguments) == digest), None)
    if newest is None or newest.state != ApprovalState.REFUSED:
        return
    problem = _REFUSED.format(note=f": {newest.note}" if newest.note else "")
    Step.objects.filter(id=step.id).update(output={**step.output, "answer": None, "problems": [problem]})
    body = bodies.OutputRejected(stepId=step.id, problems=[problem])
    record(run_event(EventType.OUTPUT_REJECTED, lease, now=now, reason="review_refused", body=body, cause_id=newest.id))
