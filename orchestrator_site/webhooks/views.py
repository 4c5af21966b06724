"""Webhooks, for people: parse, one call, respond."""

from typing import Any, Final

from django.contrib import messages
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from orchestrator_site.console import find_permissions
from orchestrator_site.exceptions import (
    DeliveryBusy,
    DeliveryNotFound,
    NameTaken,
    SubscriptionNotFound,
    TooManyWebhooks,
)
from orchestrator_site.roles import Permission
from orchestrator_site.webhooks import delivering, queries, subscribing
from orchestrator_site.webhooks.forms import SubscriptionForm, initial_of
from orchestrator_site.webhooks.kinds import CALLBACK, WORDS
from orchestrator_site.webhooks.models import DeliveryState, WebhookDelivery, WebhookSubscription

FORM_METHODS: Final = ["GET", "HEAD", "POST"]
PAGE_SIZE: Final = 50
_KEY_SALT: Final = "webhooks.secret"
_KEY_SECONDS: Final = 300
FILTERS: Final = ("state", "receiver", "kind", "task")


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"


def _get(subscription_id: str) -> WebhookSubscription:
    try:
        return subscribing.get_subscription(subscription_id)
    except SubscriptionNotFound as error:
        raise Http404("no such webhook") from error


# --- who is told ------------------------------------------------------------------------------------------------
@require_safe
def show_webhooks(request: HttpRequest) -> HttpResponse:
    """List the subscriptions, and how callbacks of tasks are signed."""
    may_write = Permission.WEBHOOKS_WRITE in find_permissions(request)
    context = {
        "tab": "webhooks",
        "subscriptions": queries.list_subscriptions(),
        "words": WORDS,
        "secret": subscribing.read_callback_secret() if may_write else "",
    }
    return render(request, "settings/webhook_list.html", context)


@require_safe
def show_webhook(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Show one subscription with its newest deliveries."""
    row = _get(subscription_id)
    page = queries.list_deliveries(receiver=row.id, limit=10)
    context = {"tab": "webhooks", "row": row, "words": WORDS, "deliveries": _describe(page.results)}
    return render(request, "settings/webhook_detail.html", context)


@require_http_methods(FORM_METHODS)
def new_webhook(request: HttpRequest) -> HttpResponse:
    """Show the form of a new subscription; on POST make it, and lead to where its secret is shown."""
    form = SubscriptionForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        try:
            row = subscribing.create(form.read(), actor=_actor(request), now=timezone.now())
        except NameTaken as error:
            form.add_error("name", str(error))
        except TooManyWebhooks as error:
            form.add_error(None, str(error))
        else:
            return _lead_to_secret(request, row)
    context = {"tab": "webhooks", "form": form}
    return render(request, "settings/webhook_form.html", context, status=422 if form.is_bound else 200)


@require_http_methods(FORM_METHODS)
def edit_webhook(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Show the form of a subscription as it is; on POST change it."""
    row = _get(subscription_id)
    form = SubscriptionForm(request.POST if request.method == "POST" else None, initial=initial_of(row))
    if form.is_bound and form.is_valid():
        try:
            subscribing.change(row, form.read(), actor=_actor(request), now=timezone.now())
        except NameTaken as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, "Changed. What waits is sent to the address as it is now.")
            return redirect("console:webhook", row.id)
    context = {"tab": "webhooks", "form": form, "row": _get(subscription_id)}
    return render(request, "settings/webhook_form.html", context, status=422 if form.is_bound else 200)


def make_key(row: WebhookSubscription, *, user: str) -> str:
    """Return what lets one person see one secret for five minutes: reloading the page must not change it again."""
    return signing.dumps([user, row.id, row.generation], salt=_KEY_SALT)


def _lead_to_secret(request: HttpRequest, row: WebhookSubscription) -> HttpResponse:
    key = make_key(row, user=request.user.get_username())
    return redirect(f"{reverse('console:webhook_secret', args=[row.id])}?key={key}")


