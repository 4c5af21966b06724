"""`GET /api/audit`: the trail, newest first."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from django.http import QueryDict
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.events import EventType
from audit.exceptions import BadQuery, StoreUnavailable
from audit.exploring.filters import DECISIONS, NOUNS, Filters, name_actor
from audit.exploring.reading import show_to
from audit.exploring.search import MAX_LIMIT, list_events
from audit.reach import check_reach, reach_of

DEFAULT_LIMIT: Final = 50
PAYLOAD_SCOPE: Final = "audit:payload"
_PARAMETERS: Final = frozenset(
    {"limit", "cursor", "agentId", "taskId", "type", "decision", "since", "until", "skillId", "actor", "q"}
)
_ID: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_MAX_DIGITS: Final = 15
_MAX_TEXT: Final = 200


class AuditEventSerializer(serializers.Serializer[Any]):
    """One event of the trail, as the OpenAPI document shows it.

    `body` is null and `redacted` true for tokens without the scope `audit:payload`; `actor` and `body` are null once a
    person's data was erased.
    """

    seq = serializers.IntegerField()
    id = serializers.CharField()
    type = serializers.ChoiceField(choices=[type_.value for type_ in EventType])
    at = serializers.DateTimeField()
    actor = serializers.CharField(allow_null=True)
    taskId = serializers.CharField(allow_null=True)  # noqa: N815
    agentId = serializers.CharField(allow_null=True)  # noqa: N815
    skillId = serializers.CharField(allow_null=True)  # noqa: N815
    decision = serializers.ChoiceField(choices=DECISIONS, allow_null=True)
    reason = serializers.CharField(allow_null=True)
    traceId = serializers.CharField(allow_null=True)  # noqa: N815
    causeId = serializers.CharField(allow_null=True)  # noqa: N815
    body = serializers.DictField(allow_null=True)
    redacted = serializers.BooleanField()
    hash = serializers.CharField()


class AuditPageSerializer(serializers.Serializer[Any]):
    """A page of the trail; `next` is the cursor of the older ones."""

    results = AuditEventSerializer(many=True)
    next = serializers.CharField(allow_null=True)


class AuditEventList(APIView):
    """The audit trail, newest first. A page may be short and still have a `next`."""

    required_scope = "audit:read"
    heeds_agents = True

    @extend_schema(
        operation_id="audit_list",
        parameters=[
            OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} if not given"),
            OpenApiParameter("cursor", str, description="`next` of the page before"),
            OpenApiParameter("agentId", str),
            OpenApiParameter("taskId", str),
            OpenApiParameter("skillId", str),
            OpenApiParameter("actor", str, description="a user's name, or any actor with its kind, such as agent:…"),
            OpenApiParameter("q", str, description="an id that events carry anywhere, or an event's number"),
            OpenApiParameter("type", str, enum=[*NOUNS, *(type_.value for type_ in EventType)]),
            OpenApiParameter("decision", str, enum=DECISIONS),
            OpenApiParameter("since", datetime, description="at or after this time, with its offset from UTC"),
            OpenApiParameter("until", datetime, description="before this time, with its offset from UTC"),
        ],
        responses=AuditPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """Answer a page of events."""
        given = read_parameters(request.query_params)
        filters, before, limit = _read_filters(given), _read_cursor(given), _read_limit(given)
        if (reach := reach_of(request.auth)) is not None:
            check_reach(request.auth, *filter(None, [filters.agent_id]))
            filters = replace(filters, agents=tuple(sorted(reach)))
        try:
            page = list_events(filters, before=before, limit=limit)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}. Nothing is lost: events wait in the ledger. Ask again soon.") from error
        cursor = None if page.next_before is None else str(page.next_before)
        return Response({"results": _show(request, page.events), "next": cursor})


def _show(request: Request, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events as the token may see them; bodies that are handed out leave a trace."""
    grant: Any = request.auth
    sees_payload = PAYLOAD_SCOPE in grant.granted
    actor = f"user:{request.user.get_username()}"
    return show_to(events, actor=actor, way="api", sees_payload=sees_payload, now=timezone.now())


def read_parameters(query: QueryDict) -> dict[str, str]:
    """Return the query's parameters.

    Raises: BadQuery for one that is unknown or given twice.
    """
    for name, values in query.lists():
        if name not in _PARAMETERS:
            raise BadQuery(f"There is no parameter {name[:64]!r}; known are {', '.join(sorted(_PARAMETERS))}.")
        if len(values) != 1:
            raise BadQuery(f"{name} is given {len(values)} times.")
    return {name: values[0] for name, values in query.lists()}


def _read_filters(given: Mapping[str, str]) -> Filters:
    for name in ("agentId", "taskId", "skillId"):
        if name in given and not _ID.fullmatch(given[name]):
            raise BadQuery(f"{name} is not an id: 1 to 64 letters, digits, dots, dashes or underscores.")
    if "type" in given and given["type"] not in {*EventType, *NOUNS}:
        raise BadQuery("type is not one of the event types, nor their first part with its dot.")
    for name in ("actor", "q"):
        if not given.get(name, "x").isprintable() or len(given.get(name, "")) > _MAX_TEXT:
            raise BadQuery(f"{name} is not a text of at most {_MAX_TEXT} characters.")
    if "decision" in given and given["decision"] not in DECISIONS:
        raise BadQuery(f"decision is not one of {', '.join(DECISIONS)}.")
    return Filters(
        agent_id=given.get("agentId", ""),
        task_id=given.get("taskId", ""),
        skill_id=given.get("skillId", ""),
        actor=name_actor(given.get("actor", "")),
        text=given.get("q", ""),
        type=given.get("type", ""),
        decision=given.get("decision", ""),
        since=_read_time(given, "since"),
        until=_read_time(given, "until"),
    )


def _read_time(given: Mapping[str, str], name: str) -> datetime | None:
    if name not in given:
        return None
    try:
        at = datetime.fromisoformat(given[name])
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not 1971 <= at.year <= 9000:
        raise BadQuery(f"{name} is not a time such as 2026-11-23T12:00:00Z; in an address, + is written %2B.")
    return at


def _read_cursor(given: Mapping[str, str]) -> int | None:
    return _read_number(given, "cursor") if "cursor" in given else None


def _read_limit(given: Mapping[str, str]) -> int:
    limit = _read_number(given, "limit") if "limit" in given else DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise BadQuery(f"limit is not between 1 and {MAX_LIMIT}.")
    return limit


def _read_number(given: Mapping[str, str], name: str) -> int:
    text = given[name]
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise BadQuery(f"{name} is not a whole number.")
    return int(text)
