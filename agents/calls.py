"""One skill call, from the wish to the ledger: the gate's answer and the intent in one transaction, the outcome after.

A direct task has one call, and what the gate says ends the task. In an agent's own run the model is told of a
refusal and goes on; a question to a person parks either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson

from agents import registry, steps
from agents.border import find_redactor
from agents.conversation import Told
from agents.endings import finish
from agents.gate_facts import Reading, describe_action, read_arguments
from agents.models import Artifact, StepState, Task
from agents.money.costs import find_spent
from agents.orders import Delayed, Ending, Failed, KeptFile, Lease, Parked, Released, TaskError
from agents.queue import run_event
from agents.skills.base import LimitExceeded, SkillError, SkillModel, dump
from agents.states import TaskState
from agents.switches.heeding import heed_switches
from audit.context import caused_by
from audit.events import EventType
from audit.ledger import record
from audit.transcripts import Entry, record_entries
from toolgate import approvals, enforcement
from toolgate.enforcement import Permit, Verdict
from toolgate.in_force import policy_in_force
from toolgate.queries import list_permissions
from toolgate.records import recordable_id
from toolgate.types import Call, Effect, Principal, Reason, Request, Spent

MAX_OUTPUT_BYTES = 2_000_000  # of one call's result, as the ledger keeps it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A call that is wanted: by the task itself, or by the model under its own `call_id`."""

    skill_id: str
    arguments: Mapping[str, Any] | None  # None: what the model wrote is no JSON object
    call_id: str = ""
    ordinal: int = 1
    is_unknown: bool = False  # an earlier run may or may not have made this call
    ceiling_reached: bool = False  # the agent's own limit on calls

    @property
    def is_direct(self) -> bool:
        """Say whether the task is this one call."""
        return not self.call_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What came of a wish at the gate: a permit, or what the model is told; neither if the run has ended."""

    verdict: Verdict | None = None  # None: the gate was not asked
    permit: Permit | None = None
    step_id: str = ""
    idempotent: bool = True
    changed: bool = False  # a person approved it with other arguments than were asked for
    told: Told | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    call: Call
    idempotent: bool
    refusal: tuple[Reason, str] | None  # why it cannot even be judged
    is_unknown: bool = False  # an earlier run may or may not have made this call
    asked: Mapping[str, Any] | None = None  # the arguments that were asked for, if a person has changed them


def pass_gate(lease: Lease, wish: Wish, *, now: datetime) -> Passage:
    """Decide, and write the intent, the refusal or the ending, in the caller's transaction."""
    held = steps.find_held(lease)
    if held is None:
        return Passage()
    if isinstance(stopped := heed_switches(lease), Released):  # what fails is the gate's to refuse, on record
        finish(lease, stopped, now=now)
        return Passage()
    judged = _build_call(lease, wish, tainted=held.tainted, now=now)
    call = judged.call
    if judged.refusal is not None:
        verdict = enforcement.refuse(call, reason=judged.refusal[0], detail=judged.refusal[1])
    elif not judged.idempotent and judged.is_unknown and not approvals.find_granted(call):
        _park_unknown(lease, judged, now=now)
        return Passage()
    else:
        verdict = enforcement.authorise(call)
        if verdict.permit is not None and lease.fence > 1:
            approvals.use_granted(call)  # also where the rules no longer ask: no answer is good for a second call
    return _conclude(lease, wish, judged, verdict, now=now)


def _conclude(lease: Lease, wish: Wish, judged: _Judged, verdict: Verdict, *, now: datetime) -> Passage:
    _transcribe_call(lease, wish, judged, verdict, now=now)
    if verdict.permit is not None:
        step_id = steps.open_step(
            lease,
            kind="skill",
            ordinal=wish.ordinal,
            skill_id=recordable_id(wish.skill_id),
            decision_id=verdict.decision_id,
            call_id=wish.call_id,
            now=now,
        )
        changed = judged.asked is not None
        return Passage(
            verdict=verdict, permit=verdict.permit, step_id=step_id, idempotent=judged.idempotent, changed=changed
        )
    if verdict.effect is Effect.ASK or wish.is_direct or _waits_for_rate(judged.call, verdict):
        with caused_by(verdict.decision_id):
            finish(lease, _end_refusal(lease, wish, judged, verdict, now=now), now=now)
        return Passage(verdict=verdict)
    return Passage(verdict=verdict, told=_refuse(lease, wish, judged, verdict, now=now))


