"""What the API's answers about tasks, agents, skills and files look like: for the OpenAPI document and for tests.

The answers themselves are plain mappings made in `queries` and `api`; a test holds them to these models.
"""

from datetime import datetime
from typing import Any, Literal

from agents.states import TaskState
from toolgate.reading import WireModel


class TaskErrorWire(WireModel):
    """Why a task failed. `code` is the reason code where the gate refused; `reason` the cause beneath it."""

    code: str
    reason: str | None
    message: str


class TaskWire(WireModel):
    """A task. A result over 1 MB is `{"artifact": name, …}`; the file is at `/api/tasks/{taskId}/artifacts/{name}`."""

    task_id: str
    status: TaskState
    agent_id: str
    skill_id: str | None
    input: dict[str, Any]
    result: dict[str, Any] | None
    error: TaskErrorWire | None
    attempt: int
    priority: int
    run_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    parent_task_id: str | None
    trace_id: str
    cost_micro: int


class TaskPage(WireModel):
    """Tasks, newest first; `next` is the cursor of the older ones."""

    results: list[TaskWire]
    next: str | None


class PermissionWire(WireModel):
    """What the rules in force let an agent do with a skill; conditions on arguments are in the rules."""

    skill_id: str
    effect: Literal["allow", "ask", "deny"]
    calls_per_task: int | None
    rate_per_second: int | None
    domains: list[str]


class AgentWire(WireModel):
    """An agent as it is now."""

    agent_id: str
    name: str
    status: str
    task_type: str
    tier: str
    model: str
    skills: list[PermissionWire]
    config_version: int
    timeout_seconds: int
    retries: int
    concurrent: int


class AgentDetailWire(AgentWire):
    """An agent with its prompt, its constraints and the schemas of its own runs."""

    prompt: str
    constraints: dict[str, Any]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class AgentPage(WireModel):
    """Every agent, by id; there is one page."""

    results: list[AgentWire]
    next: None


class SkillWire(WireModel):
    """A skill with the JSON Schemas of its input and output."""

    skill_id: str
    version: str
    summary: str
    capabilities: list[str]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class SkillPage(WireModel):
    """Every skill, by id; there is one page."""

    results: list[SkillWire]
    next: None


class FileWire(WireModel):
    """A document that was put into the workspace; `path` is what a skill's input names it by."""

    file_id: str
    path: str
    size_bytes: int
    sha256: str
