"""Who may do what: the one table, for the console, the API and the websocket alike."""

from enum import StrEnum
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from audit.exceptions import AgentNotGranted
from audit.reach import reach_of


class Permission(StrEnum):
    """What can be done; the same words are the scopes of an API token."""

    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    FLEET_STOP = "fleet:stop"  # pause, quarantine and stop, and take that back
    FILES_WRITE = "files:write"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    AUDIT_READ = "audit:read"  # what happened, without what it held
    AUDIT_PAYLOAD = "audit:payload"  # what it held too, and the proofs of it
    AUDIT_EXPORT = "audit:export"  # verify, export and prove
    APPROVALS_READ = "approvals:read"
    APPROVALS_DECIDE = "approvals:decide"
    POLICY_READ = "policy:read"
    POLICY_WRITE = "policy:write"
    BUDGET_READ = "budget:read"
    BUDGET_WRITE = "budget:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"  # and see the secret that signs the callbacks of tasks
    ALERTS_WRITE = "alerts:write"  # for Alertmanager's token: tell what fires
    METRICS_READ = "metrics:read"
    SYSTEM_READ = "system:read"  # hosts, folders and versions; whether all is well is on the overview for everybody
    USERS_WRITE = "users:write"
    TOKENS_WRITE = "tokens:write"


class Role(StrEnum):
    """A Django group of the same name makes a user a holder of the role."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


_READ = frozenset(
    {
        Permission.AGENTS_READ,
        Permission.TASKS_READ,
        Permission.APPROVALS_READ,
        Permission.POLICY_READ,
        Permission.BUDGET_READ,
    }
)

ROLES: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _READ,
    Role.OPERATOR: _READ
    | {
        Permission.TASKS_WRITE,
        Permission.FILES_WRITE,
        Permission.AUDIT_READ,
        Permission.FLEET_STOP,
        Permission.WEBHOOKS_READ,
        Permission.SYSTEM_READ,
    },
    Role.APPROVER: _READ
    | {Permission.APPROVALS_DECIDE, Permission.AUDIT_READ, Permission.FLEET_STOP, Permission.SYSTEM_READ},
    Role.AUDITOR: _READ
    | {
        Permission.AUDIT_READ,
        Permission.AUDIT_PAYLOAD,
        Permission.AUDIT_EXPORT,
        Permission.METRICS_READ,
        Permission.WEBHOOKS_READ,
        Permission.SYSTEM_READ,
    },
    Role.ADMIN: frozenset(Permission),
}

User = AbstractBaseUser | AnonymousUser


def permissions_of(user: Any) -> frozenset[Permission]:
    """Return what `user` may do: the union of their roles, nothing for an inactive or anonymous one."""
    if user is None or not user.is_authenticated or not user.is_active:
        return frozenset()
    names = user.groups.values_list("name", flat=True)
    return frozenset().union(*(ROLES[Role(name)] for name in names if name in Role))


def has_permission(user: Any, permission: str) -> bool:
    """Say whether `user` may do `permission`; unknown words and unknown roles grant nothing."""
    return permission in permissions_of(user)


class HasScope(BasePermission):
    """Refuse unless the view names its scope and both the token and its owner's roles hold it.

    A view without `required_scope` is refused to everybody: default deny. So is one that does not say that it
    `heeds_agents` to a token that is limited to some: it holds back nothing that is about the others.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        scope = required_scope(view, request.method or "")
        grant: Any = request.auth
        if scope is None or grant is None:
            return False
        if scope != ANY_TOKEN and scope not in grant.granted:
            return False
        if reach_of(grant) is not None and not getattr(view, "heeds_agents", False):
            raise AgentNotGranted
        return True


ANY_TOKEN = "any"  # noqa: S105  (a marker, not a secret)


def required_scope(view: Any, method: str) -> str | None:
    """Return the scope that `view` asks for this method: one word, or a mapping by method."""
    scope = getattr(view, "required_scope", None)
    return scope.get(method) if isinstance(scope, dict) else scope
