"""Who may read what is answered outside Django's views: the live feed, a task's event stream, the metrics."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.utils import timezone

from agents.models import Task
from agents.ordering.reach import list_agents_of
from audit.access import Refusal
from audit.exceptions import AgentNotGranted
from audit.reach import check_reach
from orchestrator_site.entering.factors import lacks_factor
from orchestrator_site.exceptions import TokenInvalid
from orchestrator_site.roles import Permission, has_permission
from orchestrator_site.tokens import record_refusal, verify_header

WHOLE_FLEET: Final = ("",)  # which no token reaches that is limited to some agents


def may_follow(user: Any) -> bool:
    """Say whether a user of the console may follow the live feed."""
    return _may(user, Permission.AUDIT_READ)


def may_read_payload(user: Any) -> bool:
    """Say whether a user may see what the trail's events hold."""
    return _may(user, Permission.AUDIT_PAYLOAD)


def may_export(user: Any) -> bool:
    """Say whether a user may verify and export the trail."""
    return _may(user, Permission.AUDIT_EXPORT)


def _may(user: Any, permission: Permission) -> bool:
    return has_permission(user, permission) and not lacks_factor(user)


def may_change_tasks(username: str) -> bool:
    """Say whether a person may still cancel and retry tasks: asked while a bulk run of theirs is under way."""
    return has_permission(User.objects.filter(username=username).first(), Permission.TASKS_WRITE)


async def check_stream(headers: Mapping[str, str], task_id: str) -> Refusal | None:
    """Return why the sender of `headers` may not follow this task, None if it may."""
    refusal: Refusal | None = await database_sync_to_async(_check_stream)(headers.get("authorization", ""), task_id)
    return refusal


def _check_stream(authorization: str, task_id: str) -> Refusal | None:
    path = f"/api/tasks/{task_id}/events"
    if refusal := find_refusal(authorization, scope=Permission.TASKS_READ, path=path, agents=()):
        return refusal
    task = Task.objects.filter(id=task_id).first()
    if task is None:
        return Refusal(status=HTTPStatus.NOT_FOUND, code="task_not_found", detail="There is no such task.")
    return find_refusal(authorization, scope=Permission.TASKS_READ, path=path, agents=list_agents_of(task))


def check_metrics(authorization: str) -> Refusal | None:
    """Return why the sender of this Authorization header may not read the metrics, None if it may."""
    return find_refusal(authorization, scope=Permission.METRICS_READ, path="/metrics")


def find_refusal(
    authorization: str, *, scope: Permission, path: str, agents: Iterable[str] = WHOLE_FLEET
) -> Refusal | None:
    """Return why a token does not open `path`, which is about these agents, None if it does; a lack is audited."""
    now = timezone.now()
    try:
        grant = verify_header(authorization, now=now)
    except TokenInvalid as error:
        return Refusal(status=HTTPStatus.UNAUTHORIZED, code="unauthenticated", detail=str(error))
    if scope not in grant.granted:
        record_refusal(grant, scope=scope, method="GET", path=path, now=now)
        detail = f"This needs the scope {scope}, which the token or its owner's roles lack."
        return Refusal(status=HTTPStatus.FORBIDDEN, code="forbidden", detail=detail)
    try:
        check_reach(grant, *agents)
    except AgentNotGranted as error:
        record_refusal(grant, scope=scope, method="GET", path=path, now=now, beyond=error)
        return Refusal(status=error.status, code=error.code, detail=str(error))
    return None
