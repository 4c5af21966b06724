"""Errors as RFC 9457 problem documents. One table says which error is answered how; what it does not name is a
500 that tells its id and nothing else.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import orjson
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.views import defaults
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from agents import exceptions as agents
from agents.registry import AgentNotFound, SkillNotFound
from audit.exceptions import AgentNotGranted, AuditError
from orchestrator_site.exceptions import (
    BodyRefused,
    DeliveryBusy,
    DeliveryNotFound,
    NameTaken,
    SubscriptionNotFound,
    TooManyAlerts,
    TooManyWebhooks,
)
from orchestrator_site.logs import get_request_id
from orchestrator_site.roles import required_scope
from orchestrator_site.tokens import Grant, record_refusal
from toolgate import exceptions as gate
from toolgate.reading import MAX_DETAIL, BodyInvalid, BodyMalformed, make_pointer

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"
MACHINE_PATHS: Final = ("/api/", "/health", "/ready", "/metrics")
PEOPLE_PATHS: Final = ("/api/docs",)
_UNCHANGED: Final = "Nothing was done."
_STORE_AWAY: Final = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "state_unavailable",
    "The database does not answer or is busy. Whether this was done is unknown: repeat it with the same key.",
)

# An error's nearest ancestor in this table decides. A code of None is the error's own; a detail of None its message.
Entry = tuple[HTTPStatus, str | None, str | None]
TABLE: Final[dict[type[BaseException], Entry]] = {
    drf.NotAuthenticated: (
        HTTPStatus.UNAUTHORIZED,
        "unauthenticated",
        "Send a token: Authorization: Bearer orc_…. manage.py issue_token makes one.",
    ),
    drf.AuthenticationFailed: (HTTPStatus.UNAUTHORIZED, "unauthenticated", None),
    drf.PermissionDenied: (HTTPStatus.FORBIDDEN, "forbidden", f"The token does not grant this. {_UNCHANGED}"),
    PermissionDenied: (HTTPStatus.FORBIDDEN, "forbidden", f"This is not open to you. {_UNCHANGED}"),
    drf.NotFound: (HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address."),
    Http404: (HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address."),
    drf.MethodNotAllowed: (HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", None),
    drf.ParseError: (HTTPStatus.BAD_REQUEST, "body_malformed", None),
    drf.UnsupportedMediaType: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media_type_unsupported", None),
    RequestDataTooBig: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", f"The body is too large. {_UNCHANGED}"),
    SuspiciousOperation: (HTTPStatus.BAD_REQUEST, "bad_request", f"The request is not well formed. {_UNCHANGED}"),
    BadRequest: (HTTPStatus.BAD_REQUEST, "bad_request", f"The request is not well formed. {_UNCHANGED}"),
    MultiPartParserError: (HTTPStatus.BAD_REQUEST, "body_malformed", f"The body is no multipart form. {_UNCHANGED}"),
    OperationalError: _STORE_AWAY,
    InterfaceError: _STORE_AWAY,
    BodyMalformed: (HTTPStatus.BAD_REQUEST, None, None),
    BodyInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    NameTaken: (HTTPStatus.CONFLICT, None, None),
    TooManyWebhooks: (HTTPStatus.CONFLICT, None, None),
    TooManyAlerts: (HTTPStatus.CONFLICT, None, None),
    SubscriptionNotFound: (HTTPStatus.NOT_FOUND, None, None),
    DeliveryNotFound: (HTTPStatus.NOT_FOUND, None, None),
    DeliveryBusy: (HTTPStatus.CONFLICT, None, None),
    agents.TaskNotFound: (HTTPStatus.NOT_FOUND, None, None),
    agents.ArtifactNotFound: (HTTPStatus.NOT_FOUND, None, None),
    AgentNotFound: (HTTPStatus.NOT_FOUND, "not_found", "There is no agent of this id. GET /api/agents lists them."),
    SkillNotFound: (HTTPStatus.NOT_FOUND, "not_found", "There is no skill of this id. GET /api/skills lists them."),
    agents.TaskStateConflict: (HTTPStatus.CONFLICT, None, None),
    agents.IdempotencyConflict: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    agents.OrderRefused: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    agents.InputInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    agents.EditRefused: (HTTPStatus.CONFLICT, None, None),
    agents.ConfigInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    agents.DraftNotFound: (HTTPStatus.NOT_FOUND, None, None),
    agents.VersionNotFound: (HTTPStatus.NOT_FOUND, None, None),
    agents.WorkflowInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    agents.KeyInvalid: (HTTPStatus.BAD_REQUEST, None, None),
    agents.CapRefused: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    agents.AdmissionRefused: (HTTPStatus.TOO_MANY_REQUESTS, None, None),
    agents.BulkRefused: (HTTPStatus.CONFLICT, None, None),
    agents.BulkNotFound: (HTTPStatus.NOT_FOUND, None, None),
    agents.FileTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, None, None),
    agents.FileNotKept: (HTTPStatus.INSUFFICIENT_STORAGE, None, None),
    gate.ApprovalNotFound: (HTTPStatus.NOT_FOUND, None, None),
    gate.GrantNotFound: (HTTPStatus.NOT_FOUND, None, None),
    gate.OwnRequest: (HTTPStatus.FORBIDDEN, None, None),
    gate.NotApprover: (HTTPStatus.FORBIDDEN, None, None),
    gate.AnswerInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    gate.ApprovalError: (HTTPStatus.CONFLICT, None, None),
    gate.WhatIfNotFound: (HTTPStatus.NOT_FOUND, None, None),
    gate.TooManyWhatIfs: (HTTPStatus.TOO_MANY_REQUESTS, None, None),
    gate.PolicyInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    gate.PolicyConflict: (HTTPStatus.CONFLICT, None, None),
    gate.DraftConflict: (HTTPStatus.CONFLICT, None, None),
    gate.NothingToPublish: (HTTPStatus.CONFLICT, None, None),
    gate.DraftMissing: (HTTPStatus.NOT_FOUND, None, None),
    gate.VersionMissing: (HTTPStatus.NOT_FOUND, None, None),
    gate.RuleMissing: (HTTPStatus.NOT_FOUND, None, None),
    gate.DecisionMissing: (HTTPStatus.NOT_FOUND, None, None),
    gate.ReasonRequired: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
    gate.TextInvalid: (HTTPStatus.UNPROCESSABLE_ENTITY, None, None),
}
_UNKNOWN: Final = (
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal_error",
    "Something went wrong here. Whether this was done is unknown; tell who runs this server the request id.",
)


# --- documents ------------------------------------------------------------------------------------------------
def make_problem(status: HTTPStatus, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """Return a problem document; `more` are further members."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        "requestId": get_request_id(),
        **more,
    }


