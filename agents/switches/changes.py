"""Turn a stop switch: each a row, changed in one transaction with its event, and felt by every process within a second.

A worker looks at the rows four times a second and cuts off what `stops.find_cut` says; between two steps a run asks
`heeding`; nothing is claimed for a fleet that is stopped, from the moment that the stop is written.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from agents import registry
from agents.exceptions import NothingToChange
from agents.models import Agent, FleetSwitch, SkillSwitch, Task
from agents.money.caps import take_turn
from agents.orders import WORKFLOW
from agents.queue import wake_on_commit
from agents.registry import AgentNotFound
from agents.states import TaskState
from agents.types import AgentStatus
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.texts import MAX_REASON_LENGTH, check_reason, check_text

STATUS_EVENTS: Final = {
    AgentStatus.ENABLED: EventType.AGENT_RESUMED,
    AgentStatus.PAUSED: EventType.AGENT_PAUSED,
    AgentStatus.QUARANTINED: EventType.AGENT_QUARANTINED,
    AgentStatus.DISABLED: EventType.AGENT_DISABLED,
}


# --- an agent -------------------------------------------------------------------------------------------------
def set_agent_status(agent_id: str, status: AgentStatus, *, author: str, reason: str, now: datetime) -> None:
    """Pause, quarantine, disable or resume an agent.

    Raises: AgentNotFound, ReasonRequired, TextInvalid; NothingToChange if that is its status.
    """
    reason = check_reason(reason)
    with write_transaction():
        agent = Agent.objects.select_for_update().filter(id=agent_id).first()
        if agent is None:
            raise AgentNotFound(agent_id)
        if agent.status == status:
            raise NothingToChange(f"{agent_id} is {status} already. Nothing was changed.")
        Agent.objects.filter(id=agent_id).update(status=status)
        body = {"from": agent.status, "to": status.value, "reason": reason}
        event = _record(STATUS_EVENTS[status], author=author, now=now, agent_id=agent_id, body=body)
        _wake_workflows(event, now=now)


def _wake_workflows(by: Event, *, now: datetime) -> None:
    """Let the agent's workflows that wait for their steps look at its status, and so at their steps."""
    waiting = Task.objects.filter(agent_id=by.agent_id, worker_id=WORKFLOW, state=TaskState.RUNNING)
    for task_id in waiting.values_list("id", flat=True):
        wake_on_commit(task_id, by, now=now)


# --- a skill --------------------------------------------------------------------------------------------------
def quarantine_skill(skill_id: str, *, author: str, reason: str, now: datetime) -> None:
    """Refuse every further call of a skill, and cut off those under way.

    Raises: SkillNotFound, ReasonRequired, TextInvalid; NothingToChange if it is quarantined.
    """
    _set_quarantine(skill_id, True, author=author, reason=reason, now=now)


def release_skill(skill_id: str, *, author: str, reason: str, now: datetime) -> None:
    """Let a skill be called again.

    Raises: SkillNotFound, ReasonRequired, TextInvalid; NothingToChange if it is not quarantined.
    """
    _set_quarantine(skill_id, False, author=author, reason=reason, now=now)


def _set_quarantine(skill_id: str, quarantined: bool, *, author: str, reason: str, now: datetime) -> None:
    skill, reason = registry.get_skill(skill_id), check_reason(reason)
    with write_transaction():
        columns = {"reason": reason, "changed_by": author, "changed_at": now}
        SkillSwitch.objects.get_or_create(skill_id=skill.id, defaults=columns)
        changed = SkillSwitch.objects.filter(skill_id=skill.id, quarantined=not quarantined)
        if not changed.update(quarantined=quarantined, **columns):
            is_so = "quarantined already" if quarantined else "not quarantined"
            raise NothingToChange(f"{skill.id} is {is_so}. Nothing was changed.")
        type_ = EventType.SKILL_QUARANTINED if quarantined else EventType.SKILL_RELEASED
        body = {"reason": reason, "version": skill.version}
        _record(type_, author=author, now=now, skill_id=skill.id, body=body)


# --- the fleet ------------------------------------------------------------------------------------------------
def stop_fleet(*, author: str, reason: str, now: datetime) -> None:
    """Stop everything: nothing is claimed any more, and what runs is cut off and given back to the queue.

    Raises: ReasonRequired, TextInvalid; NothingToChange if it is stopped.
    """
    reason = check_reason(reason)
    with write_transaction():
        before = _lock_fleet()
        if before.stopped:
            raise NothingToChange(f"The fleet is stopped already, by {before.changed_by}. Nothing was changed.")
        _turn_fleet(before, stopped=True, slots=None, author=author, reason=reason, now=now)


def resume_fleet(*, slots: int | None = None, author: str, reason: str = "", now: datetime) -> None:
    """Let the fleet work again: with at most `slots` tasks at once, from 1 up, or with all that there are.

    Raises: TextInvalid; NothingToChange if it works so already.
    """
    reason = check_text(reason, name="reason", limit=MAX_REASON_LENGTH)
    slots = None if slots is None or slots >= settings.MAX_AGENTS else max(1, slots)
    with write_transaction():
        before = _lock_fleet()
        if not before.stopped and before.slots == slots:
            raise NothingToChange(f"The fleet works with {slots or 'all its'} slots already. Nothing was changed.")
        _turn_fleet(before, stopped=False, slots=slots, author=author, reason=reason, now=now)


def list_stages() -> list[int | None]:
    """Return the stages of a resume, in slots: one task, a quarter of what may run at once, all (None)."""
    quarter: int = settings.MAX_AGENTS // 4
    return [1, quarter, None] if 1 < quarter < settings.MAX_AGENTS else [1, None]


def _lock_fleet() -> FleetSwitch:
    """Return the fleet's switch, having waited for claims under way: whatever is claimed later sees the change."""
    take_turn()
    return FleetSwitch.objects.first() or FleetSwitch()


def _turn_fleet(
    before: FleetSwitch, *, stopped: bool, slots: int | None, author: str, reason: str, now: datetime
) -> None:
    columns = {"stopped": stopped, "slots": slots, "reason": reason, "changed_by": author, "changed_at": now}
    FleetSwitch.objects.update_or_create(id=before.id, defaults=columns)
    body = {"slots": slots, "from": "stopped" if before.stopped else before.slots, "reason": reason}
    type_ = EventType.FLEET_STOPPED if stopped else EventType.FLEET_RESUMED
    _record(type_, author=author, now=now, body=body)


# --- all of them ----------------------------------------------------------------------------------------------
def _record(type_: EventType, *, author: str, now: datetime, body: Mapping[str, Any], **ids: str) -> Event:
    event = Event(type=type_, at=now, actor=f"user:{author}", body=body, **ids)
    record(event)
    transaction.on_commit(registry.look_again)
    return event
