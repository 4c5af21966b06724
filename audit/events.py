"""The vocabulary of the audit trail: every kind of event, with its body and when it is written. PURE."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from audit import bodies
from audit.context import current_cause, current_trace
from audit.ids import new_id
from audit.shapes import find_flaw

log = logging.getLogger(__name__)


class EventType(StrEnum):
    """Every act that leaves a trace, named `noun.verb-past`, with the shape of its body and when it is written."""

    shape: type
    when: str

    def __new__(cls, word: str, shape: type = bodies.Nothing, when: str = "") -> Self:
        """Make a member that is its word, and carries the rest."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.shape, member.when = shape, when
        return member

    TASK_SUBMITTED = "task.submitted", bodies.TaskSubmitted, "an order was accepted"
    TASK_REFUSED = "task.refused", bodies.TaskRefused, "an order named an unknown agent or skill; no task exists"
    TASK_DELAYED = "task.delayed", bodies.TaskDelayed, "it is over its rate: still queued, with a later run time"
    TASK_PARKED = "task.parked", bodies.TaskParked, "it waits for a person"
    TASK_RESUMED = "task.resumed", bodies.Nothing, "what it waited for is there: it is queued again"
    TASK_WAITING = "task.waiting", bodies.Nothing, "a workflow waits for its steps"
    TASK_RETRIED = "task.retried", bodies.TaskRetried, "it is queued for another attempt"
    TASK_SUCCEEDED = "task.succeeded", bodies.TaskSucceeded, "it has its result"
    TASK_FAILED = "task.failed", bodies.TaskFailed, "it is over without a result"
    TASK_CANCELLED = "task.cancelled", bodies.Nothing, "it was stopped before its end"
    TASK_CANCEL_REQUESTED = "task.cancel-requested", bodies.Nothing, "somebody wants it stopped while it runs"
    TASK_TAINTED = "task.tainted", bodies.TaskTainted, "a skill brought text from outside into it"
    BULK_STARTED = "bulk.started", bodies.BulkStarted, "one thing is to be done to many tasks; each has its own events"
    BULK_ENDED = "bulk.ended", bodies.BulkEnded, "each of them had its turn"
    RUN_STARTED = "run.started", bodies.RunStarted, "a worker has claimed a task"
    RUN_LOST = "run.lost", bodies.RunLost, "its worker is gone"
    RUN_RELEASED = "run.released", bodies.Nothing, "it was given back: its worker stops, or a switch was turned"
    DECISION_MADE = "decision.made", bodies.DecisionMade, "the gate allowed, denied or asked"
    STEP_FINISHED = "step.finished", bodies.StepEnded, "a skill call or a model's turn brought what it should"
    STEP_FAILED = "step.failed", bodies.StepEnded, "a skill call or a model's turn failed"
    STEP_LOST = "step.lost", bodies.StepLost, "nobody knows what became of it"
    OUTPUT_REJECTED = "output.rejected", bodies.OutputRejected, "an answer does not hold: schema, facts or reviewer"
    APPROVAL_ASKED = "approval.asked", bodies.ApprovalMoved, "a call waits for people"
    APPROVAL_GRANTED = "approval.granted", bodies.ApprovalMoved, "the last answer that was missing is a yes"
    APPROVAL_REFUSED = "approval.refused", bodies.ApprovalMoved, "one person said no"
    APPROVAL_EXPIRED = "approval.expired", bodies.ApprovalMoved, "nobody answered, or nobody used the yes, in time"
    APPROVAL_SUPERSEDED = "approval.superseded", bodies.ApprovalMoved, "the policy or the task moved on"
    APPROVAL_USED = "approval.used", bodies.ApprovalMoved, "the call that was approved runs"
    APPROVAL_VOTED = "approval.voted", bodies.ApprovalVoted, "one of several answers that it takes"
    APPROVAL_EDITED = "approval.edited", bodies.ApprovalEdited, "a person changed the arguments: another digest"
    APPROVAL_ESCALATED = "approval.escalated", bodies.ApprovalEscalated, "nobody answered within the SLA"
    GRANT_GIVEN = "grant.given", bodies.GrantMoved, "leave for further calls, in one task or for some minutes"
    GRANT_REVOKED = "grant.revoked", bodies.GrantMoved, "that leave has ended before its time"
    POLICY_DRAFTED = "policy.drafted", bodies.PolicyDrafted, "somebody edits the rules; nothing is published yet"
    POLICY_DISCARDED = "policy.discarded", bodies.PolicyDiscarded, "a draft was thrown away"
    POLICY_REPLAYED = "policy.replayed", bodies.PolicyReplayed, "a what-if over history was asked for"
    POLICY_COMPARED = "policy.compared", bodies.PolicyCompared, "a what-if has its report"
    POLICY_PUBLISHED = "policy.published", bodies.PolicyPublished, "other rules are in force"
    POLICY_EXPORTED = "policy.exported", bodies.PolicyExported, "a version's rules were taken out"
    FLEET_STOPPED = "fleet.stopped", bodies.FleetSwitched, "nothing may run"
    FLEET_RESUMED = "fleet.resumed", bodies.FleetSwitched, "all may run again, or a stage of it"
    SKILL_QUARANTINED = "skill.quarantined", bodies.SkillSwitched, "no call of it passes"
    SKILL_RELEASED = "skill.released", bodies.SkillSwitched, "it may be called again"
    AGENT_DRAFTED = "agent.drafted", bodies.AgentDrafted, "somebody edits its configuration"
    AGENT_DISCARDED = "agent.discarded", bodies.AgentDiscarded, "a draft was thrown away"
    AGENT_PUBLISHED = "agent.published", bodies.AgentPublished, "another configuration is in force"
    AGENT_PAUSED = "agent.paused", bodies.AgentSwitched, "its tasks wait"
    AGENT_RESUMED = "agent.resumed", bodies.AgentSwitched, "it may work again"
    AGENT_QUARANTINED = "agent.quarantined", bodies.AgentSwitched, "its runs are cut off"
    AGENT_DISABLED = "agent.disabled", bodies.AgentSwitched, "it is switched off"
    AGENT_EXPORTED = "agent.exported", bodies.AgentExported, "a version's configuration was taken out"
    BUDGET_RESERVED = "budget.reserved", bodies.BudgetReserved, "the worst case of a model's call is held"
    BUDGET_SETTLED = "budget.settled", bodies.BudgetCharged, "the call was charged what it cost"
    BUDGET_RELEASED = "budget.released", bodies.BudgetReserved, "a hold was given back: the vendor did no work"
    BUDGET_RECONCILED = "budget.reconciled", bodies.BudgetCharged, "the usage never arrived: charged at the bound"
    BUDGET_REFUSED = "budget.refused", bodies.BudgetRefused, "a call did not fit under a cap"
    BUDGET_CROSSED = "budget.crossed", bodies.BudgetCrossed, "50, 80 or 100 % of a month's cap"
    BUDGET_CAPPED = "budget.capped", bodies.BudgetCapped, "a person set a cap"
    BUDGET_ADJUSTED = "budget.adjusted", bodies.BudgetAdjusted, "an account follows another cap, rate or configuration"
    PROVIDER_TRIPPED = "provider.tripped", bodies.ProviderMoved, "a vendor kept failing and is left alone for a while"
    PROVIDER_PROBED = "provider.probed", bodies.ProviderMoved, "one call is let through to see whether it answers again"
    PROVIDER_RECOVERED = "provider.recovered", bodies.ProviderMoved, "it answers again"
    FILE_UPLOADED = "file.uploaded", bodies.FileUploaded, "somebody put a document into the workspace"
    ARTIFACT_READ = "artifact.read", bodies.ArtifactRead, "somebody took a task's file out"
    LIST_EXPORTED = "list.exported", bodies.ListExported, "somebody took what a list shows out as a file"
    TRANSCRIPT_READ = "transcript.read", bodies.TranscriptRead, "somebody took a run's transcript out"
    PAYLOAD_READ = "payload.read", bodies.PayloadRead, "somebody saw what an event or a result holds"
    TRAIL_VERIFIED = "trail.verified", bodies.TrailVerified, "a range of the trail was checked"
    TRAIL_EXPORTED = "trail.exported", bodies.TrailExported, "a part of the trail, or a proof, was taken out"
    TRAIL_ARCHIVED = "trail.archived", bodies.TrailArchived, "a sealed segment was moved out of the stores"
    SEQUENCER_BEAT = "sequencer.beat", bodies.Nothing, "nothing else happened, and that is known"
    KEY_ROTATED = "key.rotated", bodies.KeyRotated, "another key signs the checkpoints"
    BACKUP_MADE = "backup.made", bodies.BackupMade, "all state was copied, to be restored from"
    BACKUP_RESTORED = (
        "backup.restored",
        bodies.BackupRestored,
        "the state was set back to a copy",
    )
    PERSON_ERASED = "person.erased", bodies.PersonErased, "a person's data was taken out of the trail"
    USER_CREATED = "user.created", bodies.UserCreated, "an account was made"
    USER_CHANGED = "user.changed", bodies.UserChanged, "its name, password or rights to enter are others"
    USER_DELETED = "user.deleted", bodies.UserDeleted, "an account is gone"
    USER_PROFILE_CHANGED = (
        "user.profile-changed",
        bodies.UserProfileChanged,
        "a person set up their console",
    )
    USER_SESSIONS_ENDED = "user.sessions-ended", bodies.SessionsEnded, "somebody was signed out from elsewhere"
    USER_LOGGED_IN = "user.logged-in", bodies.UserLoggedIn, "a person entered"
    USER_LOGGED_OUT = "user.logged-out", bodies.UserLoggedOut, "a person left"
    USER_LOGIN_FAILED = "user.login-failed", bodies.LoginFailed, "somebody did not get in"
    USER_LINKED = "user.linked", bodies.LoginLinked, "another provider's login opens the account"
    USER_UNLINKED = "user.unlinked", bodies.LoginLinked, "it no longer does"
    MFA_ADDED = "mfa.added", bodies.FactorMoved, "a second factor was set up, or recovery codes made"
    MFA_REMOVED = "mfa.removed", bodies.FactorMoved, "it is gone"
    MFA_CODE_USED = "mfa.code-used", bodies.RecoveryCodeUsed, "a recovery code was spent"
    MFA_CODES_SHOWN = "mfa.codes-shown", bodies.RecoveryCodesShown, "the recovery codes were seen, which happens once"
    ROLE_GRANTED = "role.granted", bodies.RoleMoved, "a person has a role more"
    ROLE_REVOKED = "role.revoked", bodies.RoleMoved, "a person has a role less"
    TOKEN_ISSUED = "token.issued", bodies.TokenIssued, "a token was made"
    TOKEN_REVOKED = "token.revoked", bodies.TokenRevoked, "a token opens nothing any more"
    TOKEN_REFUSED = "token.refused", bodies.TokenRefused, "a token was used for what it does not grant"
    VIEW_SAVED = "view.saved", bodies.ViewMoved, "a person keeps a list's filters under a name"
    VIEW_RENAMED = "view.renamed", bodies.ViewMoved, "they have another name"
    VIEW_DELETED = "view.deleted", bodies.ViewMoved, "they are kept no longer"
    WEBHOOK_CREATED = "webhook.created", bodies.WebhookCreated, "a receiver is told of events from now on"
    WEBHOOK_CHANGED = "webhook.changed", bodies.WebhookChanged, "it is another address, or told of other events"
    WEBHOOK_PAUSED = "webhook.paused", bodies.WebhookPaused, "a person, or the receiver's answer 410, paused it"
    WEBHOOK_RESUMED = "webhook.resumed", bodies.WebhookTurned, "it is told of events again"
    WEBHOOK_ROTATED = "webhook.rotated", bodies.WebhookTurned, "another secret signs what it is sent"
    WEBHOOK_DELETED = "webhook.deleted", bodies.WebhookDeleted, "it is told of nothing any more"
    WEBHOOK_RETRIED = "webhook.retried", bodies.WebhookResent, "a person had a delivery sent again"
    WEBHOOK_ABANDONED = "webhook.abandoned", bodies.WebhookAbandoned, "a delivery was given up"
    ALERT_FIRED = "alert.fired", bodies.AlertMoved, "the monitoring told of an alert"
    ALERT_RESOLVED = "alert.resolved", bodies.AlertMoved, "it told that the alert is over"


