"""Why a switch stops a run, and what becomes of the run: one table. PURE.

fleet stopped           cut off, given back to the queue; what was in flight is unknown
agent paused            goes on to the end of its step, then is given back
agent quarantined       cut off, failed; the same for one that is disabled
skill quarantined       its calls are cut off: a direct task fails, the model of an own run is told and goes on
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agents.orders import Cancelled, Failed, Lease, Released, TaskError
from agents.types import AgentStatus


class Stop(StrEnum):
    """Why a run is stopped: the message of its cancellation, and the reason in the trail."""

    CANCELLED = "cancelled"  # by a person, this task alone
    FLEET_STOPPED = "fleet_stopped"
    AGENT_PAUSED = "agent_paused"
    AGENT_QUARANTINED = "agent_quarantined"
    AGENT_DISABLED = "agent_disabled"
    AGENT_UNKNOWN = "agent_unknown"
    SKILL_QUARANTINED = "skill_quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """All stop switches, as they were at one moment."""

    is_stopped: bool  # the whole fleet
    agents: Mapping[str, AgentStatus]
    quarantined: frozenset[str]  # ids of skills


_BY_STATUS = {
    AgentStatus.STOPPED: Stop.FLEET_STOPPED,
    AgentStatus.PAUSED: Stop.AGENT_PAUSED,
    AgentStatus.QUARANTINED: Stop.AGENT_QUARANTINED,
    AgentStatus.DISABLED: Stop.AGENT_DISABLED,
    AgentStatus.UNKNOWN: Stop.AGENT_UNKNOWN,
}
_CUTS = frozenset({Stop.AGENT_QUARANTINED, Stop.AGENT_DISABLED})
_SAID = {
    Stop.AGENT_QUARANTINED: "{agent} is quarantined, so it may do nothing more.",
    Stop.AGENT_DISABLED: "{agent} is disabled, so it may do nothing more.",
    Stop.AGENT_UNKNOWN: "There is no agent {agent} any more.",
    Stop.SKILL_QUARANTINED: "{skill} was quarantined while it ran, so the call was cut off.",
}


def find_stop(status: AgentStatus) -> Stop | None:
    """Return why an agent of this status takes no further step, or None."""
    return _BY_STATUS.get(status)


def find_cut(switches: Switches, *, agent_id: str, skill_id: str = "") -> Stop | None:
    """Return why a run is cut off in the midst of a step, or None; `skill_id` is that of the call under way."""
    if switches.is_stopped:
        return Stop.FLEET_STOPPED
    stop = find_stop(switches.agents.get(agent_id, AgentStatus.UNKNOWN))
    if stop in _CUTS:
        return stop
    return Stop.SKILL_QUARANTINED if skill_id in switches.quarantined else None


def end_stopped(stop: Stop | None, lease: Lease) -> Cancelled | Failed | Released:
    """Return how a run ends that was stopped for this reason; None stands for a worker that stops.

    An own run that was cut off in a call which may not be repeated is given back: its next run asks a person.
    """
    if stop is Stop.CANCELLED:
        return Cancelled()
    if stop not in _SAID or (stop is Stop.SKILL_QUARANTINED and not lease.skill_id):
        return Released(reason=stop or "")
    message = f"{_SAID[stop].format(agent=lease.agent_id, skill=lease.skill_id)} What was done up to here is kept."
    return Failed(error=TaskError(code=stop, message=message))
