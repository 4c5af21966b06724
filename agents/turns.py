"""One turn of a model, from the reservation to the ledger: the worst case is held before, the true cost settled after.

Every turn, each retry and each fallback among them, reserves for itself. The functions join their caller's transaction.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from django.conf import settings

from agents import steps
from agents.border import find_redactor
from agents.conversation import write_reply
from agents.models import StepState
from agents.money import spending
from agents.money.budget import Refusal
from agents.money.pricing import PriceUnknown, bound_input_tokens, price_bound
from agents.orders import Failed, Lease, Released, TaskError
from agents.providers.base import ModelReply, ModelRequest, ProviderError, ToolCall
from agents.queue import run_event
from agents.sessions import Session
from agents.skills.base import clean_text
from agents.switches.heeding import heed_switches
from audit import bodies
from audit.events import EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transcripts import Entry, record_entries

REDACTED = "redacted"  # stands for a tool's name that holds a secret: vendors take no marker for a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn that is under way."""

    step_id: str
    reservation_id: str
    model: str  # "provider:model"


def open_turn(
    lease: Lease, session: Session, model: str, request: ModelRequest, *, now: datetime
) -> Turn | Failed | Released | None:
    """Hold the worst case and write the intent; or say why no model is called; None if the lease was lost."""
    if steps.find_held(lease) is None:
        return None
    if (stopped := heed_switches(lease)) is not None:
        return stopped
    try:
        tokens = bound_input_tokens(request)
        worst = price_bound(model, input_tokens=tokens, max_output_tokens=request.max_output_tokens, at=now)
    except PriceUnknown as error:
        return Failed(error=TaskError(code=error.code, message=str(error)))
    step_id = steps.open_step(lease, kind="model", ordinal=session.talk.steps + 1, model=model, now=now)
    held = spending.reserve(lease, step_id=step_id, model=model, worst_micro=worst, now=now)
    if isinstance(held, Refusal):
        error_ = TaskError(code=held.code, message=held.message)
        steps.close_step(step_id, state=StepState.REFUSED, error=error_, now=now)
        return Failed(error=error_)
    # The bytes leave as soon as this commits: a crash in between is charged, never given back by mistake.
    spending.mark_dispatched(held, now=now)
    if not session.talk.steps:
        _transcribe_prompt(lease, session, model, now=now)
    return Turn(step_id=step_id, reservation_id=held, model=model)


def close_turn(
    lease: Lease,
    turn: Turn,
    reply: ModelReply,
    *,
    answer: Mapping[str, Any] | None,
    problems: Iterable[str],
    seconds: float,
    now: datetime,
) -> dict[str, Any] | None:
    """Settle a turn and return the reply as the ledger keeps it; None, nothing changed, if the lease was lost."""
    if steps.find_held(lease) is None:
        return None
    output = write_reply(reply, answer=answer, problems=problems)
    steps.close_step(turn.step_id, state=StepState.DONE, output=output, now=now)
    cost = spending.settle(turn.reservation_id, usage=reply.usage, now=now)
    body = {"stepId": turn.step_id, "model": turn.model, "costMicro": cost}
    events = [run_event(EventType.STEP_FINISHED, lease, now=now, body=body, cause_id=turn.step_id)]
    if output["problems"]:
        rejected = bodies.OutputRejected(stepId=turn.step_id, problems=output["problems"])
        tell = partial(run_event, lease=lease, now=now, body=rejected)
        events.append(tell(EventType.OUTPUT_REJECTED, reason="output_invalid", cause_id=events[0].id))
    record(*events)
    _transcribe_reply(lease, turn, reply, output, cost=cost, seconds=seconds, now=now)
    return output