def _waits_for_rate(call: Call, verdict: Verdict) -> bool:
    """Say whether a person has approved a call that is over its rate: it waits, lest the approval be lost."""
    return verdict.reason is Reason.RATE_LIMITED and approvals.find_granted(call) is not None


def _is_unknown(lease: Lease, wish: Wish) -> bool:
    return steps.is_outcome_unknown(lease) if wish.is_direct else wish.is_unknown


# --- the call, as the gate judges it --------------------------------------------------------------------------
def _build_call(lease: Lease, wish: Wish, *, tainted: bool, now: datetime) -> _Judged:
    """Return the call as the task has it, or as a person approved it with other arguments."""
    judged = _read_call(lease, wish, tainted=tainted, now=now)
    if judged.refusal is not None or lease.fence == 1:  # nobody held it before, so nobody was asked
        return judged
    is_unknown = _is_unknown(lease, wish)
    edit = approvals.find_edit(judged.call, repeated=is_unknown)
    if edit is None:
        return replace(judged, is_unknown=is_unknown)
    changed = _read_call(lease, replace(wish, arguments=edit), tainted=tainted, now=now)
    return replace(changed, is_unknown=is_unknown, asked=judged.call.arguments)


def _read_call(lease: Lease, wish: Wish, *, tainted: bool, now: datetime) -> _Judged:
    flaw = _find_flaw(wish)
    reading = (
        read_arguments(registry.find_skill(wish.skill_id), wish.arguments or {})
        if flaw is None
        else Reading(arguments=dict(wish.arguments or {}), refusal=flaw)
    )
    request = Request(
        principal=_principal_of(lease),
        action=describe_action(wish.skill_id),
        resource=reading.resource,
        tainted=tainted,
    )
    call = Call(
        request=request,
        arguments=reading.arguments,
        task_id=lease.task_id,
        trace_id=lease.trace_id,
        cause_id=lease.event_id,
        submitted_by=lease.submitted_by,
        now=now,
        spent=_find_spent(lease, wish, now=now),
    )
    return _Judged(call=call, idempotent=reading.idempotent, refusal=reading.refusal)


def _principal_of(lease: Lease) -> Principal:
    status = registry.status_of(lease.agent_id)
    return Principal(agent_id=lease.agent_id, version=lease.agent_version, status=status)


def _find_spent(lease: Lease, wish: Wish, *, now: datetime) -> Spent | None:
    """Return what was spent if some limit counts it; else nobody looks."""
    if not policy_in_force().needs_spending(lease.agent_id, wish.skill_id):
        return None
    return find_spent(lease.task_id, lease.agent_id, now=now)


def _find_flaw(wish: Wish) -> tuple[Reason, str] | None:
    if wish.ceiling_reached:
        return (
            Reason.CALL_CEILING,
            "the agent's own limit on skill calls in one task is used up; answer with what is known",
        )
    if wish.arguments is None:
        return Reason.INPUT_INVALID, "the arguments are no JSON object"
    return None


# --- not let through ------------------------------------------------------------------------------------------
def _park_unknown(lease: Lease, judged: _Judged, *, now: datetime) -> None:
    """Ask a person whether a step that may have happened already is to be done (again)."""
    approval = approvals.open_approval(judged.call, kind=approvals.STEP_UNKNOWN, asked=judged.asked)
    finish(lease, Parked(approval_id=approval.id, reason="step_unknown"), now=now)


def _end_refusal(lease: Lease, wish: Wish, judged: _Judged, verdict: Verdict, *, now: datetime) -> Ending:
    """Return what becomes of a call that was not let through: waiting is not refusing."""
    if verdict.effect is Effect.ASK:
        approval = approvals.open_approval(judged.call, verdict, asked=judged.asked, task_type=lease.task_type)
        return Parked(approval_id=approval.id, reason=verdict.reason)
    if verdict.reason is Reason.RATE_LIMITED and (lease.deadline_at is None or now < lease.deadline_at):
        return Delayed(run_at=_find_turn(lease, wish, verdict, now=now))
    return Failed(error=TaskError(code=verdict.reason, message=verdict.detail))


def _find_turn(lease: Lease, wish: Wish, verdict: Verdict, *, now: datetime) -> datetime:
    """Return when a task over its rate is to come back: behind those that wait already, one interval each.

    All at the same moment would be refused all but one, again and again, each time with a decision on record.
    """
    waiting = Task.objects.filter(
        state=TaskState.QUEUED, agent_id=lease.agent_id, skill_id=wish.skill_id, run_at__gt=now
    ).count()
    rates = [permission.rate_per_second for permission in list_permissions(lease.agent_id, [wish.skill_id])]
    interval = 1 / rates[0] if rates and rates[0] else 0.0
    turn = now + timedelta(seconds=(verdict.retry_after_seconds or 0.0) + waiting * interval)
    return min(turn, lease.deadline_at) if lease.deadline_at else turn


