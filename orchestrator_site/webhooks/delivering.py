"""What becomes of deliveries: claimed, settled, tried again by a person, and forgotten after a while.

A claim is the time at which whoever holds it is taken for dead. So a delivery that was under way when its process was
killed is sent again: at least once, under the same id.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q

from audit.context import SYSTEM
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.exceptions import DeliveryBusy, DeliveryNotFound, SubscriptionNotFound
from orchestrator_site.webhooks import metrics
from orchestrator_site.webhooks.metrics import Outcome
from orchestrator_site.webhooks.models import (
    OPEN_STATES,
    DeliveryState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookSubscription,
)
from orchestrator_site.webhooks.retrying import find_wait, read_retry_after
from orchestrator_site.webhooks.sending import Answer
from orchestrator_site.webhooks.subscribing import pause

CLAIM: Final = timedelta(seconds=60)
KEPT: Final = timedelta(days=30)
_SWEPT: Final = 500


def claim_due(*, now: datetime, running: Counter[str], a_channel: int, limit: int) -> list[WebhookDelivery]:
    """Claim at most `limit` deliveries that are due, the oldest first, none of a subscription that is paused.

    `running` counts what is under way by channel, and goes up with what is claimed: to `a_channel` at most.
    """
    busy = [channel for channel, count in running.items() if count >= a_channel]
    paused = WebhookSubscription.objects.filter(is_active=False).values("id")
    due = WebhookDelivery.objects.filter(Q(state__in=OPEN_STATES), next_at__lte=now).exclude(channel__in=busy)
    found = due.exclude(receiver__in=paused).order_by("next_at", "id")[:limit]
    claimed = []
    for delivery in found:
        if running[delivery.channel] < a_channel and _claim(delivery, now=now):
            running[delivery.channel] += 1
            claimed.append(delivery)
    return claimed


def _claim(delivery: WebhookDelivery, *, now: datetime) -> bool:
    claimed = {"state": DeliveryState.SENDING, "next_at": now + CLAIM}
    with write_transaction():
        if not _mine(delivery).update(**claimed):
            return False
    delivery.state, delivery.next_at = DeliveryState.SENDING, now + CLAIM
    return True


def _mine(delivery: WebhookDelivery) -> Any:
    """Return the delivery as long as nobody else has taken it over."""
    return WebhookDelivery.objects.filter(id=delivery.id, state=delivery.state, next_at=delivery.next_at)


def give_back(delivery: WebhookDelivery, *, now: datetime) -> None:
    """Let go of a claim whose attempt was not made."""
    with write_transaction():
        _mine(delivery).update(state=DeliveryState.PENDING, next_at=now)


def forget_claims(*, now: datetime) -> None:
    """Give back whatever is claimed: for a process that knows that no other is alive."""
    with write_transaction():
        WebhookDelivery.objects.filter(state=DeliveryState.SENDING).update(state=DeliveryState.PENDING, next_at=now)


def settle(delivery: WebhookDelivery, answer: Answer, *, started_at: datetime, now: datetime, draw: float) -> None:
    """Write down one attempt, and what becomes of the delivery; nothing if another process has taken it over."""
    asked = read_retry_after(answer.status or 0, answer.retry_after, now=now)
    number = delivery.round_attempts + 1
    wait = None if answer.is_final or answer.is_taken else find_wait(number, draw=draw, asked=asked)
    changes: dict[str, Any] = {"attempts": delivery.attempts + 1, "round_attempts": number, "note": answer.note}
    if wait is not None:
        changes |= {"state": DeliveryState.PENDING, "next_at": now + wait}
    else:
        state = DeliveryState.DELIVERED if answer.is_taken else DeliveryState.FAILED
        changes |= {"state": state, "next_at": None, "ended_at": now}
    with write_transaction():
        if not _mine(delivery).update(**changes):
            return
        _write_attempt(delivery, answer, started_at=started_at, now=now)
        if changes["state"] == DeliveryState.FAILED:
            _give_up(delivery, answer, now=now)
    outcome = {DeliveryState.DELIVERED: Outcome.DELIVERED, DeliveryState.FAILED: Outcome.FAILED}
    metrics.deliveries.labels(outcome=outcome.get(changes["state"], Outcome.RETRIED).value).inc()


def _write_attempt(delivery: WebhookDelivery, answer: Answer, *, started_at: datetime, now: datetime) -> None:
    WebhookAttempt.objects.create(
        delivery=delivery,
        number=delivery.attempts + 1,
        at=started_at,
        took_ms=max(0, (now - started_at) // timedelta(milliseconds=1)),
        status=answer.status,
        code=answer.code,
        note=answer.note,
        body=answer.body,
    )


def _give_up(delivery: WebhookDelivery, answer: Answer, *, now: datetime) -> None:
    body = {"attempts": delivery.attempts + 1, "status": answer.status, "code": answer.code}
    record(_event(EventType.WEBHOOK_ABANDONED, delivery, actor=SYSTEM, now=now, **body))
    subscription = WebhookSubscription.objects.filter(id=delivery.receiver, is_active=True).first()
    if answer.is_gone and subscription is not None:
        pause(subscription, actor=SYSTEM, why="Its receiver answered 410: it wants no more.", now=now)


def _event(type_: EventType, delivery: WebhookDelivery, *, actor: str, now: datetime, **more: Any) -> Event:
    body = {"deliveryId": delivery.id, "subscriptionId": delivery.receiver, "type": delivery.type, **more}
    cause = delivery.event_id
    return Event(type=type_, at=now, actor=actor, task_id=delivery.task_id, cause_id=cause, body=body)


def get_delivery(delivery_id: str) -> WebhookDelivery:
    """Return a delivery.

    Raises: DeliveryNotFound.
    """
    delivery = WebhookDelivery.objects.filter(id=delivery_id).first()
    if delivery is None:
        raise DeliveryNotFound
    return delivery


def retry(delivery_id: str, *, actor: str, now: datetime) -> WebhookDelivery:
    """Have a delivery sent now, also one that was taken or given up; it may then be tried as often as a new one.

    Raises: DeliveryNotFound; DeliveryBusy while it is being sent; SubscriptionNotFound if its receiver is gone.
    """
    delivery = get_delivery(delivery_id)
    if not delivery.is_callback and not WebhookSubscription.objects.filter(id=delivery.receiver).exists():
        raise SubscriptionNotFound
    changes = {"state": DeliveryState.PENDING, "round_attempts": 0, "next_at": now, "ended_at": None}
    with write_transaction():
        if delivery.state == DeliveryState.SENDING or not _mine(delivery).update(**changes):
            raise DeliveryBusy
        record(_event(EventType.WEBHOOK_RETRIED, delivery, actor=actor, now=now))
    return get_delivery(delivery_id)


def sweep(*, now: datetime) -> int:
    """Forget the oldest deliveries that were made more than 30 days ago, at most 500; return how many."""
    oldest = WebhookDelivery.objects.filter(created_at__lt=now - KEPT).order_by("created_at")
    old = list(oldest.values_list("id", flat=True)[:_SWEPT])
    if old:
        with write_transaction():
            WebhookAttempt.objects.filter(delivery_id__in=old).delete()
            WebhookDelivery.objects.filter(id__in=old).delete()
    return len(old)


def count_pending(limit: int = 100_000) -> int:
    """Return how many deliveries are not taken and not given up, counted up to `limit`."""
    return WebhookDelivery.objects.filter(state__in=OPEN_STATES)[:limit].count()
