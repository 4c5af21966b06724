"""Approvals over HTTP: what waits for a person, and a person's answer."""

import base64
import binascii
from datetime import datetime
from typing import Any, Final, Literal

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.exceptions import BadQuery
from audit.wire import format_at
from toolgate.approvals import decide_approval
from toolgate.exceptions import GateError
from toolgate.models import Approval, ApprovalState
from toolgate.queries import list_approvals
from toolgate.reading import WireModel, read_body, read_limit, read_query

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100


class ApprovalWire(WireModel):
    """A question to a person about one call, bound by `digest` to agent, skill, arguments and policy version."""

    approval_id: str
    kind: Literal["call", "step_unknown"]
    status: Literal["pending", "approved", "refused", "expired", "superseded", "used"]
    task_id: str
    agent_id: str
    skill_id: str
    arguments: dict[str, Any]
    digest: str
    policy_version: int
    rule_id: str | None
    submitted_by: str
    four_eyes: bool
    created_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    note: str | None


class ApprovalPage(WireModel):
    """Approvals, newest first; `next` is the cursor of the older ones."""

    results: list[ApprovalWire]
    next: str | None


class DecisionBody(WireModel):
    """A person's answer. `input`, other arguments than were asked for, cannot be given yet."""

    decision: Literal["approve", "refuse"]
    note: str | None = None
    input: Any = None


class InputEditUnsupported(GateError):
    """An approver cannot change the arguments yet."""

    code = "input_edit_unsupported"

    def __init__(self) -> None:
        super().__init__(
            "Approving with other arguments is not possible yet, and nothing was decided. "
            "Refuse, and have the task submitted anew with the arguments you would approve."
        )


class ApprovalCollection(APIView):
    """All approvals."""

    required_scope = "approvals:read"

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
        found = list_approvals(_read_status(given), _read_cursor(given), limit=limit + 1)
        page = found[:limit]
        cursor = _write_cursor(page[-1].id) if len(found) > limit else None
        return Response({"results": [approval_to_wire(approval) for approval in page], "next": cursor})


class ApprovalDecision(APIView):
    """The answer to one approval."""

    required_scope = "approvals:decide"

    @extend_schema(operation_id="approvals_decide", request=DecisionBody, responses=ApprovalWire)
    def post(self, request: Request, approval_id: str) -> Response:
        """Approve one call, or refuse it. 403 if you submitted the task, 409 if it is answered or out of time."""
        read_query(request.query_params, ())
        body = read_body(request, DecisionBody)
        if "input" in body.model_fields_set:
            raise InputEditUnsupported
        approval = decide_approval(
            approval_id,
            approve=body.decision == "approve",
            user=request.user.get_username(),
            note=body.note or "",
            now=timezone.now(),
        )
        return Response(approval_to_wire(approval))


def approval_to_wire(approval: Approval) -> dict[str, Any]:
    """Return an approval as the API shows it; what is empty is null."""
    return {
        "approvalId": approval.id,
        "kind": approval.kind,
        "status": str(approval.state),
        "taskId": approval.task_id,
        "agentId": approval.agent_id,
        "skillId": approval.skill_id,
        "arguments": approval.arguments,
        "digest": approval.digest,
        "policyVersion": approval.policy_version,
        "ruleId": approval.rule_id or None,
        "submittedBy": approval.submitted_by,
        "fourEyes": approval.four_eyes,
        "createdAt": format_at(approval.created_at),
        "expiresAt": format_at(approval.expires_at),
        "decidedBy": approval.decided_by or None,
        "decidedAt": format_at(approval.decided_at) if approval.decided_at else None,
        "note": approval.note or None,
    }


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
