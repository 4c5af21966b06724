"""What the bodies of events about decisions, approvals and rules hold. PURE."""

from typing import Any, NotRequired, TypedDict


class DecisionMade(TypedDict):
    decisionId: str
    decidingRules: list[str]
    policyVersion: int
    agentVersion: int
    skillVersion: str
    argumentsDigest: str
    counters: dict[str, Any]  # by limit: what was counted, of how much
    detail: str
    shadow: NotRequired[list[Any]]  # what shadow rules would have turned


class ApprovalMoved(TypedDict):
    approvalId: str
    kind: str
    digest: str
    policyVersion: int
    ruleId: str
    submittedBy: str
    expiresAt: str
    note: str


class ApprovalVoted(ApprovalMoved):
    countsFor: list[str]  # rules
    scope: str
    minutes: int | None


class ApprovalEdited(ApprovalMoved):
    digestBefore: str


class ApprovalEscalated(ApprovalMoved):
    waitedSeconds: int
    slaSeconds: int


class GrantMoved(TypedDict):
    grantId: str
    approvalId: str
    rules: list[str]
    grantedBy: list[str]
    expiresAt: str
    uses: int


class _RulesChanged(TypedDict):
    added: list[str]
    removed: list[str]
    changed: list[str]


class PolicyDrafted(_RulesChanged):
    draftId: str
    baseVersion: int
    revision: int
    clashes: NotRequired[list[str]]


class PolicyDiscarded(_RulesChanged):
    draftId: str
    baseVersion: int


class PolicyReplayed(TypedDict):
    whatIfId: str
    digest: str
    baseVersion: int
    since: str | None
    decisions: int


class PolicyCompared(TypedDict):
    whatIfId: str
    digest: str


class PolicyPublished(_RulesChanged):
    number: int
    digest: str
    reason: str
    changes: list[Any]
    changesLeftOut: int
    restoredFrom: NotRequired[int]
    whatIfId: NotRequired[str]


class PolicyExported(TypedDict):
    number: int