def fail_turn(lease: Lease, turn: Turn, error: ProviderError, *, now: datetime) -> bool:
    """Settle a turn that brought no answer: at the bound if the vendor may charge for it, else at nothing."""
    if steps.find_held(lease) is None:
        return False
    cause = TaskError(code=error.code, message=find_redactor().text(error.message))
    steps.close_step(turn.step_id, state=StepState.FAILED, error=cause, now=now)
    cost = 0
    if error.billed:
        cost = spending.settle(turn.reservation_id, usage=None, now=now)
    else:
        spending.release(turn.reservation_id, now=now)
    body = {"stepId": turn.step_id, "model": turn.model, "costMicro": cost, "cause": error.code}
    record(run_event(EventType.STEP_FAILED, lease, now=now, reason=error.code, body=body, cause_id=turn.step_id))
    entry = {"code": cause.code, "message": cause.message, "model": turn.model, "costMicro": cost}
    record_entries(Entry(task_id=lease.task_id, kind="error", body=entry, at=now))
    return True


def load_early(*, now: datetime) -> None:
    """Load what the first turn needs: price lists and patterns take half a second, in which nobody else could write."""
    find_redactor()
    for model in settings.MODEL_TIERS.values():
        with suppress(PriceUnknown):
            price_bound(model, input_tokens=1, max_output_tokens=1, at=now)


# --- what may be kept -----------------------------------------------------------------------------------------
def clean_reply(reply: ModelReply) -> ModelReply:
    """Return a reply that every store can hold, without secrets; what was changed is not handed back as it came."""
    redactor = find_redactor()
    message = reply.message
    text = redactor.text(clean_text(message.text))
    calls = _name_calls(tuple(_clean_call(call, redactor.value) for call in message.tool_calls))
    is_same = (text, calls) == (message.text, message.tool_calls) and redactor.value(message.opaque) == message.opaque
    if not is_same:  # the vendor's own form still holds what was taken out: it is built anew from the text
        message = replace(message, provider="", opaque=None)
    return replace(reply, message=replace(message, text=text, tool_calls=calls))


def _name_calls(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Give each call of a turn an id that the ledger can tell it by; some servers give none, or one twice."""
    named: list[ToolCall] = []
    for number, call in enumerate(calls, start=1):
        is_good = 0 < len(call.id) <= steps.MAX_CALL_ID and call.id not in {other.id for other in named}
        named.append(call if is_good else replace(call, id=f"call_{new_id()[-12:]}_{number}"))
    return tuple(named)


def _clean_call(call: ToolCall, redact: Any) -> ToolCall:
    name, raw = clean_text(call.name), clean_text(call.raw)
    if redact(name) != name:
        name = REDACTED
    if call.arguments is None:
        return replace(call, name=name, raw=str(redact(raw)))
    try:
        orjson.dumps(call.arguments)
    except TypeError:  # a number past 64 bits, half a surrogate pair: no store could hold it
        return replace(call, name=name, arguments=None, raw="")
    return replace(call, name=name, arguments=redact(call.arguments), raw="")


# --- transcript -----------------------------------------------------------------------------------------------
def _transcribe_prompt(lease: Lease, session: Session, model: str, *, now: datetime) -> None:
    body = {
        "system": session.system,
        "task": session.task_text,
        "tools": [tool.name for tool in session.tools],
        "model": model,
        "configVersion": lease.agent_version,
    }
    record_entries(Entry(task_id=lease.task_id, kind="prompt", body=body, at=now))


def _transcribe_reply(
    lease: Lease, turn: Turn, reply: ModelReply, output: dict[str, Any], *, cost: int, seconds: float, now: datetime
) -> None:
    calls = [{"id": call["id"], "name": call["name"], "arguments": call["arguments"]} for call in output["toolCalls"]]
    body = {
        "stepId": turn.step_id,
        "model": turn.model,
        **_tell_fallback(lease, turn),
        "text": output["text"],
        "toolCalls": calls,
        "stop": output["stop"],
        "usage": reply.usage.to_wire() if reply.usage else None,
        "costMicro": cost,
        "durationMs": round(seconds * 1000),
    }
    entries = [Entry(task_id=lease.task_id, kind="reply", body=body, at=now)]
    if output["problems"]:
        entries.append(Entry(task_id=lease.task_id, kind="verdict", body={"problems": output["problems"]}, at=now))
    record_entries(*entries)


def _tell_fallback(lease: Lease, turn: Turn) -> dict[str, str]:
    """Name the model that this turn's stood in for, if it did."""
    own = settings.MODEL_TIERS[lease.config.tier] if lease.config else turn.model
    return {} if own == turn.model else {"fallback": own}
