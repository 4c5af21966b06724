"""The gate's words: what is asked, what was decided, and the evidence for it. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Effect(StrEnum):
    """What a rule says, and what a decision came to."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


class Reason(StrEnum):
    """Why the gate decided as it did; contract of the API."""

    ALLOWED = "allowed"
    APPROVED = "approved"
    AGENT_UNKNOWN = "agent_unknown"
    AGENT_DISABLED = "agent_disabled"
    AGENT_QUARANTINED = "agent_quarantined"
    SKILL_UNKNOWN = "skill_unknown"
    SKILL_NOT_ALLOWED = "skill_not_allowed"
    SKILL_QUARANTINED = "skill_quarantined"
    TASK_TYPE_NOT_ASSIGNED = "task_type_not_assigned"
    CALL_CEILING = "call_ceiling"
    RATE_LIMITED = "rate_limited"
    CONCURRENCY = "concurrency"
    DOMAIN_NOT_ALLOWED = "domain_not_allowed"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    READ_PATH = "read_path"
    WRITE_PATH = "write_path"
    ARGUMENT_NOT_ALLOWED = "argument_not_allowed"
    OUTSIDE_TIME_WINDOW = "outside_time_window"
    GRANT_EXPIRED = "grant_expired"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PRICE_UNKNOWN = "price_unknown"
    APPROVAL_REQUIRED = "approval_required"
    APPROVAL_REJECTED = "approval_rejected"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_MISMATCH = "approval_mismatch"
    INPUT_INVALID = "input_invalid"
    AUDIT_UNAVAILABLE = "audit_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The agent that wants to act, as its current configuration has it."""

    agent_id: str
    version: int
    status: str = "enabled"  # enabled, paused, quarantined, disabled; stopped with the fleet; unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """The skill that is to be called."""

    skill_id: str
    version: str
    known: bool = True
    quarantined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What the call touches, normalised before any rule sees it.

    Hosts are lower-case ASCII (IDNA); paths are real paths relative to the workspace root, "/"-separated,
    with no "." or ".." and no symlink left in them.
    """

    hosts: tuple[str, ...] = ()
    read_paths: tuple[str, ...] = ()
    write_paths: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)  # scalar arguments by name, after defaults
    argument_bytes: int = 0  # of all arguments as JSON; set by the gate itself; 0: nobody has measured them
    files_only: bool = False  # each path is one file; else it may be a folder, and stands for all that is below it


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the gate."""

    principal: Principal
    action: Action
    resource: Resource
    tainted: bool = False  # a skill has brought text from outside into the task


class LimitKind(StrEnum):
    """What a limit counts. Ceilings are final; rates and periods only delay."""

    CALLS_PER_TASK = "calls_per_task"
    BYTES_PER_TASK = "bytes_per_task"
    SPEND_PER_TASK = "spend_per_task"
    SPEND_PER_DAY = "spend_per_day"
    CALLS_PER_PERIOD = "calls_per_period"
    BYTES_PER_PERIOD = "bytes_per_period"
    RATE = "rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound that the store decides atomically after the rules have allowed."""

    rule_id: str
    kind: LimitKind
    amount: int  # calls, calls per second, bytes, or millionths of a pound
    burst: int = 1
    seconds: int = 0  # of a period


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one asking rule wants of an answer; all rules that ask have to be content."""

    rule_id: str
    quorum: int = 1
    approvers: tuple[str, ...] | None = None  # user names and "group:…"; None: whoever may decide approvals
    four_eyes: bool = True
    expires_seconds: int | None = None
    sla_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """What one shadow rule would have made of a decision."""

    rule_id: str
    effect: Effect
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What models cost so far, what is held included, in millionths of a pound."""

    task_micro: int
    day_micro: int  # of the agent, of this day (UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the rules came to, with the evidence: a value, no side effect."""

    effect: Effect
    reason: Reason
    deciding_rules: tuple[str, ...]
    policy_version: int
    limits: tuple[Limit, ...] = ()
    detail: str = ""  # one sentence for people: which host, which path, which argument
    domains: tuple[str, ...] = ()  # what the allowing rules let the call reach, for checks at each redirect
    read_scopes: tuple[str, ...] = ()
    write_scopes: tuple[str, ...] = ()
    terms: tuple[Terms, ...] = ()  # of every rule that asks, when effect is ASK
    flips: tuple[Flip, ...] = ()  # of shadow rules that would have decided otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A skill call on its way to the gate, with all that binds it to its task."""

    request: Request
    arguments: Mapping[str, Any]  # the validated input, JSON-ready: exactly what will run
    task_id: str
    trace_id: str
    cause_id: str = ""  # the event that led to the call
    submitted_by: str  # user name of the one who submitted the task: may not approve it
    now: datetime
    spent: Spent | None = None  # None: unknown, and a limit on spending then refuses
