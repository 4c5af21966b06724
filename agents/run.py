"""The core flow: one task, from its claim to its next resting place. Read it from top to bottom.

 1  claim      one conditional update; whoever changes the row holds the task, by a fence no earlier holder has
 2  load       the configuration that the task started with, and the steps that are on record
 3  act        a direct task makes its one call; a workflow moves its steps on; an agent's own run thinks:
      turn     the worst case is held and the intent written, the model is asked, the true cost settled
      call     the gate decides in one transaction with the intent; only what it lets through reaches a skill
      answer   checked by its schema and against what really happened; sent back once
 4  end        result, state, step and audit events in one write, guarded by the fence

No effect happens inside a transaction, and no transaction is held across an `await`. The intent is recorded
before the effect and the outcome after it, so that a crash between the two is seen for what it is.
"""

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import InterfaceError, OperationalError

from agents import artifacts, claiming, failures, metrics, registry, spans
from agents.answers import Answer, check_answer
from agents.calls import Passage, Wish, close_call, pass_gate, tell_error, tell_output
from agents.conversation import Told, is_answer
from agents.endings import finish
from agents.flow import Flow, LeaseLost, Opened
from agents.orders import Ending, Failed, KeptFile, Lease, Released, Succeeded, TaskError
from agents.providers.base import ModelReply, ProviderError, StopReason, ToolCall
from agents.providers.switchboard import ModelRef
from agents.reviews import pass_review
from agents.sessions import Session, open_session, read_facts
from agents.skills.base import SkillContext, SkillError, SkillModel, dump
from agents.switches.heeding import heed_switches
from agents.switches.stops import Stop, end_stopped
from agents.turns import Turn, clean_reply, close_turn, fail_turn, open_turn
from agents.types import AgentConfig
from agents.workflows.children import advance_workflow
from audit.context import caused_by, enter_trace
from toolgate import enforcement
from toolgate.enforcement import Permit

log = logging.getLogger(__name__)

# Read by the log formatter, by name: every line of a run carries its id.
_task_id: ContextVar[str] = ContextVar("task_id")

GRACE_SECONDS = 2.0  # a skill keeps its own time; the run ends it this much later
WRITE_RETRY_SECONDS = 0.5
STORE_AWAY = (
    OperationalError,
    InterfaceError,
)  # what may be gone in a moment; any other error of the store is a defect
STORE_PAUSE = timedelta(seconds=2)
LEAST_TURN_SECONDS = 0.5
MAX_INLINE_BYTES = 16_000  # an input up to which a short skill may run on the loop: about a millisecond


async def claim(flow: Flow) -> Lease | None:
    """Claim the next due task."""
    lease: Lease | None = await flow.write(lambda: claiming.claim_next(flow.worker_id, now=flow.clock()))
    if lease is not None:
        metrics.count_start(lease)
    return lease


async def run_task(lease: Lease, flow: Flow, opened: Opened) -> None:
    """Carry a claimed task to its next resting place, and write down how it ended, whatever happened.

    A cancellation with a `Stop` for its message stops the run for that reason.
    """
    _task_id.set(lease.task_id)
    enter_trace(lease.trace_id)
    with spans.running(lease) as span:
        ending = await _run(lease, flow, opened)
        spans.tell_ending(span, ending)
        opened.is_over = True
        if ending is not None:
            await _write_ending(lease, ending, flow)


async def _run(lease: Lease, flow: Flow, opened: Opened) -> Ending | None:
    """Do the task's work and return how it ends, whatever goes wrong; None if that is written down already."""
    try:
        async with asyncio.timeout(lease.timeout_seconds + GRACE_SECONDS):
            ending = await _act(lease, flow, opened)
    except (SkillError, ProviderError) as error:
        ending = _end_error(lease, flow, opened, error)
    except TimeoutError:
        opened.lose()
        ending = _end_error(lease, flow, opened, failures.run_timeout(lease))
    except asyncio.CancelledError as cancelled:
        ending = end_stopped(next((arg for arg in cancelled.args if isinstance(arg, Stop)), None), lease)
    except LeaseLost:
        log.warning("lease lost", extra={"action": "run.lease-lost"})
        ending = None
    except STORE_AWAY:
        log.exception("the store failed in a run", extra={"action": "run.store-failed"})
        ending = Released(run_at=flow.clock() + STORE_PAUSE)
    except Exception:  # a defect must end its task, not its worker
        log.exception("a run crashed", extra={"action": "run.crashed"})
        ending = Failed(error=failures.crash())
    return ending


async def _act(lease: Lease, flow: Flow, opened: Opened) -> Ending | None:
    """Do what the task is; None if a transaction on the way has ended the run."""
    if lease.skill_id:
        return await _call_skill(lease, flow, opened)
    if lease.config is None:
        message = f"There is no agent {lease.agent_id} any more. Nothing was run."
        return Failed(error=TaskError(code="agent_unknown", message=message))
    if lease.is_workflow:
        await flow.write(lambda: _advance(lease, now=flow.clock()))
        return None
    return await _think(lease, lease.config, flow, opened)