TERMINAL_TASK_EVENTS = frozenset({EventType.TASK_SUCCEEDED, EventType.TASK_FAILED, EventType.TASK_CANCELLED})


class BodyUndeclared(ValueError):
    """A body is not as its event's type declares it in `audit.bodies`: mend the one or the other."""


_is_strict = False


@contextmanager
def strict_bodies(is_strict: bool = True) -> Iterator[None]:
    """Refuse bodies that are not as declared; for tests. Elsewhere they are recorded, and logged as a defect."""
    global _is_strict  # noqa: PLW0603
    before, _is_strict = _is_strict, is_strict
    try:
        yield
    finally:
        _is_strict = before


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One act, before the sequencer numbers it.

    `body` holds strings, booleans, None, integers below 2**53, lists and mappings with ASCII keys:
    no floats, so that its canonical bytes equal RFC 8785's.
    Raises: BodyUndeclared, under `strict_bodies` only: an event must not be lost for a member too many.
    """

    type: EventType
    at: datetime  # aware, UTC
    actor: str  # "user:olga", "agent:market-research-agent", "worker:…", "system"
    task_id: str = ""
    agent_id: str = ""
    skill_id: str = ""
    decision: str = ""  # "allow", "deny", "ask" or empty
    reason: str = ""  # a reason code of the gate, or empty
    trace_id: str = field(default_factory=current_trace)  # of the task, the request or the command it belongs to
    cause_id: str = field(default_factory=current_cause)  # the event that led to this one
    body: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        """Hold the body to what its type declares."""
        flaw = find_flaw(self.type.shape, self.body)
        if not flaw:
            return
        if _is_strict:
            raise BodyUndeclared(f"{self.type}: {flaw}")
        log.error("%s: %s; recorded as it is", self.type, flaw, extra={"action": "event.body-undeclared"})
