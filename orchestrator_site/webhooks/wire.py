"""What the API takes and shows of webhooks."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from agents.outbound.receivers import parse_receiver, show_receiver
from audit.wire import format_at
from orchestrator_site.webhooks.kinds import Kind
from orchestrator_site.webhooks.models import DeliveryState, WebhookAttempt, WebhookDelivery, WebhookSubscription
from orchestrator_site.webhooks.subscribing import MAX_AGENTS, MAX_NAME
from toolgate.reading import WireModel


def _check_name(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("a name is printable, without spaces around it")
    return name


def _check_url(url: str) -> str:
    return parse_receiver(url).url


def _check_kinds(kinds: list[str]) -> list[str]:
    known = [kind.value for kind in Kind]
    if unknown := set(kinds) - set(known):
        raise ValueError(f"there is no kind {ascii(min(unknown))[:64]}: known are {', '.join(known)}")
    return [kind for kind in known if kind in kinds]


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_check_name)]
Url = Annotated[str, AfterValidator(_check_url)]
Kinds = Annotated[list[str], Field(min_length=1, max_length=20), AfterValidator(_check_kinds)]
Agents = Annotated[list[Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,64}$")]], Field(max_length=MAX_AGENTS)]


class WebhookBody(WireModel):
    """A receiver and what it is told of. Without `agents` it is told of all, and of what concerns no agent."""

    name: Name
    url: Url
    kinds: Kinds
    agents: Agents = []


class WebhookChangeBody(WireModel):
    """What is to be another; what is left out stays as it is. `active` pauses and resumes."""

    name: Name | None = None
    url: Url | None = None
    kinds: Kinds | None = None
    agents: Agents | None = None
    active: bool | None = None


class WebhookWire(WireModel):
    """A subscription. Its secret is shown when it is made or changed, and never again.

    Who may not change it sees the address without its query.
    """

    webhook_id: str
    name: str
    url: str
    kinds: list[str]
    agents: list[str]
    active: bool
    paused_why: str | None
    created_at: datetime
    created_by: str


class WebhookSecretWire(WebhookWire):
    """A subscription with its secret, whsec_…, which nobody can read again."""

    secret: str


class WebhookList(WireModel):
    """Every subscription, by name."""

    results: list[WebhookWire]


class DeliveryWire(WireModel):
    """One event for one receiver; `webhookId` is "callback" if the task named it. `payload` is what is sent."""

    delivery_id: str
    webhook_id: str
    event_id: str
    kind: str
    type: str
    task_id: str | None
    state: DeliveryState
    attempts: int
    next_at: datetime | None
    note: str | None
    created_at: datetime
    ended_at: datetime | None
    payload: dict[str, Any]


class AttemptWire(WireModel):
    """One attempt. `body` is the start of what was answered, its secrets redacted."""

    number: int
    at: datetime
    took_ms: int
    status: int | None
    code: str | None
    note: str
    body: str


class DeliveryDetailWire(DeliveryWire):
    """A delivery with its attempts, in order."""

    tries: list[AttemptWire]


class DeliveryPageWire(WireModel):
    """Deliveries, newest first; `next` is the cursor of the older ones."""

    results: list[DeliveryWire]
    next: str | None


def webhook_to_wire(row: WebhookSubscription, *, whole: bool) -> dict[str, Any]:
    """Return a subscription as the API shows it; `whole` with its address's query, for who may change it."""
    return {
        "webhookId": row.id,
        "name": row.name,
        "url": row.url if whole else show_receiver(row.url),
        "kinds": row.kinds,
        "agents": row.agents,
        "active": row.is_active,
        "pausedWhy": row.paused_why or None,
        "createdAt": format_at(row.created_at),
        "createdBy": row.created_by,
    }


def delivery_to_wire(row: WebhookDelivery) -> dict[str, Any]:
    """Return a delivery as the API shows it."""
    return {
        "deliveryId": row.id,
        "webhookId": row.receiver,
        "eventId": row.event_id,
        "kind": row.kind,
        "type": row.type,
        "taskId": row.task_id or None,
        "state": row.state,
        "attempts": row.attempts,
        "nextAt": row.next_at and format_at(row.next_at),
        "note": row.note or None,
        "createdAt": format_at(row.created_at),
        "endedAt": row.ended_at and format_at(row.ended_at),
        "payload": row.payload,
    }


def attempt_to_wire(row: WebhookAttempt) -> dict[str, Any]:
    """Return an attempt as the API shows it."""
    return {
        "number": row.number,
        "at": format_at(row.at),
        "tookMs": row.took_ms,
        "status": row.status,
        "code": row.code or None,
        "note": row.note,
        "body": row.body,
    }