def is_foreseen(error: Exception) -> bool:
    """Say whether an error has an answer of its own, rather than the one of what nobody foresaw."""
    return _find_entry(error) is not _UNKNOWN


def describe(error: Exception) -> dict[str, Any]:
    """Return the problem document of an error."""
    status, code, detail = _find_entry(error)
    own_code = code if code is not None else getattr(error, "code", "error")
    more: dict[str, Any] = dict(getattr(error, "members", {}))
    if problems := getattr(error, "problems", None):
        more["errors"] = [_describe_problem(problem, code=own_code) for problem in problems]
    return make_problem(status, own_code, str(error) if detail is None else detail, **more)


def _describe_problem(problem: Any, *, code: str) -> dict[str, Any]:
    """Return one finding about the body; of rules it is a text, "rules.3.agent: what is wrong with it"."""
    if not isinstance(problem, str):
        return asdict(problem)
    place, _, what = problem.partition(": ")
    return {"pointer": make_pointer("#", place.split(".")), "code": code, "detail": what[:MAX_DETAIL]}


def _find_entry(error: Exception) -> Entry:
    if isinstance(error, AuditError | BodyRefused):
        return error.status, error.code, None
    for ancestor in type(error).__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor]
    return _UNKNOWN


# --- DRF ------------------------------------------------------------------------------------------------------
def handle_exception(error: Exception, context: Mapping[str, Any]) -> Response:
    """Answer an error of a DRF view; audit a token's use beyond its grant; log what was not foreseen."""
    set_rollback()
    request, view = context["request"], context["view"]
    if isinstance(error, drf.PermissionDenied) and _lacks_method(view, request.method):
        error = drf.MethodNotAllowed(request.method)
    problem = describe(error)
    if isinstance(error, drf.PermissionDenied) and isinstance(request.auth, Grant):
        problem["detail"] = _refuse_scope(request, request.auth, view)
    if isinstance(error, AgentNotGranted) and isinstance(request.auth, Grant):
        _record_refusal(request, request.auth, view, beyond=error)
    if problem["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, AuditError):
        log.error("request failed", exc_info=error, extra={"action": "api.failed", "code": problem["code"]})
    return Response(problem, status=problem["status"], headers=_headers(error), content_type=CONTENT_TYPE)


def _headers(error: Exception) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    wait = getattr(error, "retry_after_seconds", None)
    if wait is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return headers


def _lacks_method(view: Any, method: str) -> bool:
    """Say whether a view that names its scopes by method has none for this one."""
    return isinstance(getattr(view, "required_scope", None), dict) and required_scope(view, method) is None


def _refuse_scope(request: Request, grant: Grant, view: Any) -> str:
    """Audit that a token's scope was lacking, and return what to say of it."""
    scope = _record_refusal(request, grant, view)
    return f"This needs the scope {scope}, which the token or its owner's roles lack. {_UNCHANGED}"


def _record_refusal(request: Request, grant: Grant, view: Any, *, beyond: AgentNotGranted | None = None) -> str:
    """Audit that a token was used beyond what it grants; return the scope that the request needs."""
    method = str(request.method)
    scope = required_scope(view, method) or "of nobody"
    try:
        record_refusal(grant, scope=scope, method=method, path=request.path, now=timezone.now(), beyond=beyond)
    except DatabaseError:  # the refusal stands, whether or not it can be written down
        log.exception("a refusal could not be audited", extra={"action": "api.unaudited"})
    return scope


# --- Django ---------------------------------------------------------------------------------------------------
def is_for_machines(request: HttpRequest) -> bool:
    """Say whether errors at this address are problem documents rather than pages."""
    return request.path.startswith(MACHINE_PATHS) and not request.path.startswith(PEOPLE_PATHS)


def answer_problem(problem: Mapping[str, Any]) -> HttpResponse:
    """Return a problem document as a plain Django response."""
    response = HttpResponse(orjson.dumps(problem), content_type=CONTENT_TYPE, status=problem["status"])
    response["Cache-Control"] = "no-store"
    return response


def show_bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400: a malformed request that never reached a view."""
    if is_for_machines(request):
        return answer_problem(describe(exception))
    return defaults.bad_request(request, exception)


def show_forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    if is_for_machines(request):
        return answer_problem(describe(PermissionDenied()))
    return defaults.permission_denied(request, exception)


def show_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    if is_for_machines(request):
        return answer_problem(describe(Http404()))
    return defaults.page_not_found(request, exception)


def show_failure(request: HttpRequest) -> HttpResponse:
    """Answer 500."""
    if is_for_machines(request):
        return answer_problem(make_problem(*_UNKNOWN))
    return defaults.server_error(request)
