"""Errors: every one under /api/ is a problem document, none shows what happened inside."""

from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.test import Client

from agents import exceptions as agents
from audit.exceptions import StoreUnavailable
from orchestrator_site.errors import TABLE, describe
from tests.integration.api_cast import ORDER, Api, api_of, problem_of, world
from toolgate import exceptions as gate

__all__ = ["world"]

SECRET = "postgres://olga:hunter2@db/prod"


@pytest.fixture
def ada(world: None) -> Api:
    """The admin."""
    return api_of("ada")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["", "nowhere", "tasks/", "tasks/x/y", "task\u017f", "approvals/x/y", "v1/tasks"])
def test_what_is_not_there_is_a_problem_for_everybody(ada: Api, method: str, path: str) -> None:
    problem_of(ada.send(method, path), 404, "not_found")
    problem_of(Api(None).send(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "tasks", "GET, POST"),
        ("OPTIONS", "tasks", "GET, POST"),
        ("DELETE", "tasks/x", "GET"),
        ("GET", "tasks/x/cancel", "POST"),
        ("POST", "agents", "GET"),
        ("GET", "files", "POST"),
        ("DELETE", "approvals/x", "GET"),
        ("PATCH", "approvals/x/decision", "POST"),
        ("OPTIONS", "agents", "GET"),
    ],
)
def test_a_method_that_a_route_lacks_is_refused(ada: Api, method: str, path: str, allowed: str) -> None:
    answer = ada.send(method, path)
    problem_of(answer, 405, "method_not_allowed")
    assert allowed in answer["Allow"]
    problem_of(Api(None).send(method, path), 401, "unauthenticated")


def test_a_foreign_host_is_refused(ada: Api) -> None:
    problem_of(ada.send("GET", "tasks", HTTP_HOST="evil.example"), 400, "bad_request")
    assert Client().get("/", HTTP_HOST="evil.example")["Content-Type"].startswith("text/html")


def test_what_was_not_foreseen_tells_its_id_and_nothing_else(
    ada: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("agents.queries.list_tasks", fail)
    answer = ada.get("tasks")
    problem_of(answer, 500, "internal_error")
    assert b"hunter2" not in answer.content
    assert b"Traceback" not in answer.content
    assert SECRET in caplog.text


def test_a_crash_outside_the_views_is_a_problem_too(ada: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("orchestrator_site.health.get_ledger_status", fail)
    answer = ada.get("/ready")
    problem_of(answer, 500, "internal_error")
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize("error", [OperationalError(SECRET), InterfaceError(SECRET)])
def test_a_database_that_is_away_is_said_to_be(ada: Api, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("agents.queue.submit_task", fail)
    answer = ada.post("tasks", ORDER)
    problem = problem_of(answer, 503, "state_unavailable")
    assert "repeat it with the same key" in problem["detail"]
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (agents.TaskNotFound("x"), 404, "not_found"),
        (agents.TaskStateConflict("x", "failed", "cancelled"), 409, "state_conflict"),
        (agents.IdempotencyConflict("x"), 422, "idempotency_conflict"),
        (agents.AgentUnknown(), 422, "agent_unknown"),
        (agents.SkillUnknown(), 422, "skill_unknown"),
        (agents.WorkflowInvalid([]), 422, "workflow_invalid"),
        (agents.KeyInvalid(), 400, "idempotency_key_invalid"),
        (agents.AdmissionRefused(retry_after_seconds=0.2), 429, "rate_limited"),
        (agents.FileTooLarge(1), 413, "file_too_large"),
        (agents.FileNotKept("full"), 507, "workspace_unwritable"),
        (agents.ArtifactNotFound("x"), 404, "not_found"),
        (gate.ApprovalNotFound("x"), 404, "approval_unknown"),
        (gate.OwnRequest(), 403, "four_eyes"),
        (gate.ApprovalDecided(state="used", decided_by="ana"), 409, "already_decided"),
        (gate.ApprovalLate(), 409, "approval_expired"),
        (StoreUnavailable("the audit store does not answer"), 503, "audit_unavailable"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (SuspiciousOperation(SECRET), 400, "bad_request"),
        (DataError(SECRET), 500, "internal_error"),
        (ValueError(SECRET), 500, "internal_error"),
        (KeyError(SECRET), 500, "internal_error"),
    ],
)
def test_the_table_is_the_contract(error: Exception, status: int, code: str) -> None:
    problem = describe(error)
    assert (problem["status"], problem["code"]) == (status, code)
    assert "hunter2" not in str(problem)


def test_every_error_of_the_table_has_a_code_and_a_sentence() -> None:
    for kind, (_, code, _) in TABLE.items():
        assert code or isinstance(getattr(kind, "code", None), str), kind
