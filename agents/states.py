"""The life of a task as one table. PURE."""

from enum import StrEnum


class TaskState(StrEnum):
    """The six states; attempts used up, or stopped by a cap, is `failed` with that error code."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset({TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(
        {TaskState.QUEUED, TaskState.AWAITING_APPROVAL, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED}
    ),
    TaskState.AWAITING_APPROVAL: frozenset({TaskState.QUEUED, TaskState.FAILED, TaskState.CANCELLED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.QUEUED}),  # a person's retry
    TaskState.CANCELLED: frozenset({TaskState.QUEUED}),
}


def sources_of(target: TaskState) -> tuple[TaskState, ...]:
    """Return the states from which `target` may be reached."""
    return tuple(state for state, targets in TRANSITIONS.items() if target in targets)
