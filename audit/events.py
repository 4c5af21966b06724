"""The vocabulary of the audit trail. PURE: no Django, no driver."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from audit.ids import new_id


class EventType(StrEnum):
    """Every act that leaves a trace, named `noun.verb-past`."""

    TASK_SUBMITTED = "task.submitted"
    TASK_REFUSED = "task.refused"  # a submission that named an unknown agent or skill; no task exists
    TASK_DELAYED = "task.delayed"  # over its rate: still queued, with a later run time
    TASK_PARKED = "task.parked"
    TASK_RESUMED = "task.resumed"
    TASK_WAITING = "task.waiting"  # a workflow waits for its steps
    TASK_RETRIED = "task.retried"
    TASK_SUCCEEDED = "task.succeeded"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    TASK_CANCEL_REQUESTED = "task.cancel-requested"
    RUN_STARTED = "run.started"
    RUN_LOST = "run.lost"
    RUN_RELEASED = "run.released"  # given back: its worker stops, or a switch was turned
    DECISION_MADE = "decision.made"
    STEP_FINISHED = "step.finished"
    STEP_FAILED = "step.failed"
    STEP_LOST = "step.lost"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_GRANTED = "approval.granted"
    APPROVAL_REFUSED = "approval.refused"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_SUPERSEDED = "approval.superseded"
    APPROVAL_USED = "approval.used"
    APPROVAL_VOTED = "approval.voted"  # one of several answers that it takes
    APPROVAL_EDITED = "approval.edited"  # a person changed the arguments: another digest
    APPROVAL_ESCALATED = "approval.escalated"  # nobody answered within the SLA
    GRANT_GIVEN = "grant.given"  # leave for further calls, in one task or for some minutes
    GRANT_REVOKED = "grant.revoked"
    POLICY_DRAFTED = "policy.drafted"
    POLICY_DISCARDED = "policy.discarded"  # a draft was thrown away
    POLICY_REPLAYED = "policy.replayed"  # a what-if over history was asked for
    POLICY_PUBLISHED = "policy.published"
    POLICY_EXPORTED = "policy.exported"
    FLEET_STOPPED = "fleet.stopped"
    FLEET_RESUMED = "fleet.resumed"  # whole, or a stage of it
    SKILL_QUARANTINED = "skill.quarantined"
    SKILL_RELEASED = "skill.released"
    AGENT_DRAFTED = "agent.drafted"
    AGENT_DISCARDED = "agent.discarded"  # a draft was thrown away
    AGENT_PUBLISHED = "agent.published"
    AGENT_PAUSED = "agent.paused"
    AGENT_RESUMED = "agent.resumed"
    AGENT_QUARANTINED = "agent.quarantined"
    AGENT_DISABLED = "agent.disabled"
    AGENT_EXPORTED = "agent.exported"
    BUDGET_RESERVED = "budget.reserved"
    BUDGET_SETTLED = "budget.settled"
    BUDGET_RELEASED = "budget.released"
    BUDGET_RECONCILED = "budget.reconciled"  # a call whose usage never arrived, charged at its bound
    BUDGET_REFUSED = "budget.refused"
    BUDGET_CROSSED = "budget.crossed"  # 50, 80 or 100 % of a month's cap
    BUDGET_CAPPED = "budget.capped"  # a person set a cap
    PROVIDER_TRIPPED = "provider.tripped"  # a vendor kept failing and is left alone for a while
    PROVIDER_RECOVERED = "provider.recovered"
    OUTPUT_REJECTED = "output.rejected"  # the model's answer does not fit its schema or its facts
    TASK_TAINTED = "task.tainted"  # a skill brought text from outside
    TRANSCRIPT_READ = "transcript.read"
    FILE_UPLOADED = "file.uploaded"
    ARTIFACT_READ = "artifact.read"
    USER_CREATED = "user.created"
    USER_LOGGED_IN = "user.logged-in"
    USER_LOGGED_OUT = "user.logged-out"
    USER_LOGIN_FAILED = "user.login-failed"
    TOKEN_ISSUED = "token.issued"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    TOKEN_REFUSED = "token.refused"  # noqa: S105


TERMINAL_TASK_EVENTS = frozenset({EventType.TASK_SUCCEEDED, EventType.TASK_FAILED, EventType.TASK_CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One act, before the sequencer numbers it.

    `body` holds strings, booleans, None, integers below 2**53, lists and mappings with ASCII keys:
    no floats, so that its canonical bytes equal RFC 8785's.
    """

    type: EventType
    at: datetime  # aware, UTC
    actor: str  # "user:olga", "agent:market-research-agent", "worker:…", "system"
    task_id: str = ""
    agent_id: str = ""
    skill_id: str = ""
    decision: str = ""  # "allow", "deny", "ask" or empty
    reason: str = ""  # a reason code of the gate, or empty
    body: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
