"""What a run tells to who collects traces, by the GenAI conventions: ids, names, counts and outcomes, never words.

What was asked, said, handed on and brought back stays in the audit trail and the transcript, which have readers of
their own.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from agents.calls import Passage
from agents.orders import Ending, Failed, Lease, Retried
from agents.providers.base import ModelReply, ModelRequest, ProviderError
from agents.providers.switchboard import ModelRef
from agents.skills.base import SkillError
from audit import tracing
from audit.tracing import Attributes, Span
from toolgate.records import recordable_id


def running(lease: Lease) -> AbstractContextManager[Span]:
    """One run of a task, within the submission of that task, whichever process took it."""
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": lease.agent_id,
        "gen_ai.agent.name": lease.config.display_name if lease.config else lease.agent_id,
        "gen_ai.agent.version": str(lease.agent_version),
        "orchestrator.task.id": lease.task_id,
        "orchestrator.task.attempt": lease.attempt,
        "orchestrator.worker.id": lease.worker_id,
    }
    parent = tracing.span_of_task(lease.task_id)
    name = f"invoke_agent {lease.agent_id}"
    return tracing.span(name, attributes, kind="consumer", trace=lease.trace_id, parent_id=parent)


def tell_ending(span: Span, ending: Ending | None) -> None:
    """Add how a run ended; None: a transaction on the way has ended it, or the lease was lost."""
    if ending is not None:
        span.tell({"orchestrator.run.ending": type(ending).__name__.lower()})
    if isinstance(ending, Failed | Retried):
        span.fail(ending.error.code)


@contextmanager
def asking(ref: ModelRef, request: ModelRequest) -> Iterator[Span]:
    """One turn of a model, as its vendor is asked."""
    attributes: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": ref.provider,
        "gen_ai.request.model": ref.model,
        "gen_ai.request.max_tokens": request.max_output_tokens,
    }
    with tracing.span(f"chat {ref.model}", attributes, kind="client") as span:
        try:
            yield span
        except ProviderError as error:
            span.fail(error.code)
            raise


def tell_reply(span: Span, reply: ModelReply) -> None:
    """Add what a turn used and how it stopped."""
    span.tell({"gen_ai.response.finish_reasons": (reply.stop.value,)})
    if reply.model:
        span.tell({"gen_ai.response.model": reply.model})
    if reply.response_id:
        span.tell({"gen_ai.response.id": reply.response_id})
    if reply.usage is not None:
        span.tell(
            {
                "gen_ai.usage.input_tokens": reply.usage.input_tokens,
                "gen_ai.usage.output_tokens": reply.usage.output_tokens,
            }
        )


def judging(skill_id: str) -> AbstractContextManager[Span]:
    """The gate's decision on one call, with the wait for its turn to be written."""
    name = recordable_id(skill_id)
    return tracing.span(f"authorise {name}", {"gen_ai.tool.name": name})


def tell_verdict(span: Span, passage: Passage) -> None:
    """Add what the gate decided; it is a decision, not an error."""
    if (verdict := passage.verdict) is not None:
        span.tell(
            {
                "orchestrator.decision.id": verdict.decision_id,
                "orchestrator.decision.effect": verdict.effect.value,
                "orchestrator.decision.reason": verdict.reason.value,
                "orchestrator.policy.version": verdict.policy_version,
            }
        )


@contextmanager
def executing(skill_id: str, call_id: str) -> Iterator[Span]:
    """One call of a skill that the gate let through."""
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": skill_id, "gen_ai.tool.type": "function"}
    if call_id:
        attributes["gen_ai.tool.call.id"] = call_id
    with tracing.span(f"execute_tool {skill_id}", attributes) as span:
        try:
            yield span
        except SkillError as error:
            span.fail(error.code)
            raise
