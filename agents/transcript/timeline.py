"""A task's life as a list of moments for its page. PURE but for the rows it is handed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from agents.models import Run, Step, StepState, Task
from agents.states import TERMINAL, TaskState
from toolgate.approvals import CALL, REVIEW, STEP_UNKNOWN
from toolgate.models import Approval, ApprovalState, DecisionRecord
from toolgate.types import Reason

_OUTCOMES = {
    "retried": ("Went wrong, to be tried again", "retry", "ask"),
    "delayed": ("Over its rate: waits, no attempt used", "clock", "quiet"),
    "waiting": ("Waits for its steps", "clock", "quiet"),
    "lost": ("The worker was lost; another takes over", "alert", "ask"),
    "released": ("Given back to the queue: its worker stopped, or a switch was turned", "retry", "quiet"),
}
_ENDS = {
    TaskState.SUCCEEDED: ("Succeeded", "succeeded", "allow"),
    TaskState.FAILED: ("Failed", "failed", "deny"),
    TaskState.CANCELLED: ("Cancelled", "cancelled", "quiet"),
}
_NOW = {
    TaskState.QUEUED: ("Queued", "queued", "quiet", "waits for a slot"),
    TaskState.RUNNING: ("Running", "running", "run", ""),
    TaskState.AWAITING_APPROVAL: ("Waiting for a person", "waiting", "ask", "nothing runs until someone decides"),
}
EFFECTS = {
    "allow": ("The gate allowed", "tick", "allow"),
    "ask": ("The gate asks a person about", "ask", "ask"),
    "deny": ("The gate refused", "barred", "deny"),
}
_STEPS = {
    StepState.INTENT: ("is running", "running", "run"),
    StepState.DONE: ("finished", "tick", "allow"),
    StepState.FAILED: ("failed", "failed", "deny"),
    StepState.REFUSED: ("was refused", "barred", "deny"),
    StepState.UNKNOWN: ("may or may not have finished", "alert", "ask"),
}

_SCOPES = {
    "once": "once",
    "task": "this and further calls of the task",
    "minutes": "this and further calls for a while",
}
_OTHERWISE = {STEP_UNKNOWN: "let it run once more", REVIEW: "approved the report"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """A text that is opened when wanted; `is_cut` says that the transcript has more of it."""

    label: str
    text: str
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of the list; `at` is None for what is still going on."""

    title: str
    glyph: str
    tint: str
    at: datetime | None
    ended_at: datetime | None = None
    note: str = ""
    rule: str = ""  # the deciding rule and policy version, for decisions
    seq: int | None = None  # of the audit event that records the decision
    decision_id: str = ""  # of a decision that did not simply allow: somebody may ask why
    approval_id: str = ""  # of a person's answer
    figures: str = ""  # of a model's turn: which model, tokens, money
    folds: Sequence[Fold] = ()


def build_timeline(
    task: Task,
    *,
    runs: Iterable[Run],
    decisions: Iterable[DecisionRecord],
    steps: Iterable[Step],
    approvals: Iterable[Approval],
    told: Iterable[Moment] = (),
) -> list[Moment]:
    """Return what happened to a task in order of time, and last what is going on now.

    `told` are the moments of its transcript; `decisions` and `steps` are those that it does not tell of.
    """
    outside = [*_of_decisions(decisions), *_of_steps(steps), *_of_approvals(approvals)]
    past = [_accepted(task), *_of_runs(runs), *told, *outside]
    past.sort(key=lambda moment: moment.at or task.created_at)  # stable: cause before effect at the same moment
    if task.state in TERMINAL:
        title, glyph, tint = _ENDS[TaskState(task.state)]
        return [*past, Moment(title=title, glyph=glyph, tint=tint, at=task.ended_at)]
    title, glyph, tint, note = _NOW[TaskState(task.state)]
    return [*past, Moment(title=title, glyph=glyph, tint=tint, at=None, note=note)]


def _accepted(task: Task) -> Moment:
    return Moment(title="Accepted", glyph="tick", tint="allow", at=task.created_at, note=f"from {task.submitted_by}")


def _of_decisions(decisions: Iterable[DecisionRecord]) -> Iterator[Moment]:
    for decision in decisions:
        title, glyph, tint = EFFECTS[decision.effect]
        yield Moment(
            title=f"{title} {decision.skill_id}",
            glyph=glyph,
            tint=tint,
            at=decision.at,
            note=decision.detail,
            rule=describe_rule(decision),
            decision_id=decision.id if decision.effect != "allow" else "",
        )


def describe_rule(decision: DecisionRecord) -> str:
    """Return why the gate decided so, and by which version of which rules."""
    none = "no rule covers it" if decision.reason == Reason.SKILL_NOT_ALLOWED else ""
    rules = ", ".join(decision.deciding_rules) or none
    return " · ".join(filter(None, (decision.reason, rules, f"policy version {decision.policy_version}")))


def _of_steps(steps: Iterable[Step]) -> Iterator[Moment]:
    for step in steps:
        words, glyph, tint = _STEPS[StepState(step.state)]
        yield Moment(
            title=f"{step.skill_id or step.model or step.kind} {words}",
            glyph=glyph,
            tint=tint,
            at=step.started_at,
            ended_at=step.ended_at,
            note=step.error_message,
        )


def _of_runs(runs: Iterable[Run]) -> Iterator[Moment]:
    for run in runs:
        yield Moment(title="Started", glyph="play", tint="run", at=run.started_at, note=f"run {run.fence}")
        if run.outcome in _OUTCOMES:
            title, glyph, tint = _OUTCOMES[run.outcome]
            yield Moment(title=title, glyph=glyph, tint=tint, at=run.ended_at)


def _say_yes(approval: Approval) -> str:
    if approval.kind != CALL:
        return _OTHERWISE[approval.kind]
    return (
        f"approved {_SCOPES[approval.scope]}{', with other arguments' if approval.asked_arguments is not None else ''}"
    )


def _of_approvals(approvals: Iterable[Approval]) -> Iterator[Moment]:
    for approval in approvals:
        if approval.kind == STEP_UNKNOWN:
            title = f"A person is asked whether {approval.skill_id} may run once more"
            yield Moment(title=title, glyph="ask", tint="ask", at=approval.created_at)
        if approval.state == ApprovalState.EXPIRED:
            yield Moment(title="Nobody decided in time", glyph="clock", tint="deny", at=approval.expires_at)
        elif approval.decided_at:
            refused = approval.state == ApprovalState.REFUSED
            yield Moment(
                title=f"{approval.decided_by} {'refused' if refused else _say_yes(approval)}",
                glyph="barred" if refused else "tick",
                tint="deny" if refused else "allow",
                at=approval.decided_at,
                note=approval.note,
                approval_id=approval.id,
            )
