"""What can go wrong with a task, an order or a file, for the caller to answer.

AgentError
├── TaskNotFound          no task of that id
├── TaskStateConflict     its state forbids what was asked; nothing was changed
├── IdempotencyConflict   the key was used before, with another body; nothing was created
├── OrderRefused          an order that names nobody who could do it; audited
│   ├── AgentUnknown
│   └── SkillUnknown
├── InputInvalid          the input does not fit the skill or the agent; `problems` says where
├── WorkflowInvalid       the steps cannot be carried out as they stand; `problems` says why
├── KeyInvalid            an Idempotency-Key that cannot be kept
├── AdmissionRefused      more tasks a second than are admitted; carries when to come back
├── EditRefused           an edit of an agent that was not taken; nothing was changed
│   ├── ConfigInvalid     the configuration does not fit; `problems` says where
│   ├── EditConflict      somebody else published first; carries both versions
│   ├── NothingToChange   it is so already
│   ├── DraftNotFound     no draft of that id that is still open to this person
│   └── VersionNotFound   no such version of this agent
├── BulkRefused           a bulk run that was not started; nothing was changed
├── BulkNotFound          no bulk run of that id
├── FileTooLarge          an upload over the limit
├── FileNotKept           the workspace could not take an upload
├── CapRefused            a cap that cannot be set; nothing was changed
├── ReservationClosed     money that is no longer held: the call must not be sent
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
    """The order names no agent or no skill that there is. No task was made; the refusal is in the audit trail.

    `pointer` names the field where it is that of a workflow's step.
    """

    what = ""

    def __init__(self, agent_id: str = "", skill_id: str | None = None, *, pointer: str = "") -> None:
        super().__init__(self.what)
        self.agent_id, self.skill_id = agent_id, skill_id
        self.problems = [FieldProblem(pointer=pointer, code=self.code, detail=self.what)] if pointer else []


class AgentUnknown(OrderRefused):
    """There is no agent of this id."""

    code = "agent_unknown"
    what = "There is no agent of this id. No task was made; GET /api/agents lists them."


class SkillUnknown(OrderRefused):
    """There is no skill of this id."""

    code = "skill_unknown"
    what = "There is no skill of this id. No task was made; GET /api/skills lists them."


class InputInvalid(AgentError):
    """The input does not fit the skill's input model or, without a skill, the agent's input schema."""

    code = "input_invalid"

    def __init__(self, taker: str, problems: list[FieldProblem], *, shown_at: str = "/api/skills") -> None:
        super().__init__(f"The input does not fit {taker}. No task was made; GET {shown_at} shows its schema.")
        self.problems = problems


class WorkflowInvalid(AgentError):
    """The steps of a workflow cannot be carried out: a name is doubled, a link leads nowhere or in a circle."""

    code = "workflow_invalid"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("These steps cannot be carried out as they stand. No task was made; mend what errors names.")
        self.problems = problems


class KeyInvalid(AgentError):
    """An Idempotency-Key has 1 to 255 visible ASCII characters."""

    code = "idempotency_key_invalid"

    def __init__(self) -> None:
        super().__init__("Idempotency-Key has 1 to 255 visible ASCII characters. Nothing was done.")


class EditRefused(AgentError):
    """An edit of an agent was not taken. Nothing was changed."""

    code = "edit_refused"


class ConfigInvalid(EditRefused):
    """The configuration does not fit the schema of agents; `problems` says where."""

    code = "config_invalid"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("The configuration does not fit. Nothing was changed; mend what is named and send it again.")
        self.problems = problems


class EditConflict(EditRefused):
    """The agent moved on while it was edited. Look at what changed, rebase the draft, then publish it."""

    code = "edit_conflict"

    def __init__(self, *, base_version: int, current_version: int) -> None:
        super().__init__(
            f"This edit was made on version {base_version}, and version {current_version} is in force now. Nothing "
            "was changed and the draft is kept: look at what differs, rebase the draft, then publish it."
        )
        self.base_version = base_version
        self.current_version = current_version


class NothingToChange(EditRefused):
    """The agent is so already."""

    code = "nothing_to_change"


class DraftNotFound(EditRefused):
    """There is no draft of this id that is open and this person's: published, thrown away, or somebody else's."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__("This draft was published or thrown away, or is somebody else's. Nothing was changed.")


class VersionNotFound(EditRefused):
    """The agent has no such version."""

    code = "not_found"

    def __init__(self, agent_id: str, version: int) -> None:
        super().__init__(f"{agent_id} has no version {version}. Nothing was changed.")


class BulkRefused(AgentError):
    """The bulk run was not started: nothing it could change, too many tasks, or too many runs of this person."""

    code = "bulk_refused"


class BulkNotFound(AgentError):
    """There is no bulk run of this id."""

    code = "not_found"

    def __init__(self, bulk_id: str) -> None:
        super().__init__(f"There is no bulk run {bulk_id}.")


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


class CapRefused(AgentError):
    """A cap that cannot be set: for nobody, without a reason, no amount, or above what the settings allow."""

    code = "cap_refused"


class ReservationClosed(AgentError):
    """The money is no longer held, for somebody else has ended the run. Send nothing and let the run go."""

    code = "reservation_closed"

    def __init__(self, reservation_id: str) -> None:
        super().__init__(f"Reservation {reservation_id} is no longer held, so its call is not sent. Nothing was spent.")
