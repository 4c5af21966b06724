"""The cast of the console's tests: one person a role, and tasks in every state."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from allauth.account.internal.flows.login import (
    _AUTHENTICATION_METHODS_USER_SESSION_KEY,
    AUTHENTICATION_METHODS_SESSION_KEY,
)
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from agents.models import Task
from agents.registry import forget_fleet, seed_agents
from audit.ids import new_id
from orchestrator_site.overview.activity import forget_counts
from orchestrator_site.roles import Role
from toolgate.in_force import forget_policy
from toolgate.models import Approval, DecisionRecord
from toolgate.seed import seed_policy

CAST = {
    "vera": Role.VIEWER,
    "olga": Role.OPERATOR,
    "ana": Role.APPROVER,
    "axel": Role.AUDITOR,
    "ada": Role.ADMIN,
}
OUTSIDER = "mallory"  # has a login, and no role
FETCHER, FETCH = "market-research-agent", "sourceFetch"
PATCHER, PATCH = "build-refactor-agent", "workspacePatch"
PATCH_INPUT = {
    "filePath": "examples/project/report.py",
    "changes": [{"type": "append", "newText": "# checked\n"}],
    "dryRun": False,
}


@contextmanager
def console_world(settings: Any) -> Iterator[None]:
    """Set up the fleet, its rules and the cast."""
    settings.STATIC_ROOT = settings.BASE_DIR / "orchestrator_site" / "static"  # nothing need be collected
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    forget_fleet()
    forget_policy()
    forget_counts()
    now = timezone.now()
    seed_agents(now=now)
    seed_policy(now=now)
    for name, role in CAST.items():
        user = User.objects.create_user(name)
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    User.objects.create_user(OUTSIDER)
    yield
    forget_fleet()
    forget_policy()


@pytest.fixture
def world(db: None, settings: Any) -> Iterator[None]:
    """Give the fleet, its rules and the cast."""
    with console_world(settings):
        yield


def sign_in(name: str, *, csrf: bool = False) -> Client:
    """Return a client that is signed in as one of the cast, just now; with `csrf` it has to bring tokens."""
    client = Client(enforce_csrf_checks=csrf)
    user = User.objects.get(username=name)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY] = [{"method": "password", "at": time.time(), "reauthenticated": True}]
    session[_AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    session.save()
    return client


def make_task(*, state: str = "succeeded", age: timedelta = timedelta(minutes=5), **columns: Any) -> Task:
    """Insert a task as if it had been submitted `age` ago."""
    at = timezone.now() - age
    values: dict[str, Any] = {
        "id": make_id(at),
        "state": state,
        "agent_id": FETCHER,
        "agent_version": 1,
        "skill_id": FETCH,
        "input": {"url": "https://example.com/page"},
        "created_at": at,
        "run_at": at,
        "started_at": at,
        "ended_at": at + timedelta(seconds=1) if state in {"succeeded", "failed", "cancelled"} else None,
        "trace_id": new_id(),
        "submitted_by": "olga",
        "attempt": 1,
    }
    return Task.objects.create(**(values | columns))


def make_id(at: datetime) -> str:
    """Return an id as one made at `at` begins."""
    return f"{int(at.timestamp() * 1000):012x}{new_id()[12:]}"


def make_decision(task: Task, *, effect: str = "deny", reason: str = "domain_not_allowed", **columns: Any) -> None:
    """Insert what the gate decided about a task's call."""
    values: dict[str, Any] = {
        "id": make_id(task.created_at),
        "at": task.created_at,
        "agent_id": task.agent_id,
        "agent_version": 1,
        "skill_id": task.skill_id,
        "skill_version": "1",
        "arguments": task.input,
        "arguments_digest": "0" * 64,
        "resource": {"hosts": ["example.com"]},
        "counters": {},
        "effect": effect,
        "reason": reason,
        "detail": "example.com is not among the hosts of the rules",
        "deciding_rules": ["market-research-fetch"],
        "policy_version": 1,
        "task_id": task.id,
        "trace_id": task.trace_id,
    }
    DecisionRecord.objects.create(**(values | columns))


def make_refused_task() -> Task:
    """Insert a task that failed because its host is not allowed."""
    task = make_task(
        state="failed",
        error_code="domain_not_allowed",
        error_reason="domain_not_allowed",
        error_message="example.com is not among the hosts of the rules",
    )
    make_decision(task)
    return task


def make_waiting_task(**columns: Any) -> tuple[Task, Approval]:
    """Insert a task that waits for a person, with its approval."""
    from toolgate.digests import digest_call

    task = make_task(state="awaiting_approval", agent_id=PATCHER, skill_id=PATCH, input=PATCH_INPUT)
    now = timezone.now()
    values: dict[str, Any] = {
        "id": new_id(),
        "task_id": task.id,
        "agent_id": PATCHER,
        "skill_id": PATCH,
        "arguments": PATCH_INPUT,
        "digest": digest_call(PATCHER, PATCH, PATCH_INPUT, 1),
        "policy_version": 1,
        "rule_id": "build-refactor-patch",
        "submitted_by": task.submitted_by,
        "created_at": now,
        "expires_at": now + timedelta(minutes=30),
    }
    return task, Approval.objects.create(**(values | columns))


def text_of(answer: Any) -> str:
    """Return a page's markup."""
    page: str = answer.content.decode()
    return page
