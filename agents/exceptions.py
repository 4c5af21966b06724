"""What can go wrong with a task, an order or a file, for the caller to answer.

AgentError
├── TaskNotFound          no task of that id
├── TaskStateConflict     its state forbids what was asked; nothing was changed
├── IdempotencyConflict   the key was used before, with another body; nothing was created
├── OrderRefused          an order that names nobody who could do it; audited
│   ├── AgentUnknown
│   ├── SkillUnknown
│   └── SkillRequired
├── InputInvalid          the input does not fit the skill's model; `problems` says where
├── KeyInvalid            an Idempotency-Key that cannot be kept
├── AdmissionRefused      more tasks a second than are admitted; carries when to come back
├── FileTooLarge          an upload over the limit
├── FileNotKept           the workspace could not take an upload
└── ArtifactNotFound      no such file of this task, or it is no longer what the task wrote
"""

from toolgate.reading import FieldProblem


class AgentError(Exception):
    """Base of this app's errors; `code` is contract of the API."""

    code = "agent_error"


class TaskNotFound(AgentError):
    """There is no task of this id. Check the id; tasks are never deleted."""

    code = "not_found"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id}.")


class TaskStateConflict(AgentError):
    """The task's state forbids this: cancel what has not ended, retry what has failed or was cancelled."""

    code = "state_conflict"

    def __init__(self, task_id: str, state: str, wish: str) -> None:
        super().__init__(f"Task {task_id} is {state} and cannot be {wish}. Nothing was changed.")


class IdempotencyConflict(AgentError):
    """The client repeated a key with another body: it must use a new key for a new order."""

    code = "idempotency_conflict"

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"This Idempotency-Key was used for task {task_id} with another body. Nothing was created; use a new key."
        )
        self.task_id = task_id


class OrderRefused(AgentError):
    """The order names no agent or no skill that there is. No task was made; the refusal is in the audit trail."""


class AgentUnknown(OrderRefused):
    """There is no agent of this id."""

    code = "agent_unknown"

    def __init__(self) -> None:
        super().__init__("There is no agent of this id. No task was made; GET /api/agents lists them.")


class SkillUnknown(OrderRefused):
    """There is no skill of this id."""

    code = "skill_unknown"

    def __init__(self) -> None:
        super().__init__("There is no skill of this id. No task was made; GET /api/skills lists them.")


class SkillRequired(OrderRefused):
    """The order leaves the choice of skills to the agent, which this release cannot do."""

    code = "skill_required"

    def __init__(self) -> None:
        super().__init__(
            "Agents do not choose skills by themselves in this release, so skillId is needed. No task was made."
        )


class InputInvalid(AgentError):
    """The input does not fit the skill's input model."""

    code = "input_invalid"

    def __init__(self, skill_id: str, problems: list[FieldProblem]) -> None:
        super().__init__(f"The input does not fit {skill_id}. No task was made; GET /api/skills shows its schema.")
        self.problems = problems


class KeyInvalid(AgentError):
    """An Idempotency-Key has 1 to 255 visible ASCII characters."""

    code = "idempotency_key_invalid"

    def __init__(self) -> None:
        super().__init__("Idempotency-Key has 1 to 255 visible ASCII characters. Nothing was done.")


class FileTooLarge(AgentError):
    """The upload is over the limit."""

    code = "file_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The file is larger than {limit_bytes:,} bytes. Nothing was kept.")


class FileNotKept(AgentError):
    """The workspace could not take the file: its disk is full or it cannot be written."""

    code = "workspace_unwritable"

    def __init__(self, why: str) -> None:
        super().__init__(f"The workspace could not take the file ({why}). Nothing was kept; tell who runs this server.")


class ArtifactNotFound(AgentError, FileNotFoundError):
    """The task has no file of this name, or its content is no longer what the task wrote."""

    code = "not_found"

    def __init__(self, task_id: str, *, changed: bool = False) -> None:
        what = "is gone or was changed since, so it is not handed out" if changed else "does not exist"
        super().__init__(f"This file of task {task_id} {what}.")


class UploadRefused(AgentError):
    """The file is empty or too large; nothing was kept. Send a smaller one, or one that holds something."""

    code = "file_too_large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        what = f"has {size_bytes:,} bytes, and {limit_bytes:,} are taken" if size_bytes else "is empty"
        super().__init__(f"The file {what}. Nothing was kept.")


class SubmissionRefused(AgentError):
    """An order that can never run; nothing was created. `errors` points at its fields."""

    def __init__(self, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.errors = errors or []


class AdmissionRefused(AgentError):
    """More tasks a second than are admitted; nothing was created. Send it again after `retry_after_seconds`."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Too many tasks at once. Nothing was created; try again in {retry_after_seconds:.2f} s.")
        self.retry_after_seconds = retry_after_seconds


class QueryInvalid(AgentError):
    """A parameter or header of the request is unknown, doubled or malformed; nothing was done."""

    code = "query_invalid"
