"""What every skill is: a typed tool with an id, a version, an input model, an output model and capabilities.

A skill never decides whether it may run. `toolgate.enforcement` decided that, and the `SkillContext` it is
handed carries what the decision lets it reach.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from toolgate.types import Resource


class Capability(StrEnum):
    """What a skill can do to the world outside its arguments."""

    NETWORK = "network"
    READ_WORKSPACE = "read_workspace"
    WRITE_WORKSPACE = "write_workspace"
    RUN_COMMAND = "run_command"


class SkillModel(BaseModel):
    """Base of all inputs and outputs: camelCase on the wire, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )


def dump(model: BaseModel) -> dict[str, Any]:
    """Return a model as JSON-ready data, under its names on the wire."""
    return model.model_dump(mode="json", by_alias=True)


def scalar_arguments(model: BaseModel, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the texts, whole numbers and booleans among a model's arguments, for the rules to look at."""
    return {
        name: value for name, value in dump(model).items() if isinstance(value, str | int) and name not in leave_out
    }


def clean_text(text: str) -> str:
    """Return a text that every store can hold: NUL and lone surrogates become U+FFFD."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")


def printable(data: bytes) -> str:
    """Return bytes as text that every store can hold: invalid UTF-8 and NUL become U+FFFD."""
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")


def _refuse_surrogates(text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text holds half of a surrogate pair, which is no character")
    return text


PlainText = Annotated[str, AfterValidator(_refuse_surrogates)]  # a text that can be encoded


class SkillError(Exception):
    """A skill could not do its work.

    Cause: bad input content, a limit, or the outside world. Raise it with a code from a closed set and a
    sentence that says what happened and what to do. `retryable` errors are tried again by the run flow.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False, retry_after_seconds: float | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class LimitExceeded(SkillError):
    """A stated bound on size, time, depth or count was reached; `limit` names it."""

    def __init__(self, limit: str, message: str):
        super().__init__("limit_exceeded", message)
        self.limit = limit


class SkillStopped(SkillError):
    """`should_stop` said so: the task was cancelled, or the worker is ending. Nothing was kept, nothing runs on."""

    def __init__(self) -> None:
        super().__init__("stopped", "The call was stopped before its end. Nothing was kept.", retryable=True)


class SkillRefused(SkillError):
    """The world turned out to be outside what the gate allowed (a redirect, a resolved address, a symlink).

    `code` is a reason code of the gate: domain_not_allowed, address_not_allowed, read_path or write_path.
    Never retried.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillContext:
    """What the gate's decision lets one call reach."""

    workspace: Path  # the workspace root
    task_id: str
    timeout_seconds: float  # wall-clock bound of this call
    domains: tuple[str, ...] = ()  # "host" or "*.host": also checked at each redirect
    read_scopes: tuple[str, ...] = ()  # folders relative to the root; "" is the whole workspace
    write_scopes: tuple[str, ...] = ()
    report: Callable[[str], None] = field(default=lambda line: None)  # progress, for people
    should_stop: Callable[[], bool] = field(default=lambda: False)  # asked ten times a second by what takes long


class Skill(Protocol):
    """One typed tool. Instances are stateless and shared between threads."""

    id: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]  # one line for people and for models
    capabilities: ClassVar[frozenset[Capability]]
    input_model: ClassVar[type[SkillModel]]
    output_model: ClassVar[type[SkillModel]]
    inline: ClassVar[bool]  # short and pure: may run on the event loop, else it runs in a thread

    def is_idempotent(self, arguments: Any) -> bool:
        """Say whether this call may be repeated after a crash left its outcome unknown."""
        ...

    def brings_outside_text(self, arguments: Any) -> bool:
        """Say whether the output may hold text that neither the submitter nor the agent wrote: it taints the task."""
        ...

    def resource(self, arguments: Any, workspace: Path) -> Resource:
        """Return what this call would touch, normalised, before anything is touched.

        Raises: SkillRefused where a path cannot be inside the workspace.
        """
        ...

    def run(self, arguments: Any, context: SkillContext) -> SkillModel:
        """Do the work. Called by `toolgate.enforcement` alone.

        Raises: SkillError, LimitExceeded, SkillRefused.
        """
        ...
