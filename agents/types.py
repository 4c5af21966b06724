"""What an agent is: data, not code, in one schema for the fleet's files and the versions in the store. PURE."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class AgentStatus(StrEnum):
    """Whether an agent may work."""

    ENABLED = "enabled"
    PAUSED = "paused"  # its tasks wait; a run under way is given back after its step
    QUARANTINED = "quarantined"  # its runs are cut off, and every skill call is refused
    DISABLED = "disabled"  # the same, for an agent that is not needed rather than not trusted
    STOPPED = "stopped"  # the whole fleet is; never an agent's own
    UNKNOWN = "unknown"  # no agent of that id


class Tier(StrEnum):
    """A name for a model, mapped to one by the settings."""

    CHEAP = "cheap"
    BALANCED = "balanced"


WORKFLOW_TASK_TYPE = "integration-workflow"  # an agent of this type carries workflows out, by code


class _Closed(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Constraints(_Closed):
    """Bounds on an agent's own runs that are no rule about a skill call."""

    review_required: bool = False  # a person reads the report before it counts as done
    max_patch_characters: int | None = Field(default=None, ge=1)
    max_files_per_task: int | None = Field(default=None, ge=1)
    max_summary_words: int | None = Field(default=None, ge=1)


# Pounds, to the penny's hundredth; on the wire a text, so that no float ever holds money.
Pounds = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=4, allow_inf_nan=False)]


class RunLimits(_Closed):
    """Bounds on one task's run by a model. Costs are caps: reserved before each call, never passed."""

    max_steps: int = Field(default=25, ge=1, le=200)  # model turns
    max_calls: int = Field(default=100, ge=0, le=1000)  # skill calls, refused ones too
    max_output_tokens: int = Field(default=4096, ge=64, le=128_000)  # of one turn
    max_cost_gbp: Pounds = Decimal("0.50")  # of one task
    monthly_cap_gbp: Pounds | None = None  # of the agent in a calendar month; None: only the fleet's


class AgentConfig(_Closed):
    """One version of one agent. What it may do with skills is not here: that is the gate's policy."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    display_name: str = Field(min_length=1, max_length=80)
    task_type: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    tier: Tier
    timeout_seconds: int = Field(ge=1, le=3600)
    retries: int = Field(ge=0, le=10)  # for errors only: attempts = 1 + retries
    concurrent: int = Field(ge=1, le=1000)  # runs at once; beyond it tasks wait
    prompt: str = Field(min_length=40, max_length=20_000)
    input_schema: dict[str, Any]  # JSON Schema of an agent run's input
    output_schema: dict[str, Any]
    constraints: Constraints = Constraints()
    limits: RunLimits = RunLimits()

    @property
    def is_workflow(self) -> bool:
        """Whether the agent's own run is a workflow, which calls no model."""
        return self.task_type == WORKFLOW_TASK_TYPE
