"""What the gate counts. Labels come from closed sets; a counter moves only when its change has committed."""

from collections.abc import Mapping

from django.conf import settings
from django.db import transaction
from prometheus_client import Counter, Gauge, Histogram

from toolgate.types import Effect, Reason

UNKNOWN = "unknown"

ALLOWED = Counter("skill_access_allowed_total", "Skill calls that the gate let through.", ["skill", "agent"])
DENIED = Counter("skill_access_denied_total", "Skill calls that the gate refused.", ["skill", "agent", "reason"])
ESCALATIONS = Counter("permission_escalation_requests_total", "Calls that a person was asked about.", ["agent"])
QUESTIONS = Counter("task_approval_requests_total", "Approvals that were asked for.", ["task_type"])
AUTO_ESCALATIONS = Counter(
    "approval_auto_escalated_total", "Approvals that waited longer than they should.", ["escalation_reason"]
)
PENDING = Gauge("pending_approvals_count", "Approvals that wait for a person.", multiprocess_mode="mostrecent")
PERMISSIONS = Gauge(
    "active_permissions_granted", "Skills that the policy lets an agent use.", ["agent"], multiprocess_mode="mostrecent"
)
RESPONSE_SECONDS = Histogram(
    "approval_response_time_seconds",
    "From the question to its answer.",
    ["approval_result"],
    buckets=(5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 14_400, 43_200, 86_400),
)

SLA = Gauge(
    "approval_sla_seconds",
    "How soon an answer should come, unless a rule says otherwise",
    multiprocess_mode="mostrecent",
)

ANSWERS = ("approved", "refused", "expired", "superseded")
OVERDUE = "sla"

for _answer in ANSWERS:  # a series that is there from the start lets an alert see its first increase
    RESPONSE_SECONDS.labels(approval_result=_answer)
AUTO_ESCALATIONS.labels(escalation_reason=OVERDUE)


def count_decision(*, skill_id: str, agent_id: str, effect: Effect, reason: Reason) -> None:
    """Count a decision; unknown ids are handed in as "unknown". An ASK counts when it is asked."""
    if effect is Effect.ALLOW:
        ALLOWED.labels(skill=skill_id, agent=agent_id).inc()
    elif effect is Effect.DENY:
        DENIED.labels(skill=skill_id, agent=agent_id, reason=reason.value).inc()


def count_question(agent_id: str, task_type: str) -> None:
    """Count, after commit, that a person was asked."""
    transaction.on_commit(lambda: ESCALATIONS.labels(agent=agent_id).inc())
    transaction.on_commit(lambda: QUESTIONS.labels(task_type=task_type).inc())


def count_escalation(reason: str) -> None:
    """Count, after commit, an approval that was escalated; `reason` is OVERDUE."""
    transaction.on_commit(lambda: AUTO_ESCALATIONS.labels(escalation_reason=reason).inc())


def observe_answer(result: str, seconds: float) -> None:
    """Note, after commit, how long a question waited for `result`: one of ANSWERS."""
    transaction.on_commit(lambda: RESPONSE_SECONDS.labels(approval_result=result).observe(max(seconds, 0.0)))


def set_gauges(*, pending: int, permissions: Mapping[str, int]) -> None:
    """Set what is read from the store: waiting approvals, and usable skills by agent."""
    PENDING.set(pending)
    SLA.set(settings.APPROVAL_SLA_SECONDS)
    for agent_id, count in permissions.items():
        PERMISSIONS.labels(agent=agent_id).set(count)