def _refuse(lease: Lease, wish: Wish, judged: _Judged, verdict: Verdict, *, now: datetime) -> Told:
    """Write down that the model's call was refused, and return what it is told."""
    error: dict[str, Any] = {"code": verdict.reason.value, "message": f"The gate refused this call: {verdict.detail}."}
    if verdict.retry_after_seconds is not None:
        error["retryAfterSeconds"] = round(verdict.retry_after_seconds, 3)
    told = Told(arguments=judged.call.arguments, error=error, changed=judged.asked is not None)
    steps.refuse_step(
        lease,
        ordinal=wish.ordinal,
        skill_id=recordable_id(wish.skill_id),
        decision_id=verdict.decision_id,
        call_id=wish.call_id,
        output=told.to_json(),
        error=TaskError(code=verdict.reason, message=verdict.detail),
        now=now,
    )
    _transcribe_result(lease, wish, state="refused", told=told, now=now)
    return told


# --- after the skill ------------------------------------------------------------------------------------------
def close_call(
    lease: Lease, wish: Wish, passage: Passage, told: Told, *, files: tuple[KeptFile, ...], now: datetime
) -> bool:
    """Settle a call of the model with what it is told; False, having changed nothing, if the lease was lost."""
    held = steps.find_held(lease)
    if held is None:
        return False
    error = told.error and TaskError(code=str(told.error["code"]), message=str(told.error["message"]))
    state = StepState.FAILED if error else StepState.DONE
    steps.close_step(passage.step_id, state=state, output=told.to_json(), error=error or None, now=now)
    type_ = EventType.STEP_FAILED if error else EventType.STEP_FINISHED
    body = {"stepId": passage.step_id, "callId": wish.call_id}
    tell = partial(run_event, lease=lease, now=now, skill_id=wish.skill_id, body=body)
    events = [tell(type_, reason=error.code if error else "", cause_id=passage.step_id)]
    if told.outside and not held.tainted:
        Task.objects.filter(id=lease.task_id).update(tainted=True)
        events.append(tell(EventType.TASK_TAINTED, cause_id=events[0].id))
    record(*events)
    for file in files:
        columns = file.columns() | {"created_at": now}
        Artifact.objects.update_or_create(task_id=lease.task_id, name=columns.pop("name"), defaults=columns)
    _transcribe_result(lease, wish, state=state.value, told=told, now=now)
    return True


def tell_output(output: SkillModel) -> dict[str, Any]:
    """Return what a skill put out, without secrets. It may take seconds: not on the loop.

    Raises: LimitExceeded for more than the ledger keeps of one call.
    """
    told: dict[str, Any] = find_redactor().value(dump(output))
    size = len(orjson.dumps(told))
    if size > MAX_OUTPUT_BYTES:
        message = f"The result has {size:,} bytes; a run takes {MAX_OUTPUT_BYTES:,} of one call. Ask for less at once."
        raise LimitExceeded("result_bytes", message)
    return told


def tell_error(error: SkillError) -> dict[str, Any]:
    """Return what the model is told of a skill that could not do its work, without secrets."""
    told: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.retry_after_seconds is not None:
        told["retryAfterSeconds"] = error.retry_after_seconds
    redacted: dict[str, Any] = find_redactor().value(told)
    return redacted


# --- transcript -----------------------------------------------------------------------------------------------
def _transcribe_call(lease: Lease, wish: Wish, judged: _Judged, verdict: Verdict, *, now: datetime) -> None:
    if wish.is_direct:
        return
    body = {
        "callId": wish.call_id,
        "skillId": recordable_id(wish.skill_id),
        "arguments": judged.call.arguments,
        "effect": verdict.effect.value,
        "reason": verdict.reason.value,
        "detail": verdict.detail,
        "decisionId": verdict.decision_id,
        "policyVersion": verdict.policy_version,
    }
    record_entries(Entry(task_id=lease.task_id, kind="call", body=body, at=now))


def _transcribe_result(lease: Lease, wish: Wish, *, state: str, told: Told, now: datetime) -> None:
    body = {
        "callId": wish.call_id,
        "skillId": recordable_id(wish.skill_id),
        "state": state,
        "content": told.error if told.error is not None else told.output,
    }
    record_entries(Entry(task_id=lease.task_id, kind="result", body=body, at=now))
