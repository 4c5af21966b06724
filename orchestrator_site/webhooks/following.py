"""Follow the numbered ledger and make a delivery for each event that somebody is to be told.

The deliveries and the cursor are written in one transaction, and the cursor moves only from where it was read: so
each event makes each of its deliveries exactly once, however many processes follow, and whenever one is killed.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from django.conf import settings

from agents.models import Task
from agents.outbound.receivers import parse_receiver
from audit.ids import new_id
from audit.lease import get_head
from audit.models import LedgerEvent
from audit.transactions import write_transaction
from audit.wire import format_at
from orchestrator_site.webhooks.kinds import CALLBACK, KINDS, Kind, Told, make_payload
from orchestrator_site.webhooks.models import WebhookDelivery, WebhookState, WebhookSubscription

WINDOW: Final = 1_000
STATE: Final = "main"


def get_state() -> WebhookState:
    """Return how far the ledger was followed; where nobody ever did, from its end on."""
    state = WebhookState.objects.filter(name=STATE).first()
    return state or WebhookState.objects.get_or_create(name=STATE, defaults={"seq": get_head().seq})[0]


def follow(*, now: datetime) -> bool:
    """Make the deliveries of the next events; tell whether there were any events."""
    after, head = get_state().seq, get_head().seq
    if head <= after:
        return False
    to = min(after + WINDOW, head)
    events = _read(after=after, to=to)  # what of it left for the archives was followed long before
    deliveries = list(_make_deliveries(events, now=now)) if events else []
    with write_transaction():
        if WebhookState.objects.filter(name=STATE, seq=after).update(seq=to):
            WebhookDelivery.objects.bulk_create(deliveries, batch_size=100)
    return True


def _read(*, after: int, to: int) -> list[Told]:
    rows = LedgerEvent.objects.filter(seq__gt=after, seq__lte=to, type__in=KINDS).order_by("seq")
    return [
        Told(
            seq=row.seq or 0,
            id=row.event_id,
            type=row.type,
            at=format_at(row.at),
            task_id=row.task_id,
            agent_id=row.agent_id,
            skill_id=row.skill_id,
            reason=row.reason,
            body=row.body or {},
        )
        for row in rows
    ]


def _make_deliveries(events: Sequence[Told], *, now: datetime) -> Iterator[WebhookDelivery]:
    # Read after the events: who subscribed before one of them was recorded is among them.
    subscriptions = list(WebhookSubscription.objects.filter(is_active=True))
    ended = [event.task_id for event in events if event.kind is Kind.TASK_ENDED]
    named = Task.objects.filter(id__in=ended).exclude(callback_url="")
    callbacks = dict(named.values_list("id", "callback_url"))
    for event in events:
        url = callbacks.get(event.task_id, "") if event.kind is Kind.TASK_ENDED else ""
        if url:
            host = parse_receiver(url).host
            yield _make(event, receiver=CALLBACK, channel=f"{CALLBACK}:{host}", url=url, now=now)
        for subscription in subscriptions:
            if _wants(subscription, event):
                yield _make(event, receiver=subscription.id, channel=subscription.id, url="", now=now)


def _wants(subscription: WebhookSubscription, event: Told) -> bool:
    return (
        event.kind in subscription.kinds
        and (not subscription.agents or event.agent_id in subscription.agents)
        and event.at >= format_at(subscription.since)
    )


def _make(event: Told, *, receiver: str, channel: str, url: str, now: datetime) -> WebhookDelivery:
    delivery_id = new_id()
    return WebhookDelivery(
        id=delivery_id,
        receiver=receiver,
        channel=channel,
        url=url,
        event_id=event.id,
        kind=event.kind.value,
        type=event.type,
        task_id=event.task_id,
        payload=make_payload(event, delivery_id=delivery_id, console=settings.CONSOLE_URL),
        next_at=now,
        created_at=now,
    )
