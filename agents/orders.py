"""What is ordered, what a worker holds while it works, and how a run may end. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from agents.types import AgentConfig


def run_event_id(task_id: str, fence: int) -> str:
    """Return the id of the `run.started` of one run: no two have it, and whoever finds the run dead knows it too."""
    return f"{task_id}-{fence}"


WORKFLOW = "workflow"  # stands for a worker where a task waits for its steps: nobody holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task as its submitter wants it; ids were checked before."""

    agent_id: str
    skill_id: str  # empty: the agent's own run
    input: Mapping[str, Any]
    submitted_by: str  # user name
    priority: int = 0  # -100 … 100, higher first
    run_at: datetime | None = None  # None: as soon as a slot is free, whatever the clock says
    idempotency_key: str | None = None
    body_digest: str = ""
    parent_task_id: str = ""
    trace_id: str = ""  # empty: a new trace
    workflow_step: str = ""  # its name among its parent's steps
    draft_id: str = ""  # the unpublished configuration that it tries out
    callback_url: str = ""  # who is told of its end
    tainted: bool = False  # its input holds text from outside, out of another task


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One claimed task. Every write about it carries `worker_id` and `fence`, or changes nothing."""

    task_id: str
    worker_id: str
    fence: int
    agent_id: str
    agent_version: int
    config: AgentConfig | None  # the version that the task started with; None if there is no such agent
    skill_id: str  # empty: the agent's own run
    input: Mapping[str, Any]
    input_bytes: int  # of its JSON
    attempt: int  # 1 for the first
    submitted_by: str
    trace_id: str
    started_at: datetime
    deadline_at: datetime | None
    task_type: str  # "unknown" if there is no such agent
    timeout_seconds: float  # of one run
    max_attempts: int
    parent_task_id: str = ""  # the workflow that it is a step of

    @property
    def event_id(self) -> str:
        """The id of the event that the run began with."""
        return run_event_id(self.task_id, self.fence)

    @property
    def is_workflow(self) -> bool:
        """Whether this run carries a workflow, which calls no model and no skill."""
        return not self.skill_id and self.config is not None and self.config.is_workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """Why a task failed: `code` for machines, `reason` the cause beneath it, `message` for people."""

    code: str
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file that belongs to a task and never changes again."""

    name: str
    path: str  # relative to the workspace root
    size_bytes: int
    sha256: str
    content_type: str

    def columns(self) -> dict[str, Any]:
        """Return the columns of its row."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The task is done; `result` is JSON-ready."""

    result: Mapping[str, Any]
    step_id: str = ""  # the step that ends with the run, if one is open
    artifacts: tuple[KeptFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The task is over and did not succeed."""

    error: TaskError
    step_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """A retryable error: the next attempt is due at `run_at`."""

    error: TaskError
    run_at: datetime
    step_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed:
    """Over its rate: waiting is not refusing, and uses no attempt."""

    run_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Waits for a person; holds no slot and no lease."""

    approval_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A workflow waits for its steps; holds no slot and no lease, and uses no attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Stopped by a person while it ran; what a step in flight did is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Given back because the worker stops, the store failed or a switch was turned; uses no attempt."""

    run_at: datetime | None = None  # not before
    reason: str = ""  # the switch


Ending = Succeeded | Failed | Retried | Delayed | Parked | Waiting | Cancelled | Released