def _advance(lease: Lease, *, now: datetime) -> None:
    """Move a workflow on and put it down, in one transaction: a step that ends meanwhile must find it parked."""
    registry.look_again()  # a switch wakes it once
    with caused_by(lease.event_id):  # also the steps that it starts
        finish(lease, heed_switches(lease) or advance_workflow(lease, now=now), now=now)


# --- a direct task: its one call ------------------------------------------------------------------------------
async def _call_skill(lease: Lease, flow: Flow, opened: Opened) -> Ending | None:
    passage = await _pass_gate(lease, flow, opened, Wish(skill_id=lease.skill_id, arguments=lease.input))
    if passage.permit is None:
        return None
    output = await _run_skill(lease, flow, opened, passage.permit)
    result, kept = artifacts.keep_result(lease.task_id, dump(output))
    written = artifacts.keep_written(lease.task_id, passage.permit.resource.write_paths)
    return Succeeded(result=result, step_id=opened.step_id, artifacts=(*kept, *written))


async def _pass_gate(lease: Lease, flow: Flow, opened: Opened, wish: Wish) -> Passage:
    def pass_once() -> Passage:
        passage = pass_gate(lease, wish, now=flow.clock())
        opened.enter(passage.step_id, idempotent=passage.idempotent)
        return passage

    with spans.judging(wish.skill_id) as span:
        passage: Passage = await flow.write(pass_once)
        spans.tell_verdict(span, passage)
    return passage


async def _run_skill(lease: Lease, flow: Flow, opened: Opened, permit: Permit, *, call_id: str = "") -> SkillModel:
    """Run what the permit is for: a short one here, any other on a thread."""
    skill = registry.get_skill(permit.skill_id)
    arguments = skill.input_model.model_validate(permit.arguments)
    should_stop = partial(opened.has_left, opened.step_id)
    work = partial(enforcement.invoke, permit, skill.run, arguments, partial(_context, lease, should_stop))
    with spans.executing(permit.skill_id, call_id):
        if skill.inline and lease.skill_id and lease.input_bytes <= MAX_INLINE_BYTES:
            return work()
        with opened.calling(permit.skill_id):
            return await asyncio.get_running_loop().run_in_executor(flow.threads, copy_context().run, work)


def _context(lease: Lease, should_stop: Callable[[], bool], permit: Permit) -> SkillContext:
    return SkillContext(
        workspace=settings.WORKSPACE_ROOT,
        task_id=lease.task_id,
        timeout_seconds=lease.timeout_seconds,
        domains=permit.domains,
        read_scopes=permit.read_scopes,
        write_scopes=permit.write_scopes,
        should_stop=should_stop,
    )


# --- an agent's own run: turns and calls until an answer holds ------------------------------------------------
async def _think(lease: Lease, config: AgentConfig, flow: Flow, opened: Opened) -> Ending | None:
    session = await _open_session(lease, config, flow)
    talk = session.talk
    while talk.answer is None:
        if talk.pending:
            if not await _make_call(lease, flow, opened, session, talk.pending[0]):
                return None
        elif (limit := session.find_limit()) is not None:
            return Failed(error=limit)
        elif session.count_seconds(now=asyncio.get_running_loop().time()) < LEAST_TURN_SECONDS:
            raise failures.run_timeout(lease)  # a turn that cannot end would only be paid for
        elif (ending := await _take_turn(lease, flow, opened, session)) is not None:
            return ending
    output = talk.answer
    if config.constraints.review_required and not await flow.write(
        lambda: pass_review(lease, output, now=flow.clock())
    ):
        return None
    result, kept = artifacts.keep_result(lease.task_id, output)
    return Succeeded(result=result, artifacts=kept)


async def _open_session(lease: Lease, config: AgentConfig, flow: Flow) -> Session:
    deadline = asyncio.get_running_loop().time() + lease.timeout_seconds
    session: Session | None = await flow.write(lambda: open_session(lease, config, deadline=deadline, now=flow.clock()))
    if session is None:
        raise LeaseLost
    return session


async def _take_turn(lease: Lease, flow: Flow, opened: Opened, session: Session) -> Ending | None:
    """Ask the tier's model, and in an outage the other vendor's; None if the run goes on."""
    *first, last = flow.models.list_candidates(session.config.tier)
    for ref in first:
        try:
            return await _ask_model(lease, flow, opened, session, ref)
        except ProviderError as error:
            if not error.elsewhere:
                raise
    return await _ask_model(lease, flow, opened, session, last)


