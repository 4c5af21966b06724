"""What the console and the API read about webhooks."""

from dataclasses import dataclass
from typing import Final

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import QueryDict

from orchestrator_site.webhooks.kinds import Kind
from orchestrator_site.webhooks.models import DeliveryState, WebhookAttempt, WebhookDelivery, WebhookSubscription

MAX_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """Deliveries, newest first; `next` is the id that the older ones are before, empty at the end."""

    results: list[WebhookDelivery]
    next: str


def filter_deliveries(
    *, state: str = "", receiver: str = "", kind: str = "", task_id: str = ""
) -> QuerySet[WebhookDelivery]:
    """Return deliveries, newest first; "" filters nothing."""
    wanted = {"state": state, "receiver": receiver, "kind": kind, "task_id": task_id}
    return WebhookDelivery.objects.filter(**{name: value for name, value in wanted.items() if value}).order_by("-id")


def list_deliveries(*, before: str = "", limit: int = 50, **filters: str) -> DeliveryPage:
    """Return at most `limit` of the filtered deliveries that are older than the one of the id `before`."""
    rows = filter_deliveries(**filters)
    found = list((rows.filter(id__lt=before) if before else rows)[: limit + 1])
    return DeliveryPage(results=found[:limit], next=found[limit - 1].id if len(found) > limit else "")


def read_filters(query: QueryDict) -> dict[str, str]:
    """Return what a page's address filters deliveries by; a word that is none filters nothing."""
    known = {"state": DeliveryState.values, "kind": [kind.value for kind in Kind]}
    given = {name: query.get(name, "") for name in ("state", "receiver", "kind", "task")}
    filters = {name: "" if name in known and value not in known[name] else value for name, value in given.items()}
    return {("task_id" if name == "task" else name): value for name, value in filters.items()}


def list_subscriptions() -> list[WebhookSubscription]:
    """Return all subscriptions by name, each with the state and the time of its newest delivery."""
    newest = WebhookDelivery.objects.filter(receiver=OuterRef("id")).order_by("-id")
    rows: QuerySet[WebhookSubscription] = WebhookSubscription.objects.annotate(
        newest_state=Subquery(newest.values("state")[:1]), newest_at=Subquery(newest.values("created_at")[:1])
    )
    return list(rows.order_by("name"))


def name_receivers() -> dict[str, str]:
    """Return the names of the subscriptions by their ids."""
    return dict(WebhookSubscription.objects.order_by("name").values_list("id", "name"))


def list_attempts(delivery_id: str) -> list[WebhookAttempt]:
    """Return the attempts at a delivery, in order."""
    return list(WebhookAttempt.objects.filter(delivery_id=delivery_id).order_by("number"))
