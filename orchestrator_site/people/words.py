"""What each permission lets somebody do, and who a role is for, in words. PURE."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

# In the order of the console's sections; the first part of a permission's name is its group.
GROUPS: Final = {
    "tasks": "Tasks",
    "files": "Files",
    "approvals": "Approvals",
    "agents": "Agents",
    "fleet": "Fleet",
    "policy": "Rules",
    "budget": "Money",
    "audit": "Audit trail",
    "metrics": "Metrics",
    "alerts": "Alerts",
    "webhooks": "Webhooks",
    "system": "System",
    "users": "People",
    "tokens": "Tokens",
}
PERMISSIONS: Final = {
    "tasks:read": "See tasks, their results and what was said in a run",
    "tasks:write": "Submit, cancel and retry tasks",
    "files:write": "Upload documents into the workspace",
    "approvals:read": "See what waits for a person, and the grants",
    "approvals:decide": "Approve or refuse calls, and revoke grants",
    "agents:read": "See agents and skills, with prompts and schemas",
    "agents:write": "Edit agents and publish new versions",
    "fleet:stop": "Pause, quarantine and stop, and take that back",
    "policy:read": "See the rules and explain decisions",
    "policy:write": "Edit and publish rules",
    "budget:read": "See what agents spend, and the caps",
    "budget:write": "Set caps",
    "audit:read": "See what happened, without what it held",
    "audit:payload": "See what entries held",
    "audit:export": "Verify, export and prove the trail",
    "metrics:read": "Read the metrics",
    "alerts:write": "Tell of alerts, as Alertmanager does",
    "webhooks:read": "See subscriptions and what became of deliveries",
    "webhooks:write": "Subscribe, unsubscribe, and send deliveries again",
    "system:read": "See hosts, folders, versions and how each part is",
    "users:write": "Make users, give and take roles, end sessions",
    "tokens:write": "See and revoke everybody's tokens",
}
ROLES: Final = {
    "viewer": "looks on",
    "operator": "runs the fleet from day to day",
    "approver": "answers what the gate asks",
    "auditor": "reads and proves what happened",
    "admin": "may do everything",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Permissions that belong together, each with its words."""

    label: str
    permissions: list[tuple[str, str]]


def group_permissions(permissions: Iterable[str]) -> list[Group]:
    """Return the permissions in groups, in the order of the console."""
    wanted = frozenset(permissions)
    groups = [Group(label=label, permissions=_list_of(noun, wanted)) for noun, label in GROUPS.items()]
    return [group for group in groups if group.permissions]


def _list_of(noun: str, wanted: frozenset[str]) -> list[tuple[str, str]]:
    return [(name, says) for name, says in PERMISSIONS.items() if name in wanted and name.startswith(f"{noun}:")]
