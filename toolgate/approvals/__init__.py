"""Questions to people: ask, answer, change, escalate, expire, use. Bound to one call, used once.

| module | holds |
|---|---|
| `terms` | what each asking rule wants of an answer, and whose votes come to it. PURE |
| `states` | the states of a question, and the only moves between them |
| `asking` | opening the one question about a call |
| `answering`, `votes` | a person's vote, and what all votes come to; equal questions at once |
| `changing` | other arguments, before it is approved |
| `using` | what a call may run on: its own approval, once, or a grant |
| `grants` | leave for further calls, in a task or for some minutes |
| `escalation` | what nobody answered within its SLA |
"""

from toolgate.approvals.answering import decide_approval, decide_equal, find_objection, list_equal
from toolgate.approvals.asking import open_approval, read_terms
from toolgate.approvals.escalation import escalate_due
from toolgate.approvals.grants import find_grant_of, get_grant, list_grants, revoke_grant
from toolgate.approvals.states import (
    CALL,
    REVIEW,
    STEP_UNKNOWN,
    current_version,
    expire_due,
    lock_approvals,
    supersede_approvals,
)
from toolgate.approvals.terms import MAX_MINUTES, MINUTES, ONCE, SCOPES, TASK
from toolgate.approvals.using import Answer, find_answer, find_edit, find_granted, use_approval, use_granted
from toolgate.approvals.votes import list_open_terms, list_votes

__all__ = [
    "CALL",
    "MAX_MINUTES",
    "MINUTES",
    "ONCE",
    "REVIEW",
    "SCOPES",
    "STEP_UNKNOWN",
    "TASK",
    "Answer",
    "current_version",
    "decide_approval",
    "decide_equal",
    "escalate_due",
    "expire_due",
    "find_answer",
    "find_edit",
    "find_grant_of",
    "find_granted",
    "find_objection",
    "get_grant",
    "list_equal",
    "list_grants",
    "list_open_terms",
    "list_votes",
    "lock_approvals",
    "open_approval",
    "read_terms",
    "revoke_grant",
    "supersede_approvals",
    "use_approval",
    "use_granted",
]
