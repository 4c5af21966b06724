"""The lists whose filters can be kept as a view: where each is, who may open it, what its address may say."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from orchestrator_site.roles import Permission

MAX_QUERY: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredList:
    """A list that can be narrowed by its address."""

    label: str
    view: str
    icon: str
    permission: Permission
    filters: frozenset[str]  # names in its address; a place in the list is none


_TRAIL: Final = "q actor type since until decision agent skill task beats"
LISTS: Final = {
    "tasks": FilteredList(
        label="Tasks",
        view="console:task_list",
        icon="tasks",
        permission=Permission.TASKS_READ,
        filters=frozenset(("status", "agent", "skill", "error", "by", "task", "since", "until")),
    ),
    "approvals": FilteredList(
        label="Approvals",
        view="console:approval_list",
        icon="inbox",
        permission=Permission.APPROVALS_READ,
        filters=frozenset(("show", "agent", "skill", "rule", "mine")),
    ),
    "permissions": FilteredList(
        label="Permissions",
        view="console:permissions",
        icon="shield",
        permission=Permission.POLICY_READ,
        filters=frozenset(("q", "effect", "rules")),
    ),
    "audit": FilteredList(
        label="Audit trail",
        view="console:event_list",
        icon="audit",
        permission=Permission.AUDIT_READ,
        filters=frozenset(_TRAIL.split()),
    ),
    "live": FilteredList(
        label="Live feed",
        view="console:live",
        icon="live",
        permission=Permission.AUDIT_READ,
        filters=frozenset(("agent", "decision", "task", "type")),
    ),
}


def keep_filters(name: str, query: str) -> str:
    """Return of an address's query the filters of the list `name`, in one order; empty if it has none, or too much."""
    allowed = LISTS[name].filters
    given = {(key, value) for key, value in parse_qsl(query[: 4 * MAX_QUERY]) if key in allowed and "\0" not in value}
    kept = urlencode(sorted(given))
    return kept if len(kept) <= MAX_QUERY else ""
