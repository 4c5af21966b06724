"""What can be told of, and what a delivery says: facts and links, never inputs, outputs or arguments. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from audit.events import TERMINAL_TASK_EVENTS, EventType

CALLBACK: Final = "callback"  # the receiver of what a task's own address is told


class Kind(StrEnum):
    """What a subscription chooses among."""

    TASK_ENDED = "task.ended"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_ESCALATED = "approval.escalated"
    BUDGET_CROSSED = "budget.crossed"


WORDS: Final[dict[Kind, str]] = {
    Kind.TASK_ENDED: "A task ended",
    Kind.APPROVAL_ASKED: "A call or report waits for a person",
    Kind.APPROVAL_ESCALATED: "Nobody answered within the SLA",
    Kind.BUDGET_CROSSED: "50, 80 or 100 % of a month's cap",
}
KINDS: Final[dict[str, Kind]] = {
    **{type_.value: Kind.TASK_ENDED for type_ in TERMINAL_TASK_EVENTS},
    EventType.APPROVAL_ASKED.value: Kind.APPROVAL_ASKED,
    EventType.APPROVAL_ESCALATED.value: Kind.APPROVAL_ESCALATED,
    EventType.BUDGET_CROSSED.value: Kind.BUDGET_CROSSED,
}
# Members of an event's body that are facts about it; what is not named here never leaves.
_FACTS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.TASK_ENDED: (),
    Kind.APPROVAL_ASKED: ("approvalId", "kind", "ruleId", "expiresAt"),
    Kind.APPROVAL_ESCALATED: ("approvalId", "kind", "ruleId", "expiresAt", "waitedSeconds", "slaSeconds"),
    Kind.BUDGET_CROSSED: ("scope", "month", "percent", "refusedACall", "spentMicro", "heldMicro", "capMicro"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event of the ledger, as far as a webhook may tell of it; `body` is empty once it was erased."""

    seq: int
    id: str
    type: str
    at: str  # ISO 8601, UTC
    task_id: str
    agent_id: str
    skill_id: str
    reason: str
    body: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        """What it is to those who subscribe."""
        return KINDS[self.type]


def make_payload(event: Told, *, delivery_id: str, console: str) -> dict[str, Any]:
    """Return the body of a delivery; `console` is the console's address, without a slash at its end."""
    data: dict[str, Any] = {
        "taskId": event.task_id or None,
        "agentId": event.agent_id or None,
        "skillId": event.skill_id or None,
    }
    data |= {name: event.body[name] for name in _FACTS[event.kind] if name in event.body}
    if event.kind is Kind.TASK_ENDED:
        data |= {"status": event.type.removeprefix("task."), "errorCode": _find_error(event)}
    data["url"] = console + _find_page(event)
    head = {"id": delivery_id, "type": event.type, "at": event.at, "seq": event.seq, "eventId": event.id}
    return head | {"data": data}


def _find_error(event: Told) -> str | None:
    return event.reason or event.body.get("cause") if event.type == EventType.TASK_FAILED else None


def _find_page(event: Told) -> str:
    if event.kind is Kind.TASK_ENDED:
        return f"/tasks/{event.task_id}/"
    if event.kind is Kind.BUDGET_CROSSED:
        return "/cost/"
    return f"/approvals/{event.body['approvalId']}/" if "approvalId" in event.body else "/approvals/"
