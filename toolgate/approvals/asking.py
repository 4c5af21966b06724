"""Ask people: open the one question about a call, beside the parking of its task."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.ids import new_id
from audit.ledger import record
from toolgate import metrics
from toolgate.approvals.states import CALL, approval_event, current_version
from toolgate.approvals.terms import parse_terms, write_terms
from toolgate.digests import digest_call
from toolgate.models import Approval, ApprovalState
from toolgate.types import Call, Terms

if TYPE_CHECKING:
    from toolgate.enforcement import Verdict


def open_approval(
    call: Call,
    verdict: "Verdict | None" = None,
    *,
    kind: str = CALL,
    asked: Mapping[str, Any] | None = None,
    expires_seconds: float | None = None,
    task_type: str = "unknown",
) -> Approval:
    """Ask people about `call`, or return the question that is open about it already.

    Inside the caller's transaction, beside the parking of the task. `verdict` is the gate's ASK; without one the
    question is whether to repeat a step of unknown outcome (`kind="step_unknown"`), or whether a report holds
    (`kind="review"`, its arguments are the report). `asked` are the arguments that the task itself has, where a
    person changed them before.
    """
    agent_id, skill_id = call.request.principal.agent_id, call.request.action.skill_id
    version = verdict.policy_version if verdict else current_version()
    digest = digest_call(agent_id, skill_id, call.arguments, version)
    same = Approval.objects.filter(task_id=call.task_id, kind=kind, digest=digest, state=ApprovalState.PENDING).first()
    if same is not None:
        return same
    terms = verdict.terms if verdict else ()
    seconds = count_expiry_seconds(terms) if expires_seconds is None else expires_seconds
    arguments: Any = dict(call.arguments)
    approval = Approval.objects.create(
        id=new_id(),
        kind=kind,
        task_id=call.task_id,
        agent_id=agent_id,
        skill_id=skill_id,
        arguments=arguments,
        asked_arguments=None if asked is None else dict(asked),
        digest=digest,
        policy_version=version,
        rule_id=verdict.rule_id if verdict else "",
        terms=write_terms(terms),
        submitted_by=call.submitted_by,
        trace_id=call.trace_id,
        four_eyes=verdict is None or any(one.four_eyes for one in terms),
        created_at=call.now,
        expires_at=call.now + timedelta(seconds=seconds),
        sla_at=call.now + timedelta(seconds=count_sla_seconds(terms)),
    )
    event = approval_event(EventType.APPROVAL_ASKED, approval, at=call.now, actor=f"agent:{agent_id}")
    record(replace(event, id=approval.id, cause_id=verdict.decision_id if verdict else call.cause_id))
    transaction.on_commit(partial(metrics.count_question, agent_id, task_type))
    return approval


def read_terms(approval: Approval) -> tuple[Terms, ...]:
    """Return what an answer has to come to; without a rule that asked it is one person, other than the submitter."""
    if approval.terms:
        return parse_terms(approval.terms)
    return (Terms(rule_id=approval.rule_id, four_eyes=approval.four_eyes),)


def count_expiry_seconds(terms: Iterable[Terms]) -> float:
    """Return how long an answer may take: the shortest that a rule names, else the setting."""
    named = [one.expires_seconds for one in terms if one.expires_seconds is not None]
    return min(named, default=settings.APPROVAL_EXPIRY_SECONDS)


def count_sla_seconds(terms: Iterable[Terms]) -> float:
    """Return how soon an answer should come: the soonest that a rule names, else the setting."""
    named = [one.sla_seconds for one in terms if one.sla_seconds is not None]
    return min(named, default=settings.APPROVAL_SLA_SECONDS)
