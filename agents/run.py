"""The core flow: one task, from its claim to its next resting place. Read it from top to bottom.

 1  claim      one conditional update; whoever changes the row holds the task, by a fence no earlier holder has
 2  load       the agent as it is now and the skill; what is disabled or quarantined the gate refuses
 3  pass       the gate decides, and the intent of the step is written, in one transaction
 4  act        only a call that was let through reaches a skill, and only by the gate's own hand
 5  end        result, state, step and audit events in one write, guarded by the fence

No effect happens inside a transaction, and no transaction is held across an `await`. The intent is recorded
before the effect and the outcome after it, so that a crash between the two is seen for what it is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from pydantic import ValidationError

from agents import artifacts, metrics, queue, registry, steps
from agents.endings import finish
from agents.models import Task
from agents.orders import Cancelled, Delayed, Ending, Failed, Lease, Parked, Released, Retried, Succeeded, TaskError
from agents.retry import Failure, decide_retry
from agents.skills.base import Skill, SkillContext, SkillError, SkillRefused, dump
from agents.states import TaskState
from toolgate import approvals, enforcement
from toolgate.enforcement import Permit, Verdict
from toolgate.queries import list_permissions
from toolgate.types import Action, Call, Effect, Principal, Reason, Request, Resource

log = logging.getLogger(__name__)

# Read by the log formatter, by name: every line of a run carries its ids.
_task_id: ContextVar[str] = ContextVar("task_id")
_trace_id: ContextVar[str] = ContextVar("trace_id")

CANCEL = "cancelled by a person"  # the message of the cancellation that ends a run for good
GRACE_SECONDS = 2.0  # a skill keeps its own time; the run ends it this much later
WRITE_RETRY_SECONDS = 0.5
MAX_INLINE_BYTES = 16_000  # an input up to which a short skill may run on the loop: about a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What a run works with; a test puts its own in their place."""

    worker_id: str
    write: Callable[[Callable[[], Any]], Awaitable[Any]]  # runs a function in a transaction
    clock: Callable[[], datetime]
    threads: Executor
    draw: Callable[[], float]  # a number in [0, 1), for jitter


async def claim(flow: Flow) -> Lease | None:
    """Claim the next due task."""
    lease: Lease | None = await flow.write(lambda: queue.claim_next(flow.worker_id, now=flow.clock()))
    if lease is not None:
        metrics.count_start(lease)
    return lease


async def run_task(lease: Lease, flow: Flow) -> None:
    """Carry a claimed task to its next resting place, and write down how it ended, whatever happened."""
    _task_id.set(lease.task_id)
    _trace_id.set(lease.trace_id)
    opened = Opened()
    try:
        async with asyncio.timeout(lease.timeout_seconds + GRACE_SECONDS):
            ending = await _call_skill(lease, flow, opened)
    except SkillError as error:
        ending = _end_error(lease, flow, opened, error)
    except TimeoutError:
        ending = _end_error(lease, flow, opened, _timeout_error(lease))
    except asyncio.CancelledError as cancelled:
        ending = Cancelled() if CANCEL in cancelled.args else Released()
    except DatabaseError:
        log.exception("the store failed in a run", extra={"action": "run.store-failed"})
        ending = Released()
    except Exception:  # a defect must end its task, not its worker
        log.exception("a run crashed", extra={"action": "run.crashed"})
        ending = Failed(error=_crash_error(), step_id=opened.step_id)
    opened.is_over = True
    if ending is not None:
        await _write_ending(lease, ending, flow)


@dataclass(slots=True)
class Opened:
    """The step in flight, if there is one."""

    step_id: str = ""
    idempotent: bool = True
    is_over: bool = False  # the run ended without waiting for the skill, which may stop now


async def _call_skill(lease: Lease, flow: Flow, opened: Opened) -> Ending | None:
    """Take the task's one skill call through the gate; None if the gate's transaction has ended the run."""
    skill = registry.find_skill(lease.skill_id)
    permit = await flow.write(lambda: _pass_gate(lease, skill, opened, now=flow.clock()))
    if permit is None or skill is None:
        return None
    arguments = skill.input_model.model_validate(permit.arguments)
    work = partial(enforcement.invoke, permit, skill.run, arguments, partial(_context, lease, opened))
    is_short = skill.inline and lease.input_bytes <= MAX_INLINE_BYTES
    output = (
        work() if is_short else await asyncio.get_running_loop().run_in_executor(flow.threads, copy_context().run, work)
    )
    result, kept = artifacts.keep_result(lease.task_id, dump(output))
    written = artifacts.keep_written(lease.task_id, permit.resource.write_paths)
    return Succeeded(result=result, step_id=opened.step_id, artifacts=(*kept, *written))


def _pass_gate(lease: Lease, skill: Skill | None, opened: Opened, *, now: datetime) -> Permit | None:
    """Decide, and write the intent or the ending, in one transaction; None if there is nothing to run."""
    if not steps.is_held(lease):
        return None
    call, idempotent, refusal = _build_call(lease, skill, now=now)
    if refusal is not None:
        verdict = enforcement.refuse(call, reason=refusal[0], detail=refusal[1])
    elif not idempotent and steps.is_outcome_unknown(lease):
        if not approvals.find_granted(call):
            _park_unknown(lease, call, now=now)
            return None
        verdict = enforcement.authorise(call)
        if verdict.permit is not None:
            approvals.use_granted(call)
    else:
        verdict = enforcement.authorise(call)
    if verdict.permit is None:
        finish(lease, _end_refusal(lease, call, verdict, now=now), now=now)
        return None
    opened.step_id = steps.open_step(lease, decision_id=verdict.decision_id, now=now)
    opened.idempotent = idempotent
    return verdict.permit


