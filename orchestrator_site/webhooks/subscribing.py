"""Who is told: subscriptions made, changed, paused, resumed and ended, their secrets changed; each is an event."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F

from agents.outbound.receivers import parse_receiver
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.exceptions import NameTaken, SubscriptionNotFound, TooManyWebhooks
from orchestrator_site.webhooks import signing
from orchestrator_site.webhooks.following import STATE, get_state
from orchestrator_site.webhooks.kinds import CALLBACK
from orchestrator_site.webhooks.models import (
    OPEN_STATES,
    DeliveryState,
    WebhookDelivery,
    WebhookState,
    WebhookSubscription,
)

MAX_NAME: Final = 100
MAX_AGENTS: Final = 50
MAX_SUBSCRIPTIONS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a subscription is to be; checked before."""

    name: str
    url: str  # in its one form
    kinds: list[str]
    agents: list[str]


def get_subscription(subscription_id: str) -> WebhookSubscription:
    """Return a subscription.

    Raises: SubscriptionNotFound.
    """
    found = WebhookSubscription.objects.filter(id=subscription_id).first()
    if found is None:
        raise SubscriptionNotFound
    return found


def create(wanted: Wanted, *, actor: str, now: datetime) -> WebhookSubscription:
    """Make a subscription, active from now on.

    Raises: NameTaken, TooManyWebhooks.
    """
    if WebhookSubscription.objects.count() >= MAX_SUBSCRIPTIONS:
        raise TooManyWebhooks(MAX_SUBSCRIPTIONS)
    row = WebhookSubscription(id=new_id(), since=now, created_at=now, created_by=actor, **asdict(wanted))

    def save() -> None:
        row.save(force_insert=True)
        body = {"kinds": wanted.kinds, "agents": wanted.agents}
        record(_event(EventType.WEBHOOK_CREATED, row, actor=actor, now=now, **body))

    _write(save, wanted.name)
    return row


def change(row: WebhookSubscription, wanted: Wanted, *, actor: str, now: datetime) -> None:
    """Make a subscription another; what waits goes to its new address. Nothing is recorded if nothing changes.

    Raises: NameTaken.
    """
    values: Mapping[str, Any] = asdict(wanted)
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    if not changed:
        return
    for name in changed:
        setattr(row, name, values[name])

    def save() -> None:
        row.save(update_fields=changed)
        record(_event(EventType.WEBHOOK_CHANGED, row, actor=actor, now=now, changed=changed))

    _write(save, wanted.name)


def _write(save: Callable[[], None], name: str) -> None:
    try:
        with write_transaction():
            save()
    except IntegrityError:
        raise NameTaken(name) from None


def pause(row: WebhookSubscription, *, actor: str, why: str = "", now: datetime) -> None:
    """Tell it of nothing more; what waits is kept for when it is resumed. Pausing twice changes nothing."""
    with write_transaction():
        active = WebhookSubscription.objects.filter(id=row.id, is_active=True)
        if active.update(is_active=False, paused_why=why):
            record(_event(EventType.WEBHOOK_PAUSED, row, actor=actor, now=now, why=why))
    row.refresh_from_db()


def resume(row: WebhookSubscription, *, actor: str, now: datetime) -> None:
    """Tell it of what happens from now on, and send what waits. Resuming twice changes nothing."""
    with write_transaction():
        paused = WebhookSubscription.objects.filter(id=row.id, is_active=False)
        if paused.update(is_active=True, paused_why="", since=now):
            record(_event(EventType.WEBHOOK_RESUMED, row, actor=actor, now=now))
    row.refresh_from_db()


def delete(row: WebhookSubscription, *, actor: str, now: datetime) -> None:
    """End a subscription; what waits for it is given up, and its deliveries stay to be read."""
    with write_transaction():
        waiting = WebhookDelivery.objects.filter(receiver=row.id, state__in=OPEN_STATES)
        note = "Its subscription was deleted."
        dropped = waiting.update(state=DeliveryState.FAILED, next_at=None, ended_at=now, note=note)
        if WebhookSubscription.objects.filter(id=row.id).delete()[0]:
            record(_event(EventType.WEBHOOK_DELETED, row, actor=actor, now=now, dropped=dropped))


# --- secrets ----------------------------------------------------------------------------------------------------
def rotate(row: WebhookSubscription, *, actor: str, now: datetime) -> str:
    """Give a subscription another secret and return it; for a day the one before signs too."""
    with write_transaction():
        WebhookSubscription.objects.filter(id=row.id).update(generation=F("generation") + 1, rotated_at=now)
        record(_event(EventType.WEBHOOK_ROTATED, row, actor=actor, now=now))
    row.refresh_from_db()
    return read_secret(row)


def rotate_callbacks(*, actor: str, now: datetime) -> str:
    """Give the callbacks of tasks another secret and return it; for a day the one before signs too."""
    get_state()
    with write_transaction():
        WebhookState.objects.filter(name=STATE).update(generation=F("generation") + 1, rotated_at=now)
        body = {"subscriptionId": CALLBACK, "name": "callbacks of tasks", "host": ""}
        record(Event(type=EventType.WEBHOOK_ROTATED, at=now, actor=actor, body=body))
    return read_callback_secret()


def read_secret(row: WebhookSubscription) -> str:
    """Return a subscription's newest secret: to be shown when it is made, and never again."""
    return signing.derive_secret(settings.SECRET_KEY, row.id, row.generation)


def read_callback_secret() -> str:
    """Return the newest secret that signs the callbacks of tasks."""
    return signing.derive_secret(settings.SECRET_KEY, CALLBACK, get_state().generation)


def list_secrets(receiver: WebhookSubscription | None, *, now: datetime) -> list[str]:
    """Return what signs a delivery now: to a subscription, or to the address of a task."""
    held: WebhookSubscription | WebhookState = receiver or get_state()
    name = CALLBACK if receiver is None else receiver.id
    return signing.list_secrets(settings.SECRET_KEY, name, held.generation, rotated_at=held.rotated_at, now=now)


def _event(type_: EventType, row: WebhookSubscription, *, actor: str, now: datetime, **more: Any) -> Event:
    # The host alone: an address may hold what only its receiver should know.
    about = {"subscriptionId": row.id, "name": row.name, "host": parse_receiver(row.url).host}
    return Event(type=type_, at=now, actor=actor, body=about | more)
