"""What an agent's own run thinks with: its configuration, its tools, and the conversation so far."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from agents import steps
from agents.answers import Facts, SkillFact
from agents.border import find_redactor
from agents.calls import Wish
from agents.conversation import Conversation, replay
from agents.models import StepState
from agents.monitoring import build_context
from agents.orders import Lease, TaskError
from agents.prompts import build_system, build_task
from agents.providers.base import ModelRequest, ToolCall, ToolSpec
from agents.reviews import reopen_refused
from agents.tools import list_tools
from agents.types import AgentConfig

MAX_REJECTIONS = 1  # an answer that does not hold goes back once
TURN_SECONDS = 120.0  # the longest that one turn may take, within what is left of the run


@dataclass(slots=True, kw_only=True)
class Session:
    """One run's view of its task; only `talk` grows."""

    config: AgentConfig
    system: str
    task_text: str
    tools: tuple[ToolSpec, ...]
    context: dict[str, Any]
    talk: Conversation
    deadline: float  # of the run, by the loop's clock

    def make_request(self, model: str, *, now: float) -> ModelRequest:
        """Return the next turn, for one vendor's model."""
        return ModelRequest(
            model=model,
            system=self.system,
            messages=tuple(self.talk.messages),
            tools=self.tools,
            max_output_tokens=self.config.limits.max_output_tokens,
            timeout_seconds=min(self.count_seconds(now=now), TURN_SECONDS),
        )

    def count_seconds(self, *, now: float) -> float:
        """Return what is left of the run."""
        return self.deadline - now

    def make_wish(self, call: ToolCall) -> Wish:
        """Return the model's call as a wish to the gate."""
        return Wish(
            skill_id=call.name,
            arguments=call.arguments,
            call_id=call.id,
            ordinal=self.talk.steps + 1,
            is_unknown=call.id in self.talk.unknown,
            ceiling_reached=self.talk.calls >= self.config.limits.max_calls,
        )

    def find_limit(self) -> TaskError | None:
        """Return why the model gets no further turn, or None."""
        if self.talk.rejections > MAX_REJECTIONS:
            message = (
                "The model's answer did not fit what its agent must return, and its correction did not either. "
                "The steps show what was wrong. Everything up to here is kept; a retry gives it another chance."
            )
            return TaskError(code="output_invalid", message=message)
        if self.talk.turns >= self.config.limits.max_steps:
            message = (
                f"The model used all {self.config.limits.max_steps} turns of its agent without an answer. "
                "Everything up to here is kept. Retry to let it go on, or raise the agent's limit."
            )
            return TaskError(code="max_steps", message=message)
        return None


def open_session(lease: Lease, config: AgentConfig, *, deadline: float, now: datetime) -> Session | None:
    """Rebuild the session from the ledger, in the caller's transaction; None if the lease was lost."""
    held = steps.find_held(lease)
    if held is None:
        return None
    if config.constraints.review_required and held.retried_fence:
        reopen_refused(lease, now=now)
    context = build_context(config, lease.input)
    task_text = find_redactor().text(build_task(config, lease.input, context))
    return Session(
        config=config,
        system=build_system(config),
        task_text=task_text,
        tools=list_tools(lease.agent_id),
        context=context,
        talk=replay(task_text, steps.read_steps(lease.task_id), since_fence=held.retried_fence),
        deadline=deadline,
    )


_STATES = {StepState.DONE: "done", StepState.FAILED: "failed", StepState.REFUSED: "refused"}


def read_facts(lease: Lease, session: Session) -> Facts:
    """Return what the ledger knows of this task: what an answer's claims are held against."""
    calls = tuple(
        SkillFact(
            skill_id=step.skill_id,
            arguments=step.output["arguments"],
            state=_STATES[StepState(step.state)],
            output=step.output["output"],
        )
        for step in steps.read_steps(lease.task_id)
        if step.kind == "skill" and step.state in _STATES and step.output
    )
    # Redacted like the calls' arguments: a claim about the input is held against what the model was shown of it.
    given = find_redactor().value(dict(lease.input))
    return Facts(input=given, calls=calls, workspace=settings.WORKSPACE_ROOT, context=session.context)