@require_safe
def show_secret(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Show the secret of a subscription to who has just made or changed it."""
    row = _get(subscription_id)
    try:
        seen = signing.loads(request.GET.get("key", ""), salt=_KEY_SALT, max_age=_KEY_SECONDS)
    except signing.BadSignature:
        seen = None
    if seen != [request.user.get_username(), row.id, row.generation]:
        messages.error(
            request, "A secret is shown for five minutes. If it was not copied, change it: you see the new one."
        )
        return redirect("console:webhook", row.id)
    context = {"tab": "webhooks", "row": row, "secret": subscribing.read_secret(row)}
    return render(request, "settings/webhook_secret.html", context)


@require_POST
def switch_webhook(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Pause a subscription, or resume it."""
    row, now = _get(subscription_id), timezone.now()
    if request.POST.get("state") == "active":
        subscribing.resume(row, actor=_actor(request), now=now)
        messages.success(request, "Resumed. It is told of what happens from now on, and what waited is sent.")
    else:
        subscribing.pause(row, actor=_actor(request), now=now)
        messages.success(request, "Paused. It is told of nothing, and what waits is kept.")
    return redirect("console:webhook", row.id)


@require_POST
def rotate_webhook(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """Give a subscription another secret, and lead to where it is shown."""
    row = _get(subscription_id)
    subscribing.rotate(row, actor=_actor(request), now=timezone.now())
    return _lead_to_secret(request, row)


@require_POST
def rotate_callbacks(request: HttpRequest) -> HttpResponse:
    """Give the callbacks of tasks another secret."""
    subscribing.rotate_callbacks(actor=_actor(request), now=timezone.now())
    messages.success(request, "Callbacks are signed with another secret. For a day the one before signs beside it.")
    return redirect("console:webhook_list")


@require_POST
def delete_webhook(request: HttpRequest, subscription_id: str) -> HttpResponse:
    """End a subscription."""
    row = _get(subscription_id)
    subscribing.delete(row, actor=_actor(request), now=timezone.now())
    messages.success(request, f"{row.name} is deleted. Its deliveries can still be read.")
    return redirect("console:webhook_list")


# --- deliveries -------------------------------------------------------------------------------------------------
@require_safe
def show_deliveries(request: HttpRequest) -> HttpResponse:
    """List the deliveries, newest first."""
    values = {name: request.GET.get(name, "") for name in FILTERS}
    before = request.GET.get("before", "")
    page = queries.list_deliveries(**queries.read_filters(request.GET), before=before, limit=PAGE_SIZE)
    context = {
        "tab": "webhooks",
        "deliveries": _describe(page.results),
        "next": page.next,
        "before": before,
        "query": request.GET.urlencode(),
        "values": values,
        "is_filtered": any(values.values()),
        "states": DeliveryState.values,
        "kinds": WORDS,
        "receivers": queries.name_receivers(),
        "callback": CALLBACK,
    }
    return render(request, "settings/delivery_list.html", context)


def _describe(deliveries: list[WebhookDelivery]) -> list[dict[str, Any]]:
    """Return deliveries as rows, each with the name of its receiver; empty if that was deleted."""
    names = queries.name_receivers()
    return [{"delivery": delivery, "name": names.get(delivery.receiver, "")} for delivery in deliveries]


@require_safe
def show_delivery(request: HttpRequest, delivery_id: str) -> HttpResponse:
    """Show one delivery: what was sent, and what came of each attempt."""
    delivery = _get_delivery(delivery_id)
    (facts,) = _describe([delivery])
    context = {
        "tab": "webhooks",
        "delivery": delivery,
        "facts": facts,
        "attempts": queries.list_attempts(delivery.id),
    }
    return render(request, "settings/delivery_detail.html", context)


def _get_delivery(delivery_id: str) -> WebhookDelivery:
    try:
        return delivering.get_delivery(delivery_id)
    except DeliveryNotFound as error:
        raise Http404("no such delivery") from error


@require_POST
def retry_delivery(request: HttpRequest, delivery_id: str) -> HttpResponse:
    """Have a delivery sent now."""
    _get_delivery(delivery_id)
    try:
        delivering.retry(delivery_id, actor=_actor(request), now=timezone.now())
    except (DeliveryBusy, SubscriptionNotFound) as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "It is sent again, under the same id.")
    return redirect("console:delivery", delivery_id)
