"""Webhooks over HTTP: parse, one call, answer."""

from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import registry
from agents.api import actor_of
from audit.exceptions import BadQuery
from orchestrator_site.webhooks import delivering, queries, subscribing
from orchestrator_site.webhooks.kinds import Kind
from orchestrator_site.webhooks.models import DeliveryState, WebhookSubscription
from orchestrator_site.webhooks.subscribing import Wanted
from orchestrator_site.webhooks.wire import (
    DeliveryDetailWire,
    DeliveryPageWire,
    DeliveryWire,
    WebhookBody,
    WebhookChangeBody,
    WebhookList,
    WebhookSecretWire,
    WebhookWire,
    attempt_to_wire,
    delivery_to_wire,
    webhook_to_wire,
)
from toolgate.reading import BodyInvalid, FieldProblem, read_body, read_limit, read_query

DEFAULT_LIMIT: Final = 50
_FILTERS: Final = ("state", "webhookId", "kind", "taskId", "cursor", "limit")


class WebhookCollection(APIView):
    """All subscriptions."""

    required_scope = {"GET": "webhooks:read", "HEAD": "webhooks:read", "POST": "webhooks:write"}

    @extend_schema(operation_id="webhooks_list", responses=WebhookList)
    def get(self, request: Request) -> Response:
        """List the subscriptions, by name."""
        read_query(request.query_params, ())
        return Response({"results": [_show(request, row) for row in queries.list_subscriptions()]})

    @extend_schema(operation_id="webhooks_create", request=WebhookBody, responses={201: WebhookSecretWire})
    def post(self, request: Request) -> Response:
        """Subscribe to kinds of events from now on. The secret that signs them is in this answer alone."""
        read_query(request.query_params, ())
        body = read_body(request, WebhookBody)
        _check_agents(body.agents)
        row = subscribing.create(Wanted(**dict(body)), actor=actor_of(request), now=timezone.now())
        return Response(_with_secret(row, subscribing.read_secret(row)), status=201)


def _check_agents(agents: list[str]) -> None:
    for place, agent_id in enumerate(agents):
        if registry.find_agent(agent_id) is None:
            detail = "There is no agent of this id. GET /api/agents lists them."
            raise BodyInvalid([FieldProblem(pointer=f"#/agents/{place}", code="agent_unknown", detail=detail)])


def _with_secret(row: WebhookSubscription, secret: str) -> dict[str, Any]:
    return webhook_to_wire(row, whole=True) | {"secret": secret}


def _show(request: Request, row: WebhookSubscription) -> dict[str, Any]:
    grant: Any = request.auth
    return webhook_to_wire(row, whole="webhooks:write" in grant.granted)


class WebhookDetail(APIView):
    """One subscription."""

    required_scope = {
        "GET": "webhooks:read",
        "HEAD": "webhooks:read",
        "PATCH": "webhooks:write",
        "DELETE": "webhooks:write",
    }

    @extend_schema(operation_id="webhooks_read", responses=WebhookWire)
    def get(self, request: Request, webhook_id: str) -> Response:
        """Show one subscription."""
        read_query(request.query_params, ())
        return Response(_show(request, subscribing.get_subscription(webhook_id)))

    @extend_schema(operation_id="webhooks_change", request=WebhookChangeBody, responses=WebhookWire)
    def patch(self, request: Request, webhook_id: str) -> Response:
        """Change a subscription, pause or resume it. What waits is sent to its address as it is then."""
        read_query(request.query_params, ())
        row, actor, now = subscribing.get_subscription(webhook_id), actor_of(request), timezone.now()
        body = read_body(request, WebhookChangeBody)
        _check_agents(body.agents or [])
        given = {name: value for name, value in dict(body).items() if value is not None}
        active = given.pop("active", None)
        as_is = {"name": row.name, "url": row.url, "kinds": row.kinds, "agents": row.agents}
        subscribing.change(row, Wanted(**(as_is | given)), actor=actor, now=now)
        if active is not None:
            (subscribing.resume if active else subscribing.pause)(row, actor=actor, now=now)
        return Response(_show(request, row))

    @extend_schema(operation_id="webhooks_delete", responses={204: None})
    def delete(self, request: Request, webhook_id: str) -> Response:
        """End a subscription. What waits for it is given up; its deliveries can still be read."""
        read_query(request.query_params, ())
        row = subscribing.get_subscription(webhook_id)
        subscribing.delete(row, actor=actor_of(request), now=timezone.now())
        return Response(status=204)


class WebhookRotation(APIView):
    """The secret of one subscription."""

    required_scope = "webhooks:write"

    @extend_schema(operation_id="webhooks_rotate", request=None, responses=WebhookSecretWire)
    def post(self, request: Request, webhook_id: str) -> Response:
        """Change the secret; it is in this answer alone. For a day the one before signs beside it."""
        read_query(request.query_params, ())
        row = subscribing.get_subscription(webhook_id)
        secret = subscribing.rotate(row, actor=actor_of(request), now=timezone.now())
        return Response(_with_secret(row, secret))


class DeliveryCollection(APIView):
    """All deliveries of the last 30 days."""

    required_scope = "webhooks:read"

    @extend_schema(
        operation_id="deliveries_list",
        parameters=[
            OpenApiParameter("state", str, enum=DeliveryState.values),
            OpenApiParameter("webhookId", str, description='"callback" for those whose address a task named'),
            OpenApiParameter("kind", str, enum=[kind.value for kind in Kind]),
            OpenApiParameter("taskId", str),
            OpenApiParameter("cursor", str, description="`next` of the page before"),
            OpenApiParameter("limit", int, description=f"1 to {queries.MAX_PAGE}, {DEFAULT_LIMIT} if not given"),
        ],
        responses=DeliveryPageWire,
    )
    def get(self, request: Request) -> Response:
        """List deliveries, newest first."""
        given = read_query(request.query_params, _FILTERS)
        page = queries.list_deliveries(
            state=_read_word(given, "state", DeliveryState.values),
            receiver=given.get("webhookId", ""),
            kind=_read_word(given, "kind", [kind.value for kind in Kind]),
            task_id=given.get("taskId", ""),
            before=given.get("cursor", ""),
            limit=read_limit(given, default=DEFAULT_LIMIT, maximum=queries.MAX_PAGE),
        )
        return Response({"results": [delivery_to_wire(row) for row in page.results], "next": page.next or None})


def _read_word(given: dict[str, str], name: str, known: list[str]) -> str:
    word = given.get(name, "")
    if name in given and word not in known:
        raise BadQuery(f"{name} is not one of {', '.join(known)}.")
    return word


class DeliveryDetail(APIView):
    """One delivery."""

    required_scope = "webhooks:read"

    @extend_schema(operation_id="deliveries_read", responses=DeliveryDetailWire)
    def get(self, request: Request, delivery_id: str) -> Response:
        """Show one delivery with its attempts."""
        read_query(request.query_params, ())
        row = delivering.get_delivery(delivery_id)
        tries = [attempt_to_wire(attempt) for attempt in queries.list_attempts(row.id)]
        return Response(delivery_to_wire(row) | {"tries": tries})


class DeliveryRetry(APIView):
    """Another attempt at one delivery."""

    required_scope = "webhooks:write"

    @extend_schema(operation_id="deliveries_retry", request=None, responses={202: DeliveryWire})
    def post(self, request: Request, delivery_id: str) -> Response:
        """Send a delivery now, also one that was taken or given up. 409 while it is being sent."""
        read_query(request.query_params, ())
        row = delivering.retry(delivery_id, actor=actor_of(request), now=timezone.now())
        return Response(delivery_to_wire(row), status=202)
