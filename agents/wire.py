"""What the API's answers about tasks, agents, skills and files look like: for the OpenAPI document and for tests.

The answers themselves are plain mappings made in `queries` and `api`; a test holds them to these models.
"""

from datetime import date, datetime
from typing import Any, Literal

from agents.states import TaskState
from audit.transcripts import Kind
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
    callback_url: str | None


class TaskPage(WireModel):
    """Tasks, newest first; `next` is the cursor of the older ones."""

    results: list[TaskWire]
    next: str | None


class TranscriptEntryWire(WireModel):
    """One moment of an agent's run, its secrets redacted. What `body` holds depends on `kind`."""

    n: int
    id: str
    at: datetime
    kind: Kind
    body: dict[str, Any]


class TranscriptPage(WireModel):
    """A task's transcript, oldest first; `next` is the cursor of what came after."""

    results: list[TranscriptEntryWire]
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
    status: Literal["enabled", "quarantined"]
    capabilities: list[str]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class FleetWire(WireModel):
    """Whether the fleet works. `slots` is set while it is resumed in stages; `queued` is counted up to 1,000."""

    state: Literal["running", "stopped"]
    slots: int | None
    all_slots: int
    running: int
    queued: int
    reason: str
    changed_by: str | None
    changed_at: datetime | None


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


class AccountWire(WireModel):
    """Spent and held this month, in millionths of a US dollar; without a cap of its own `capMicro` is null."""

    spent_micro: int
    held_micro: int
    cap_micro: int | None
    free_micro: int | None
    percent_spent: int


class AgentAccountWire(AccountWire):
    """What one agent spent and holds this month."""

    agent_id: str


class ModelCostWire(WireModel):
    """What one model, "provider:name", cost this month."""

    model: str
    calls: int
    spent_micro: int
    input_tokens: int
    output_tokens: int


class DayCostWire(WireModel):
    """What one day (UTC) cost."""

    day: date
    spent_micro: int


class OpenReservationWire(WireModel):
    """Money that is held for a call longer than any call should take."""

    reservation_id: str
    task_id: str
    agent_id: str
    model: str
    state: str
    worst_micro: int
    opened_at: datetime


class BudgetWire(WireModel):
    """The current month's money. Caps are set in pounds and kept in dollars, at the rate of a day."""

    month: str
    fleet: AccountWire
    forecast_micro: int
    agents: list[AgentAccountWire]
    models: list[ModelCostWire]
    days: list[DayCostWire]
    old_reservations: list[OpenReservationWire]
    hard_cap_gbp: str
    usd_per_gbp: str
    rate_day: date
