"""What pages, the API and the command line read of the fleet's switch."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings

from agents.models import FleetSwitch, Task
from agents.orders import WORKFLOW
from agents.states import TaskState
from audit.wire import format_at

COUNTED_UP_TO: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetState:
    """Whether the fleet works, with how many tasks at once, and what there is to do."""

    is_stopped: bool
    slots: int | None  # while it is resumed in stages; None: all
    all_slots: int
    running: int
    queued: int  # counted up to 1,000
    reason: str
    changed_by: str  # empty if nobody ever stopped it
    changed_at: datetime | None

    @property
    def word(self) -> str:
        """The state in one word of the glossary."""
        if self.is_stopped:
            return "stopped"
        return "running" if self.slots is None else "resuming"

    def to_wire(self) -> dict[str, Any]:
        """Return the state as the API shows it."""
        return {
            "state": "stopped" if self.is_stopped else "running",
            "slots": self.slots,
            "allSlots": self.all_slots,
            "running": self.running,
            "queued": self.queued,
            "reason": self.reason,
            "changedBy": self.changed_by or None,
            "changedAt": format_at(self.changed_at) if self.changed_at else None,
        }


def read_fleet_state() -> FleetState:
    """Return the fleet's state as the store has it now."""
    switch = FleetSwitch.objects.first() or FleetSwitch()
    running = Task.objects.filter(state=TaskState.RUNNING).exclude(worker_id=WORKFLOW)
    queued = Task.objects.filter(state=TaskState.QUEUED).values_list("id")
    return FleetState(
        is_stopped=switch.stopped,
        slots=switch.slots,
        all_slots=settings.MAX_AGENTS,
        running=running.count(),
        queued=len(queued[:COUNTED_UP_TO]),
        reason=switch.reason,
        changed_by=switch.changed_by,
        changed_at=switch.changed_at,
    )
