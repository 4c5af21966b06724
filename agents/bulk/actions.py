"""What can be done to many tasks at once, and what it would make of a task in each state. PURE."""

from enum import StrEnum
from typing import Final

from agents.states import TERMINAL, TaskState


class Action(StrEnum):
    """What a bulk run does to each of its tasks."""

    CANCEL = "cancel"
    RETRY = "retry"


CHANGES: Final[dict[Action, frozenset[TaskState]]] = {
    Action.CANCEL: frozenset(TaskState) - TERMINAL,
    Action.RETRY: frozenset({TaskState.FAILED, TaskState.CANCELLED}),
}
DONE: Final = {Action.CANCEL: "cancelled", Action.RETRY: "queued again"}
_OUTCOMES: Final = {
    (Action.CANCEL, TaskState.RUNNING): "would be asked to stop, and stop as soon as their worker notices",
    (Action.CANCEL, TaskState.AWAITING_APPROVAL): "would be cancelled, and nobody is asked any more",
    (Action.RETRY, TaskState.SUCCEEDED): "have succeeded: there is nothing to retry",
}


def describe_outcome(action: Action, state: TaskState) -> str:
    """Return what would become of tasks in a state, to be read after how many they are."""
    if told := _OUTCOMES.get((action, state)):
        return told
    if state in CHANGES[action]:
        return f"would be {DONE[action]}"
    return "have ended already" if action is Action.CANCEL else "have not ended yet"