def _build_call(lease: Lease, skill: Skill | None, *, now: datetime) -> tuple[Call, bool, tuple[Reason, str] | None]:
    """Return the call as the gate judges it, whether it may be repeated, and why it cannot even be judged."""
    arguments: dict[str, Any] = dict(lease.input)
    resource, idempotent, refusal = Resource(), True, None
    if skill is not None:
        try:
            model = skill.input_model.model_validate(lease.input)
            arguments = dump(model)
            idempotent = skill.is_idempotent(model)
            resource = skill.resource(model, settings.WORKSPACE_ROOT)
        except ValidationError as error:
            refusal = Reason.INPUT_INVALID, f"{error.error_count()} fields of the input are not as the skill wants them"
        except SkillRefused as error:
            refusal = Reason(error.code), error.message
    agent = registry.find_agent(lease.agent_id)
    call = Call(
        request=Request(
            principal=Principal(
                agent_id=lease.agent_id,
                version=lease.agent_version,
                status=agent.status if agent else "unknown",
            ),
            action=Action(skill_id=lease.skill_id, version=skill.version if skill else "", known=skill is not None),
            resource=resource,
        ),
        arguments=arguments,
        task_id=lease.task_id,
        trace_id=lease.trace_id,
        submitted_by=lease.submitted_by,
        now=now,
    )
    return call, idempotent, refusal


def _context(lease: Lease, opened: Opened, permit: Permit) -> SkillContext:
    return SkillContext(
        workspace=settings.WORKSPACE_ROOT,
        task_id=lease.task_id,
        timeout_seconds=lease.timeout_seconds,
        domains=permit.domains,
        read_scopes=permit.read_scopes,
        write_scopes=permit.write_scopes,
        should_stop=lambda: opened.is_over,
    )


def _park_unknown(lease: Lease, call: Call, *, now: datetime) -> None:
    """Ask a person whether a step that may have happened already is to be done (again)."""
    approval = approvals.open_approval(call, kind="step_unknown")
    finish(lease, Parked(approval_id=approval.id, reason="step_unknown"), now=now)


def _end_refusal(lease: Lease, call: Call, verdict: Verdict, *, now: datetime) -> Ending:
    """Return what becomes of a call that was not let through: waiting is not refusing."""
    if verdict.effect == Effect.ASK:
        approval = approvals.open_approval(call, verdict, task_type=lease.task_type)
        return Parked(approval_id=approval.id, reason=verdict.reason)
    if verdict.reason == Reason.RATE_LIMITED and (lease.deadline_at is None or now < lease.deadline_at):
        return Delayed(run_at=_find_turn(lease, verdict, now=now))
    return Failed(error=TaskError(code=verdict.reason, message=verdict.detail))


def _find_turn(lease: Lease, verdict: Verdict, *, now: datetime) -> datetime:
    """Return when a task over its rate is to come back: behind those that wait already, one interval each.

    All at the same moment would be refused all but one, again and again, each time with a decision on record.
    """
    waiting = Task.objects.filter(
        state=TaskState.QUEUED, agent_id=lease.agent_id, skill_id=lease.skill_id, run_at__gt=now
    ).count()
    rates = [permission.rate_per_second for permission in list_permissions(lease.agent_id, [lease.skill_id])]
    interval = 1 / rates[0] if rates and rates[0] else 0.0
    turn = now + timedelta(seconds=(verdict.retry_after_seconds or 0.0) + waiting * interval)
    return min(turn, lease.deadline_at) if lease.deadline_at else turn


def _end_error(lease: Lease, flow: Flow, opened: Opened, error: SkillError) -> Ending:
    """Return what becomes of a call that went wrong: another attempt, or the end."""
    failure = Failure(retryable=error.retryable and opened.idempotent, retry_after_seconds=error.retry_after_seconds)
    now = flow.clock()
    run_at = decide_retry(failure, attempt=lease.attempt, max_attempts=lease.max_attempts, now=now, draw=flow.draw)
    cause = TaskError(code=error.code, message=error.message)
    if run_at is not None:
        return Retried(error=cause, run_at=run_at, step_id=opened.step_id)
    if failure.retryable:
        message = f"All {lease.max_attempts} attempts failed; the last one: {error.message}"
        cause = TaskError(code="attempts_exhausted", reason=error.code, message=message)
    return Failed(error=cause, step_id=opened.step_id)


def _timeout_error(lease: Lease) -> SkillError:
    message = f"The run took longer than its {lease.timeout_seconds:g} s and was stopped."
    return SkillError("timeout", message, retryable=True)


def _crash_error() -> TaskError:
    return TaskError(
        code="internal_error",
        message="The orchestrator itself failed in this run; nothing more is tried. The log has the details under "
        "this task's id. Retry the task once the cause is mended.",
    )


async def _write_ending(lease: Lease, ending: Ending, flow: Flow) -> None:
    """Write the ending, again and again while the store is away: the lease decides when that is hopeless."""
    while True:
        try:
            if not await flow.write(lambda: finish(lease, ending, now=flow.clock())):
                log.warning("lease lost", extra={"action": "run.lease-lost"})
            outcome = type(ending).__name__.lower()
            log.info("run ended: %s", outcome, extra={"action": "run.ended", "agent_id": lease.agent_id})
            return
        except DatabaseError:
            await asyncio.sleep(WRITE_RETRY_SECONDS)
