"""Approvals and grants as the API and the command line show them."""

from datetime import datetime
from typing import Any, Literal

from audit.wire import format_at
from toolgate.approvals import read_terms
from toolgate.inbox.standing import tell_votes
from toolgate.models import Approval, Grant
from toolgate.reading import WireModel

Scope = Literal["once", "task", "minutes"]


class TermsWire(WireModel):
    """What one rule that asks wants of an answer; each of them needs its quorum. `ruleId` is null if no rule asks."""

    rule_id: str | None
    quorum: int
    approvers: list[str] | None  # user names and "group:…"; null: whoever may decide approvals
    four_eyes: bool


class VoteWire(WireModel):
    """What one person said; it does not count if the arguments were changed afterwards."""

    user: str
    decision: Literal["approve", "refuse"]
    counts: bool
    note: str | None
    at: datetime


class ApprovalWire(WireModel):
    """A question to people about one call, bound by `digest` to agent, skill, arguments and policy version.

    `arguments` are what will run; `askedArguments` what was asked for, null unless somebody changed it.
    """

    approval_id: str
    kind: Literal["call", "step_unknown", "review"]
    status: Literal["pending", "approved", "refused", "expired", "superseded", "used"]
    task_id: str
    agent_id: str
    skill_id: str
    arguments: dict[str, Any]
    asked_arguments: dict[str, Any] | None
    digest: str
    policy_version: int
    rule_id: str | None
    terms: list[TermsWire]
    votes: list[VoteWire]
    scope: Scope
    submitted_by: str
    four_eyes: bool
    created_at: datetime
    expires_at: datetime
    sla_at: datetime | None
    escalated_at: datetime | None
    decided_by: str | None
    decided_at: datetime | None
    note: str | None


class GrantWire(WireModel):
    """Leave for further calls that some rules would ask about; `taskId` is null if it is for any task of the agent."""

    grant_id: str
    approval_id: str
    agent_id: str
    skill_id: str
    rule_ids: list[str]
    task_id: str | None
    granted_by: list[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    uses: int


def approval_to_wire(approval: Approval) -> dict[str, Any]:
    """Return an approval as the API shows it; what is empty is null."""
    return {
        "approvalId": approval.id,
        "kind": approval.kind,
        "status": str(approval.state),
        "taskId": approval.task_id,
        "agentId": approval.agent_id,
        "skillId": approval.skill_id,
        "arguments": approval.arguments,
        "askedArguments": approval.asked_arguments,
        "digest": approval.digest,
        "policyVersion": approval.policy_version,
        "ruleId": approval.rule_id or None,
        "terms": _terms_to_wire(approval),
        "votes": _votes_to_wire(approval),
        "scope": approval.scope,
        "submittedBy": approval.submitted_by,
        "fourEyes": approval.four_eyes,
        "createdAt": format_at(approval.created_at),
        "expiresAt": format_at(approval.expires_at),
        "slaAt": _format(approval.sla_at),
        "escalatedAt": _format(approval.escalated_at),
        "decidedBy": approval.decided_by or None,
        "decidedAt": _format(approval.decided_at),
        "note": approval.note or None,
    }


def grant_to_wire(grant: Grant) -> dict[str, Any]:
    """Return a grant as the API shows it."""
    return {
        "grantId": grant.id,
        "approvalId": grant.approval_id,
        "agentId": grant.agent_id,
        "skillId": grant.skill_id,
        "ruleIds": sorted(grant.rules),
        "taskId": grant.task_id or None,
        "grantedBy": list(grant.granted_by),
        "createdAt": format_at(grant.created_at),
        "expiresAt": format_at(grant.expires_at),
        "revokedAt": _format(grant.revoked_at),
        "revokedBy": grant.revoked_by or None,
        "uses": grant.uses,
    }


def _terms_to_wire(approval: Approval) -> list[dict[str, Any]]:
    return [
        {
            "ruleId": terms.rule_id or None,
            "quorum": terms.quorum,
            "approvers": None if terms.approvers is None else list(terms.approvers),
            "fourEyes": terms.four_eyes,
        }
        for terms in read_terms(approval)
    ]


def _votes_to_wire(approval: Approval) -> list[dict[str, Any]]:
    return [
        {
            "user": vote.user,
            "decision": "approve" if vote.approve else "refuse",
            "counts": vote.counts,
            "note": vote.note or None,
            "at": format_at(vote.at),
        }
        for vote in tell_votes(approval)
    ]


def _format(at: datetime | None) -> str | None:
    return format_at(at) if at else None
