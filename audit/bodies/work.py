"""What the bodies of events about tasks, runs and steps hold, and of their files. PURE."""

from typing import NotRequired, TypedDict


class Nothing(TypedDict):
    """The event says it all."""


# --- tasks and runs -----------------------------------------------------------------------------------------------
class TaskSubmitted(TypedDict):
    inputDigest: str
    priority: int
    parentTaskId: NotRequired[str]  # the workflow that it is a step of
    step: NotRequired[str]


class TaskRefused(TypedDict):
    agentId: str | None  # as they were sent, escaped and cut
    skillId: str | None


class TaskDelayed(TypedDict):
    runAt: str


class TaskParked(TypedDict):
    approvalId: str


class TaskRetried(TypedDict):
    attempt: NotRequired[int]  # none where a person asked
    runAt: NotRequired[str]
    cause: NotRequired[str]
    message: NotRequired[str]


class TaskSucceeded(TypedDict):
    attempt: int
    resultDigest: str


class TaskFailed(TypedDict):
    cause: str  # a code: what lies beneath the reason
    message: str


class TaskTainted(TypedDict):
    stepId: str
    callId: str


class BulkStarted(TypedDict):
    bulkId: str
    action: str  # "cancel" or "retry"
    reason: str
    filters: dict[str, str]
    tasks: int
    named: bool  # one by one, not by filters


class BulkEnded(TypedDict):
    bulkId: str
    action: str
    done: int
    refused: int
    left: int  # without a turn
    why: str  # they were left: whoever started it lost the right to, or it met an error; else empty


class RunStarted(TypedDict):
    attempt: int
    fence: int


class RunLost(TypedDict):
    worker: str
    losses: int


class StepEnded(TypedDict):
    stepId: str
    callId: NotRequired[str]  # the model's name for a call
    model: NotRequired[str]  # of a turn
    costMicro: NotRequired[int]
    cause: NotRequired[str]
    message: NotRequired[str]


class StepLost(TypedDict):
    stepId: str


class OutputRejected(TypedDict):
    stepId: str
    problems: list[str]


# --- files and payloads -------------------------------------------------------------------------------------------
class FileUploaded(TypedDict):
    fileId: str
    path: str
    sizeBytes: int
    sha256: str
    sentAs: str


class ArtifactRead(TypedDict):
    name: str
    sha256: str
    sizeBytes: int


class TranscriptRead(TypedDict):
    way: str  # "api", "download"
    entries: int


class ListExported(TypedDict):
    list: str
    format: str
    filters: dict[str, str]
    rows: int
    isCut: bool  # there was more than one file takes
    sha256: str  # of the file


class PayloadRead(TypedDict):
    way: str  # "page", "api", "download" of a task's result, "raw"
    seqs: NotRequired[list[int]]  # of the events that were read
    eventId: NotRequired[str]  # if it was one
    row: NotRequired[str]  # of a table, if that was read itself
