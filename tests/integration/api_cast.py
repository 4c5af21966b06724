"""The cast of the API's tests: one person a role, their tokens, and a client that speaks JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from agents.ordering.admission import forget_pace
from agents.registry import forget_fleet, seed_agents
from audit.models import LedgerEvent
from orchestrator_site.roles import Permission, Role
from orchestrator_site.tokens import forget_tokens, issue_token
from toolgate.in_force import forget_policy
from toolgate.seed import seed_policy

CAST = {
    "vera": Role.VIEWER,
    "olga": Role.OPERATOR,
    "ana": Role.APPROVER,
    "axel": Role.AUDITOR,
    "ada": Role.ADMIN,
}
AGENT, SKILL = "normalization-agent", "normalizer"
INPUT = {"data": [{"joined": "1/2/24", "fee": "$3.50"}], "schema": {"joined": {"type": "date"}}}
ORDER = {"agentId": AGENT, "skillId": SKILL, "input": INPUT}
PROBLEM_MEMBERS = {"type", "title", "status", "code", "detail", "requestId"}


@contextmanager
def api_world() -> Iterator[None]:
    """Set up the fleet, its rules and the cast."""
    forget_all()
    now = timezone.now()
    seed_agents(now=now)
    seed_policy(now=now)
    for name, role in CAST.items():
        make_person(name, role)
    yield
    forget_all()


@pytest.fixture
def world(db: None) -> Iterator[None]:
    """Give the fleet, its rules and the cast."""
    with api_world():
        yield


@pytest.fixture
def open_world(transactional_db: None) -> Iterator[None]:
    """Give the same with real commits, for tests with threads."""
    with api_world():
        yield


def forget_all() -> None:
    """Empty every cache of this process."""
    forget_fleet()
    forget_policy()
    forget_tokens()
    forget_pace()


def make_person(name: str, *roles: Role) -> User:
    """Make a user with roles and no password."""
    user = User.objects.create_user(name)
    user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    return user


def make_token(owner: str, *scopes: str, expires_at: datetime | None = None) -> str:
    """Issue a token to one of the cast; without scopes it has all."""
    user = User.objects.get(username=owner)
    return issue_token("test", owner=user, scopes=scopes or ["all"], now=timezone.now(), expires_at=expires_at)[1]


class Api:
    """A client of the API; `token` is None for the anonymous."""

    def __init__(self, token: str | None) -> None:
        self._client = Client(raise_request_exception=False)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **query: Any) -> Any:
        """GET a path under /api/, or an absolute one."""
        return self._client.get(_absolute(path), query or None, headers=self._headers)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **headers: str) -> Any:
        """POST a value as JSON, or bytes as they are; None sends no body."""
        more = {"Idempotency-Key": key} if key is not None else {}
        named = self._headers | more | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return self._client.generic("POST", _absolute(path), headers=named)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        kind = named.pop("Content-Type", "application/json")
        return self._client.generic("POST", _absolute(path), data, content_type=kind, headers=named)

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send any request."""
        return self._client.generic(method, _absolute(path), headers=self._headers, **options)

    def upload(self, **files: Any) -> Any:
        """POST a multipart form to /api/files."""
        return self._client.post("/api/files", files, headers=self._headers)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/api/{path}"


def api_of(owner: str, *scopes: str) -> Api:
    """Return a client with a fresh token of one of the cast."""
    return Api(make_token(owner, *(scopes or [permission.value for permission in Permission])))


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Return the problem document of an answer, having seen that it is one, and the one expected."""
    assert answer["Content-Type"] == "application/problem+json", answer.content
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert set(problem) >= PROBLEM_MEMBERS
    assert problem["requestId"] == answer["X-Request-Id"]
    return problem


def events_of(type_: str) -> list[LedgerEvent]:
    """Return the ledger's events of one type, in order."""
    return list(LedgerEvent.objects.filter(type=type_).order_by("id"))
