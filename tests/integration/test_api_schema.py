"""The OpenAPI document: as the code generates it, complete, and shown to who is signed in."""

import re
from typing import Any

import orjson
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import get_resolver

from orchestrator_site.roles import Permission
from orchestrator_site.schema import COPY, render_schema
from tests.integration.api_cast import Api, api_of, problem_of, world

__all__ = ["world"]


@pytest.fixture(scope="module")
def document() -> Any:
    """The document, parsed."""
    return orjson.loads(render_schema())


def operations_of(document: Any) -> dict[tuple[str, str], Any]:
    return {(method, path): one for path, methods in document["paths"].items() for method, one in methods.items()}


def test_the_copy_in_docs_is_what_the_code_generates() -> None:
    copy = django_settings.BASE_DIR / COPY
    assert copy.read_bytes() == render_schema(), "the API changed: run manage.py write_openapi, look at what changed"


def test_the_command_tells_a_copy_that_is_out_of_date(settings: Any, tmp_path: Any) -> None:
    settings.BASE_DIR = tmp_path
    (tmp_path / "docs").mkdir()
    with pytest.raises(CommandError, match="write_openapi"):
        call_command("write_openapi", "--check")
    call_command("write_openapi")
    call_command("write_openapi", "--check")


def test_it_is_openapi_3_1_and_its_references_lead_somewhere(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    text = render_schema().decode()
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in document["components"]["schemas"], name
    ids = [one["operationId"] for one in operations_of(document).values()]
    assert len(ids) == len(set(ids))


def test_it_holds_the_routes_of_the_contract_with_their_scopes(document: Any) -> None:
    found = operations_of(document)
    scopes = {f"{method.upper()} {path}": one["x-required-scope"] for (method, path), one in found.items()}
    assert scopes == {
        "GET /health": None,
        "GET /ready": None,
        "GET /metrics": "metrics:read",
        "GET /api/health/deep": "any",
        "GET /api/agents": "agents:read",
        "GET /api/agents/{agent_id}": "agents:read",
        "GET /api/skills": "agents:read",
        "POST /api/agents/{agent_id}/status": "fleet:stop",
        "POST /api/skills/{skill_id}/status": "fleet:stop",
        "GET /api/fleet": "agents:read",
        "POST /api/fleet": "fleet:stop",
        "POST /api/files": "files:write",
        "GET /api/tasks": "tasks:read",
        "POST /api/tasks": "tasks:write",
        "POST /api/workflows": "tasks:write",
        "POST /api/tasks/bulk": "tasks:write",
        "GET /api/tasks/bulk/{bulk_id}": "tasks:read",
        "GET /api/tasks/{task_id}": "tasks:read",
        "POST /api/tasks/{task_id}/cancel": "tasks:write",
        "POST /api/tasks/{task_id}/retry": "tasks:write",
        "GET /api/tasks/{task_id}/events": "tasks:read",
        "GET /api/tasks/{task_id}/transcript": "tasks:read",
        "GET /api/tasks/{task_id}/artifacts/{name}": "tasks:read",
        "GET /api/audit": "audit:read",
        "GET /api/approvals": "approvals:read",
        "GET /api/approvals/{approval_id}": "approvals:read",
        "POST /api/approvals/{approval_id}/decision": "approvals:decide",
        "GET /api/grants": "approvals:read",
        "POST /api/grants/{grant_id}/revoke": "approvals:decide",
        "GET /api/budget": "budget:read",
        "GET /api/policy": "policy:read",
        "POST /api/policy/what-if": "policy:read",
        "GET /api/policy/what-if/{what_if_id}": "policy:read",
        "GET /api/policy/shadow": "policy:read",
        "GET /api/policy/versions": "policy:read",
        "POST /api/policy/versions": "policy:write",
        "GET /api/policy/versions/{number}": "policy:read",
        "POST /api/policy/versions/{number}/restore": "policy:write",
        "GET /api/policy/explain": "policy:read",
        "POST /api/policy/explain": "policy:read",
        "POST /api/policy/lint": "policy:read",
        "GET /api/policy/draft": "policy:read",
        "PUT /api/policy/draft": "policy:write",
        "DELETE /api/policy/draft": "policy:write",
        "POST /api/policy/draft/publish": "policy:write",
        "GET /api/webhooks": "webhooks:read",
        "POST /api/webhooks": "webhooks:write",
        "GET /api/webhooks/{webhook_id}": "webhooks:read",
        "PATCH /api/webhooks/{webhook_id}": "webhooks:write",
        "DELETE /api/webhooks/{webhook_id}": "webhooks:write",
        "POST /api/webhooks/{webhook_id}/rotate": "webhooks:write",
        "GET /api/webhooks/deliveries": "webhooks:read",
        "GET /api/webhooks/deliveries/{delivery_id}": "webhooks:read",
        "POST /api/webhooks/deliveries/{delivery_id}/retry": "webhooks:write",
        "GET /api/alerts": "system:read",
        "POST /api/alerts": "alerts:write",
        "GET /api/schema/": "any",
    }
    assert {scope for scope in scopes.values() if scope} - {"any"} <= set(Permission)


def test_it_holds_every_route_that_django_answers(document: Any) -> None:
    api = next(one for one in get_resolver().url_patterns if str(one.pattern) == "api/")
    shown = [pattern for pattern in api.url_patterns if not str(pattern.pattern).startswith("docs/")]
    answered_elsewhere = {"/api/tasks/{task_id}/events", "/health", "/ready", "/metrics"}
    assert len(shown) == len(set(document["paths"]) - answered_elsewhere)


def test_every_operation_needs_a_token_or_is_open_on_purpose(document: Any) -> None:
    open_to_all = {path for (_, path), one in operations_of(document).items() if not one.get("security")}
    assert open_to_all == {"/health", "/ready"}


def test_every_operation_has_the_problem_document(document: Any) -> None:
    for one in operations_of(document).values():
        assert one["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")


def test_the_order_is_described_as_it_is_checked(document: Any) -> None:
    order = document["components"]["schemas"]["OrderBody"]
    assert order["additionalProperties"] is False
    assert order["required"] == ["agentId", "input"]
    assert (order["properties"]["priority"]["minimum"], order["properties"]["priority"]["maximum"]) == (-100, 100)


# --- who sees it ----------------------------------------------------------------------------------------------
def test_any_token_reads_it(world: None) -> None:
    answer = api_of("vera", "budget:read").get("schema/")
    assert (answer.status_code, answer.content) == (200, render_schema())
    problem_of(Api(None).get("schema/"), 401, "unauthenticated")


def test_the_page_is_for_who_is_signed_in_and_holds_no_inline_script(world: None, settings: Any) -> None:
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    client = Client()
    assert client.get("/api/docs/")["Location"].startswith("/accounts/login/")
    assert client.get("/api/docs/openapi.json")["Location"].startswith("/accounts/login/")
    client.force_login(User.objects.get(username="vera"), backend="django.contrib.auth.backends.ModelBackend")
    page = client.get("/api/docs/").content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert "<style" not in page
    assert "style=" not in page
    script = client.get("/api/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert '"/api/docs/openapi.json"' in script.content.decode().replace("\\u002D", "-").replace("\\u002F", "/")
    assert client.get("/api/docs/openapi.json").content == render_schema()
