"""What came of an answer, in a sentence."""

from toolgate.approvals import CALL, MINUTES, ONCE, REVIEW, TASK
from toolgate.models import Approval, ApprovalState

_GOES_ON = {
    ONCE: "The task goes on with exactly these arguments.",
    TASK: "The task goes on, and further calls like it in this task are not asked about.",
    MINUTES: "The task goes on, and further calls like it are not asked about until the minutes are over.",
}
_REFUSED = {
    CALL: "The call is not made. A task of one call ends with your answer; an agent is told your note, and goes on.",
    REVIEW: "The report is no result, and the task ends with your answer.",
}
_ENDS = "The call is not made, and the task ends with your answer."


def describe_outcome(approval: Approval) -> str:
    """Return what an answer came to, once it is kept."""
    if approval.state == ApprovalState.PENDING:
        return "Your approval counts. It takes another person's as well; nothing runs until then."
    if approval.state == ApprovalState.REFUSED:
        return f"Refused. {_REFUSED.get(approval.kind, _ENDS)}"
    if approval.kind == REVIEW:
        return "Approved. The report is the task's result."
    if approval.kind != CALL:
        return "Approved. The call runs once more."
    return f"Approved{' once' if approval.scope == ONCE else ''}. {_GOES_ON[approval.scope]}"
