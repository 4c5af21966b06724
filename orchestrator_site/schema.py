"""The OpenAPI document: generated from the views, with what no view can say put in here.

`manage.py write_openapi` keeps a copy in docs/; a test compares it with what the code generates.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from orchestrator_site.errors import CONTENT_TYPE
from toolgate.editing.wire import ConflictWire
from toolgate.reading import WireModel

SCHEME: Final = "token"
SCHEMA_TYPE: Final = "application/vnd.oai.openapi+json"
COPY: Final = Path("docs", "openapi.json")


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How a token is sent."""

    target_class = "orchestrator_site.tokens.TokenAuthentication"
    name = SCHEME

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        """Return the scheme."""
        return {"type": "http", "scheme": "bearer", "bearerFormat": "orc_…, made by manage.py issue_token"}


# --- what is not a DRF view -----------------------------------------------------------------------------------
class FieldProblemWire(WireModel):
    """What is wrong with one field of the body."""

    pointer: str
    code: str
    detail: str


class Problem(WireModel):
    """An error, RFC 9457. `code` is for machines, `detail` for people, `requestId` for the logs."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldProblemWire] | None = None
    conflict: ConflictWire | None = None  # of a policy that somebody else published first


_ERROR: Final = {
    "description": "Refused or failed",
    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_TASK_ID: Final = {
    "in": "path",
    "name": "task_id",
    "required": True,
    "schema": {"type": "string", "pattern": "^[a-zA-Z0-9._-]{1,64}$"},
}
_LAST_ID: Final = {
    "in": "header",
    "name": "Last-Event-ID",
    "schema": {"type": "string"},
    "description": "the id of the last event that was received: the stream goes on after it",
}


def _answer(status: int, media_type: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {str(status): {"description": description, "content": {media_type: {"schema": schema}}}}


def _operation(operation_id: str, description: str, *, scope: str | None, responses: Any, **more: Any) -> Any:
    security: list[dict[str, list[str]]] = [{SCHEME: []}] if scope else []
    return {
        "get": {
            "operationId": operation_id,
            "description": description,
            "tags": ["process" if scope is None else "streams"],
            "security": security,
            "responses": responses,
            "x-required-scope": scope,
            **more,
        }
    }


_TEXTS: Final = {"type": "string"}
_READY: Final = {
    "type": "object",
    "properties": {
        "ready": {"type": "boolean"},
        "agents": {"type": "integer"},
        "skills": {"type": "integer"},
        "degraded": {"type": "array", "items": {"type": "string", "enum": ["audit_store", "state_store"]}},
    },
    "required": ["ready", "agents", "skills", "degraded"],
}
_HEALTH: Final = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "const": "healthy"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
    "required": ["status", "timestamp"],
}
OTHER_PATHS: Final[dict[str, Any]] = {
    "/api/tasks/{task_id}/events": _operation(
        "tasks_events",
        "Follow a task's audit events without their bodies, as server-sent events whose ids are their numbers.",
        scope="tasks:read",
        parameters=[_TASK_ID, _LAST_ID],
        responses=_answer(200, "text/event-stream", _TEXTS),
    ),
    "/health": _operation(
        "health", "Say that the process is up.", scope=None, responses=_answer(200, "application/json", _HEALTH)
    ),
    "/ready": _operation(
        "ready",
        "Say whether orders can be taken. A 503 has the same members in a problem document.",
        scope=None,
        responses=_answer(200, "application/json", _READY),
    ),
    "/metrics": _operation(
        "metrics",
        "Counters and gauges in Prometheus' text format.",
        scope="metrics:read",
        responses=_answer(200, "text/plain", _TEXTS),
    ),
}


def complete_schema(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the paths that are no DRF views, and the problem document as every operation's other answer."""
    schema = Problem.model_json_schema(by_alias=True, ref_template="#/components/schemas/{model}", mode="serialization")
    components = result["components"].setdefault("schemas", {})
    components |= schema.pop("$defs", {}) | {"Problem": schema}
    result["paths"] = dict(sorted({**result["paths"], **OTHER_PATHS}.items()))
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"] = {**operation["responses"], "default": _ERROR}
    return result


# --- the document ---------------------------------------------------------------------------------------------
@cache
def render_schema() -> bytes:
    """Return the document, which is the same for everybody."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class SchemaView(APIView):
    """The OpenAPI 3.1 document of this API."""

    required_scope = "any"
    heeds_agents = True  # it is the same for everybody

    @extend_schema(operation_id="schema", responses={(200, SCHEMA_TYPE): dict[str, Any]})
    def get(self, request: Request) -> HttpResponse:
        """Return the document."""
        return HttpResponse(render_schema(), content_type=SCHEMA_TYPE)


@require_safe
def show_schema_file(request: HttpRequest) -> HttpResponse:
    """Hand the document to the page that shows it, for whoever is signed in."""
    return HttpResponse(render_schema(), content_type=SCHEMA_TYPE)


class DocsView(SpectacularSwaggerSplitView):
    """The document as a page to try it from: with a token, for a session opens no API route."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [IsAuthenticated]
    schema = None
    template_name = "api/docs.html"
    url = "/api/docs/openapi.json"
    title = str(settings.SPECTACULAR_SETTINGS["TITLE"])


show_docs = login_required(DocsView.as_view())
