"""Whether webhooks are delivered: what is due and since when, what was given up, which subscriptions are paused."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator_site.webhooks.models import DeliveryState, WebhookDelivery, WebhookSubscription

COUNTED_UP_TO: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """The deliveries that are not over, counted up to 1,000, and what people should look at."""

    waiting: int
    oldest_at: datetime | None
    failed: int
    paused: list[str]  # subscriptions by name
    subscriptions: int


def read_deliveries() -> Deliveries:
    """Return how webhooks get on. Raises: DatabaseError."""
    due = WebhookDelivery.objects.filter(state__in=[DeliveryState.PENDING, DeliveryState.SENDING])
    waiting = list(due.order_by("next_at").values_list("created_at", flat=True)[:COUNTED_UP_TO])
    failed = WebhookDelivery.objects.filter(state=DeliveryState.FAILED).values_list("id")[:COUNTED_UP_TO]
    names = list(WebhookSubscription.objects.order_by("name").values_list("name", "is_active")[:COUNTED_UP_TO])
    return Deliveries(
        waiting=len(waiting),
        oldest_at=min(waiting, default=None),
        failed=len(failed),
        paused=[name for name, is_active in names if not is_active],
        subscriptions=len(names),
    )