async def _ask_model(lease: Lease, flow: Flow, opened: Opened, session: Session, ref: ModelRef) -> Ending | None:
    clock = asyncio.get_running_loop().time
    request = session.make_request(ref.model, now=clock())

    def open_once() -> Turn | Failed | Released | None:
        turn = open_turn(lease, session, str(ref), request, now=flow.clock())
        opened.enter(turn.step_id if isinstance(turn, Turn) else "")
        return turn

    turn = await flow.write(open_once)
    if turn is None:
        raise LeaseLost
    if isinstance(turn, Failed | Released):
        return turn
    session.talk.steps += 1
    started = clock()
    try:
        with spans.asking(ref, request) as span:
            reply = clean_reply(await flow.models.complete(ref, request))
            spans.tell_reply(span, reply)
    except ProviderError as error:
        failed = partial(fail_turn, lease, turn, error)
        await flow.write(lambda: failed(now=flow.clock()))
        opened.leave()
        raise
    seconds = clock() - started
    checked = await _check(lease, flow, session, reply)
    kept = await flow.write(
        lambda: close_turn(
            lease, turn, reply, answer=checked.output, problems=checked.problems, seconds=seconds, now=flow.clock()
        )
    )
    if kept is None:
        raise LeaseLost
    opened.leave()
    session.talk.add_reply(kept)
    return _find_end(reply, checked)


async def _check(lease: Lease, flow: Flow, session: Session, reply: ModelReply) -> Answer:
    """Return what a last message comes to: an output, or what is wrong with it; neither while the model goes on."""
    if not is_answer(reply):
        return Answer()
    if reply.stop is StopReason.MAX_TOKENS:
        limit = session.config.limits.max_output_tokens
        return Answer(problems=(f"It was cut off at {limit} tokens. Say the same in fewer words.",))
    facts = await flow.write(lambda: read_facts(lease, session))
    work = partial(check_answer, session.config, reply.message.text, facts)
    return await asyncio.get_running_loop().run_in_executor(flow.threads, work)


def _find_end(reply: ModelReply, checked: Answer) -> Failed | None:
    """Return why no further turn could help, or None."""
    if checked.is_final:
        return Failed(error=TaskError(code="output_invalid", message=" ".join(checked.problems)))
    if reply.stop is not StopReason.REFUSED:
        return None
    said = f" It said: {reply.message.text[:500]}" if reply.message.text else ""
    message = f"The model refused to do this, so nobody else was asked.{said}"
    return Failed(error=TaskError(code="model_refused", message=message))


async def _make_call(lease: Lease, flow: Flow, opened: Opened, session: Session, call: ToolCall) -> bool:
    """Take one call of the model through the gate and tell it what came of that; False if the run has ended."""
    wish = session.make_wish(call)
    passage = await _pass_gate(lease, flow, opened, wish)
    told = passage.told
    if passage.permit is not None:
        told, files = await _try_skill(lease, flow, opened, passage.permit, call_id=call.id)
        told = outcome = replace(told, changed=passage.changed)
        if not await flow.write(lambda: close_call(lease, wish, passage, outcome, files=files, now=flow.clock())):
            raise LeaseLost
        opened.leave()
    if told is None:
        return False
    session.talk.steps += 1
    session.talk.add_result(call.id, call.name, told.to_json())
    await asyncio.sleep(told.wait_seconds)  # a model cannot wait; without this it would be refused again at once
    return True


async def _try_skill(
    lease: Lease, flow: Flow, opened: Opened, permit: Permit, *, call_id: str
) -> tuple[Told, tuple[KeptFile, ...]]:
    """Return what the model is told of a skill, whose errors are its to deal with, and the files that were written."""
    skill = registry.get_skill(permit.skill_id)
    try:
        raw = await _run_skill(lease, flow, opened, permit, call_id=call_id)
        output = await asyncio.get_running_loop().run_in_executor(flow.threads, tell_output, raw)
    except SkillError as error:
        return Told(arguments=permit.arguments, error=tell_error(error)), ()
    outside = skill.brings_outside_text(skill.input_model.model_validate(permit.arguments))
    files = artifacts.keep_written(lease.task_id, permit.resource.write_paths, whole=True)
    return Told(arguments=permit.arguments, output=output, outside=outside), files


# --- the end --------------------------------------------------------------------------------------------------
def _end_error(lease: Lease, flow: Flow, opened: Opened, error: SkillError | ProviderError) -> Ending:
    return failures.end_error(
        lease, error, step_id=opened.step_id, repeatable=opened.idempotent, now=flow.clock(), draw=flow.draw
    )


async def _write_ending(lease: Lease, ending: Ending, flow: Flow) -> None:
    """Write the ending, again and again while the store is away: the lease decides when that is hopeless.

    One that no store takes becomes a failure; if that is not taken either, the sweep takes the task back.
    """
    crash = Failed(error=failures.crash())
    while True:
        try:
            if not await flow.write(partial(_finish, lease, ending, flow)):
                log.warning("lease lost", extra={"action": "run.lease-lost"})
            outcome = type(ending).__name__.lower()
            log.info("run ended: %s", outcome, extra={"action": "run.ended", "agent_id": lease.agent_id})
            return
        except STORE_AWAY:
            await asyncio.sleep(WRITE_RETRY_SECONDS)
        except Exception:
            log.exception("an ending cannot be written", extra={"action": "run.ending-refused"})
            if ending is crash:
                return
            ending = crash


def _finish(lease: Lease, ending: Ending, flow: Flow) -> bool:
    return finish(lease, ending, now=flow.clock())
