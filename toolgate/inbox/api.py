"""Approvals and grants over HTTP: what waits for a person, a person's answer, and the leave that it gave."""

import base64
import binascii
from typing import Annotated, Any, Final, Literal

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.exceptions import BadQuery
from audit.reach import check_reach, reach_of
from toolgate.approvals import decide_approval, get_grant, list_grants, revoke_grant
from toolgate.inbox.standing import person_of
from toolgate.inbox.wire import ApprovalWire, GrantWire, Scope, approval_to_wire, grant_to_wire
from toolgate.models import Approval, ApprovalState
from toolgate.queries import get_approval, list_approvals
from toolgate.reading import WireModel, read_body, read_limit, read_query

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ApprovalPage(WireModel):
    """Approvals, newest first; `next` is the cursor of the older ones."""

    results: list[ApprovalWire]
    next: str | None


class GrantList(WireModel):
    """The grants that are in force, the first to end first."""

    results: list[GrantWire]


class DecisionBody(WireModel):
    """A person's answer.

    `input` is what to run in place of the arguments that were asked for; `digest`, if given, is of what the person
    looked at: another call is not decided. `scope` is what else is approved: nothing ("once"), this task's further
    calls that the same rules ask about ("task"), or those of all the agent's tasks for some `minutes` ("minutes").
    """

    decision: Literal["approve", "refuse"]
    note: str | None = None
    input: dict[str, Any] | None = None
    digest: Digest | None = None
    scope: Scope = "once"
    minutes: int | None = None


class ApprovalCollection(APIView):
    """All approvals."""

    required_scope = "approvals:read"
    heeds_agents = True

    @extend_schema(
        operation_id="approvals_list",
        parameters=[
            OpenApiParameter("status", str, enum=[state.value for state in ApprovalState]),
            OpenApiParameter("cursor", str, description="`next` of the page before"),
            OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} if not given"),
        ],
        responses=ApprovalPage,
    )
    def get(self, request: Request) -> Response:
        """List approvals, newest first; `status=pending` are those that wait."""
        given = read_query(request.query_params, ("status", "cursor", "limit"))
        limit = read_limit(given, default=DEFAULT_LIMIT, maximum=MAX_LIMIT)
        reach, status = reach_of(request.auth), _read_status(given)
        found = list_approvals(status, _read_cursor(given), agents=reach, limit=limit + 1)
        page = found[:limit]
        cursor = _write_cursor(page[-1].id) if len(found) > limit else None
        return Response({"results": [approval_to_wire(approval) for approval in page], "next": cursor})


class ApprovalDetail(APIView):
    """One approval."""

    required_scope = "approvals:read"
    heeds_agents = True

    @extend_schema(operation_id="approvals_read", responses=ApprovalWire)
    def get(self, request: Request, approval_id: str) -> Response:
        """Show one approval with its exact arguments, what its rules want, and who has answered."""
        read_query(request.query_params, ())
        return Response(approval_to_wire(_get_reached(request, approval_id)))


class ApprovalDecision(APIView):
    """The answer to one approval."""

    required_scope = "approvals:decide"
    heeds_agents = True

    @extend_schema(operation_id="approvals_decide", request=DecisionBody, responses=ApprovalWire)
    def post(self, request: Request, approval_id: str) -> Response:
        """Approve one call, or refuse it; it stays `pending` while it takes further people.

        403 if you submitted the task or the rules name others, 409 if it is answered, changed or out of time.
        """
        read_query(request.query_params, ())
        body, person = read_body(request, DecisionBody), person_of(request.user)
        _get_reached(request, approval_id)
        approval = decide_approval(
            approval_id,
            approve=body.decision == "approve",
            user=person.name,
            groups=person.groups,
            note=body.note or "",
            digest=body.digest or "",
            arguments=body.input,
            scope=body.scope,
            minutes=body.minutes,
            now=timezone.now(),
        )
        return Response(approval_to_wire(approval))


class GrantCollection(APIView):
    """The grants in force."""

    required_scope = "approvals:read"
    heeds_agents = True

    @extend_schema(operation_id="grants_list", responses=GrantList)
    def get(self, request: Request) -> Response:
        """List the leaves for further calls that are in force, the first to end first."""
        read_query(request.query_params, ())
        return Response(
            {"results": [grant_to_wire(grant) for grant in list_grants(timezone.now(), agents=reach_of(request.auth))]}
        )


class GrantRevocation(APIView):
    """The end of one grant."""

    required_scope = "approvals:decide"
    heeds_agents = True

    @extend_schema(operation_id="grants_revoke", request=None, responses=GrantWire)
    def post(self, request: Request, grant_id: str) -> Response:
        """End a grant at once; what ran on it is not undone. 409 if it has ended already."""
        read_query(request.query_params, ())
        check_reach(request.auth, get_grant(grant_id).agent_id)
        return Response(grant_to_wire(revoke_grant(grant_id, user=request.user.get_username(), now=timezone.now())))


def _get_reached(request: Request, approval_id: str) -> Approval:
    """Return an approval that the token may be told of.

    Raises: ApprovalNotFound, AgentNotGranted.
    """
    approval = get_approval(approval_id)
    check_reach(request.auth, approval.agent_id)
    return approval


def _read_status(given: dict[str, str]) -> str | None:
    status = given.get("status")
    if status is not None and status not in ApprovalState.values:
        raise BadQuery(f"status is not one of {', '.join(ApprovalState.values)}.")
    return status


def _write_cursor(approval_id: str) -> str:
    return base64.urlsafe_b64encode(approval_id.encode()).decode().rstrip("=")


def _read_cursor(given: dict[str, str]) -> str:
    text = given.get("cursor")
    if text is None:
        return ""
    try:
        approval_id = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        approval_id = ""
    if not (1 <= len(approval_id) <= 64 and approval_id.isalnum()):
        raise BadQuery("cursor is not the `next` of a page.")
    return approval_id
