"""The policy over HTTP: what is in force, its versions, and the caller's own draft."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.exceptions import BadQuery
from toolgate.editing import drafts, versions
from toolgate.editing.diff import WireRule, diff_rules
from toolgate.editing.wire import (
    DraftBody,
    DraftPublishBody,
    DraftWire,
    PolicyWire,
    PublishBody,
    RestoreBody,
    VersionPage,
    VersionWire,
    draft_to_wire,
    policy_to_wire,
    summary_to_wire,
    version_to_wire,
)
from toolgate.exceptions import DraftMissing, PolicyConflict, VersionMissing
from toolgate.models import PolicyDraft
from toolgate.publishing import publish_policy, restore_version
from toolgate.reading import read_body, read_limit, read_query

DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 100
_SCOPES: Final = {"GET": "policy:read", "HEAD": "policy:read"}
_MAX_DIGITS: Final = 9


@contextmanager
def _show_both(rules: Sequence[WireRule]) -> Iterator[None]:
    """Let a conflict tell what differs: what the caller changed, and what was published meanwhile."""
    try:
        yield
    except PolicyConflict as error:
        try:
            conflict = versions.find_conflict(rules, base_version=error.base_version)
        except VersionMissing:  # the caller edited a version that there never was
            conflict = None
        error.members = {"conflict": conflict.to_wire()} if conflict else {}
        raise


def _user(request: Request) -> str:
    return str(request.user.get_username())


# --- versions ---------------------------------------------------------------------------------------------------
class PolicyInForce(APIView):
    """The policy in force."""

    required_scope = "policy:read"

    @extend_schema(operation_id="policy_get", responses=PolicyWire)
    def get(self, request: Request) -> Response:
        """Return the rules in force."""
        read_query(request.query_params, ())
        return Response(policy_to_wire(versions.get_newest()))


class VersionCollection(APIView):
    """All versions of the policy."""

    required_scope = {**_SCOPES, "POST": "policy:write"}

    @extend_schema(
        operation_id="policy_versions_list",
        parameters=[
            OpenApiParameter("cursor", str, description="`next` of the page before"),
            OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, {DEFAULT_LIMIT} if not given"),
        ],
        responses=VersionPage,
    )
    def get(self, request: Request) -> Response:
        """List the versions, newest first, with the ids of the rules that each changed."""
        given = read_query(request.query_params, ("cursor", "limit"))
        limit = read_limit(given, default=DEFAULT_LIMIT, maximum=MAX_LIMIT)
        found = versions.list_editions(before=_read_cursor(given), limit=limit + 1)
        page = found[:limit]
        cursor = str(page[-1].version.number) if len(found) > limit else None
        return Response({"results": [summary_to_wire(edition) for edition in page], "next": cursor})

    @extend_schema(operation_id="policy_publish", request=PublishBody, responses={201: VersionWire})
    def post(self, request: Request) -> Response:
        """Publish rules, whole, as the next version. 409 with both differences if another one is in force by now."""
        read_query(request.query_params, ())
        body, now = read_body(request, PublishBody), timezone.now()
        with _show_both(body.rules):
            version = publish_policy(
                body.rules, author=_user(request), reason=body.reason, base_version=body.base_version, now=now
            )
        return _created(version.number)


class VersionDetail(APIView):
    """One version of the policy."""

    required_scope = "policy:read"

    @extend_schema(operation_id="policy_version_get", responses=VersionWire)
    def get(self, request: Request, number: int) -> Response:
        """Return one version with its rules and what it changed."""
        read_query(request.query_params, ())
        return Response(version_to_wire(versions.get_edition(number)))


class VersionRestore(APIView):
    """An earlier version once more."""

    required_scope = "policy:write"

    @extend_schema(operation_id="policy_version_restore", request=RestoreBody, responses={201: VersionWire})
    def post(self, request: Request, number: int) -> Response:
        """Publish the rules of an earlier version as the next one. 409 if another one is in force by now."""
        read_query(request.query_params, ())
        body, old = read_body(request, RestoreBody), versions.get_version(number)
        with _show_both(old.rules):
            version = restore_version(
                old.number,
                author=_user(request),
                reason=body.reason,
                base_version=body.base_version,
                now=timezone.now(),
            )
        return _created(version.number)


def _created(number: int) -> Response:
    edition = versions.get_edition(number)
    return Response(version_to_wire(edition), status=201, headers={"Location": f"/api/policy/versions/{number}"})


def _read_cursor(given: dict[str, str]) -> int | None:
    text = given.get("cursor")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise BadQuery("cursor is not the `next` of a page.")
    return int(text)


# --- the caller's draft -----------------------------------------------------------------------------------------
class Draft(APIView):
    """The caller's own draft: one at a time."""

    required_scope = {**_SCOPES, "PUT": "policy:write", "DELETE": "policy:write"}

    @extend_schema(operation_id="policy_draft_get", responses=DraftWire)
    def get(self, request: Request) -> Response:
        """Return the caller's open draft, 404 if there is none."""
        read_query(request.query_params, ())
        return _answer(_get_draft(request))

    @extend_schema(operation_id="policy_draft_put", request=DraftBody, responses=DraftWire)
    def put(self, request: Request) -> Response:
        """Make the caller's draft say these rules; nothing is in force by that. 409 if `revision` is not the last."""
        read_query(request.query_params, ())
        body = read_body(request, DraftBody)
        draft = drafts.replace_rules(
            _user(request), body.rules, base_version=body.base_version, revision=body.revision, now=timezone.now()
        )
        return _answer(draft)

    @extend_schema(operation_id="policy_draft_discard", responses={204: None})
    def delete(self, request: Request) -> Response:
        """Throw the caller's draft away."""
        read_query(request.query_params, ())
        drafts.discard_draft(_user(request), now=timezone.now())
        return Response(status=204)


class DraftPublish(APIView):
    """The caller's draft, on its way into force."""

    required_scope = "policy:write"

    @extend_schema(operation_id="policy_draft_publish", request=DraftPublishBody, responses={201: VersionWire})
    def post(self, request: Request) -> Response:
        """Publish the caller's draft as the next version. 409 with both differences if it is stale."""
        read_query(request.query_params, ())
        body, draft = read_body(request, DraftPublishBody), _get_draft(request)
        with _show_both(draft.rules):
            version = drafts.publish_draft(draft.author, reason=body.reason, revision=body.revision, now=timezone.now())
        return _created(version.number)


def _get_draft(request: Request) -> PolicyDraft:
    draft = drafts.find_open_draft(_user(request))
    if draft is None:
        raise DraftMissing
    return draft


def _answer(draft: PolicyDraft) -> Response:
    diff = diff_rules(versions.read_rules(draft.base_version), draft.rules)
    wire: dict[str, Any] = draft_to_wire(draft, diff, current_version=versions.get_newest().number)
    return Response(wire)
