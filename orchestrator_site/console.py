"""What every page shares: navigation, badges, theme, the audit's state, and who may open which page."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, wraps
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from agents import registry
from agents.models import FleetSwitch
from agents.money.budget import FLEET, THRESHOLDS
from agents.money.costs import Account, read_account
from audit.status import LedgerStatus, get_ledger_status
from orchestrator_site.finding.keys import GO
from orchestrator_site.models import Profile
from orchestrator_site.roles import Permission, permissions_of
from toolgate.models import Approval, ApprovalState

View = Callable[..., HttpResponseBase]

THEMES = ("light", "dark")  # anything else follows the system
THEME_COOKIE = "theme"
MAX_BADGE = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class NavItem:
    """One link of the navigation; `badge` names a count of the context."""

    label: str
    view: str
    icon: str
    permission: Permission | None  # None: whoever is signed in
    badge: str = ""
    under: str = ""  # what the addresses begin with that belong to it; its own, if not given


NAV: tuple[tuple[str, tuple[NavItem, ...]], ...] = (
    (
        "Operate",
        (
            NavItem(label="Overview", view="console:overview", icon="overview", permission=Permission.TASKS_READ),
            NavItem(label="Live feed", view="console:live", icon="live", permission=Permission.AUDIT_READ),
            NavItem(label="Tasks", view="console:task_list", icon="tasks", permission=Permission.TASKS_READ),
            NavItem(
                label="Approvals",
                view="console:approval_list",
                icon="inbox",
                permission=Permission.APPROVALS_READ,
                badge="approvals",
            ),
        ),
    ),
    (
        "Govern",
        (
            NavItem(label="Permissions", view="console:permissions", icon="shield", permission=Permission.POLICY_READ),
            NavItem(label="Cost", view="console:cost", icon="coin", permission=Permission.BUDGET_READ),
            NavItem(label="Audit", view="console:event_list", icon="audit", permission=Permission.AUDIT_READ),
        ),
    ),
    (
        "Fleet",
        (
            NavItem(label="Agents", view="console:agent_list", icon="agent", permission=Permission.AGENTS_READ),
            NavItem(label="Skills", view="console:skill_list", icon="skill", permission=Permission.AGENTS_READ),
            NavItem(label="System", view="console:system", icon="system", permission=Permission.SYSTEM_READ),
        ),
    ),
    (
        "Console",
        (NavItem(label="Settings", view="console:profile", icon="settings", permission=None, under="/settings/"),),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditState:
    """How far the audit trail has got, read from the ledger alone."""

    seq: int  # numbered
    waiting: int  # recorded, not yet known to be in the audit store; counted up to just over the limit
    since: datetime | None  # when the oldest of them was recorded
    shipped_at: datetime | None  # when the store last took events
    why: str  # in a few words, for people; empty if nothing is wrong
    is_away: bool  # events do not move on
    is_behind: bool  # they do not, or only slowly
    is_full: bool  # so many wait that new tasks are refused
    limit: int


def require(permission: Permission | None) -> Callable[[View], View]:
    """Refuse a page to those whose roles lack `permission`; None opens it to whoever is signed in."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if permission is None and not request.user.is_authenticated:
                raise PermissionDenied("It is for those who are signed in.")
            if permission is not None and permission not in find_permissions(request):
                raise PermissionDenied(f"It needs the permission {permission}, which none of your roles gives.")
            if _holds_nul(request, kwargs.values()):
                raise BadRequest("The address holds the character NUL.")
            response = view(request, *args, **kwargs)
            if isinstance(response, HttpResponseNotAllowed):  # where a form was sent to, asked for again
                response.content = render_to_string("405.html", request=request).encode()
            return response

        return checked

    return decorate


def _holds_nul(request: HttpRequest, parts: Iterable[Any]) -> bool:
    """Say whether an address names what PostgreSQL cannot even look for."""
    values = [value for _, values in request.GET.lists() for value in values]
    return any("\0" in str(part) for part in (*parts, *values))


def find_permissions(request: HttpRequest) -> frozenset[Permission]:
    """Return what the user of this request may do, read once a request."""
    cached = getattr(request, "console_permissions", None)
    if cached is None:
        cached = permissions_of(getattr(request, "user", None))
        request.console_permissions = cached  # type: ignore[attr-defined]
    return cached


def console_context(request: HttpRequest) -> dict[str, Any]:
    """Return what base.html needs; nothing but the theme for those who are not signed in."""
    profile: Profile | None = getattr(request, "profile", None)
    context: dict[str, Any] = {"theme": find_theme(request, profile), "profile": profile, "is_demo": settings.DEMO}
    if profile is None:
        return context
    granted = find_permissions(request)
    if not granted:
        return context | {"nav": build_nav(request.path, granted, {})}
    counts = read_counts(granted)
    context |= {
        "can": {permission.name.lower(): True for permission in granted},
        "nav": build_nav(request.path, granted, counts),
        "counts": counts,
        "audit_state": read_audit_state(),
        "fleet_alert": read_fleet_alert(),
        "budget_alert": read_budget_alert() if Permission.BUDGET_READ in granted else None,
    }
    return context


def find_theme(request: HttpRequest, profile: Profile | None) -> str:
    """Return the theme of a page: its reader's, else what the browser remembers; empty: as the system has it."""
    is_kept = profile is not None and not profile._state.adding
    theme = profile.theme if profile is not None and is_kept else request.COOKIES.get(THEME_COOKIE, "")
    return theme if theme in THEMES else ""


def build_nav(path: str, granted: frozenset[Permission], counts: dict[str, int]) -> list[dict[str, Any]]:
    """Return the sections a user may open; the item whose address begins `path` is current."""
    sections = []
    for label, items in NAV:
        links = [_link(item, path, counts) for item in items if item.permission is None or item.permission in granted]
        if links:
            sections.append({"label": label, "links": links})
    return sections


def _link(item: NavItem, path: str, counts: dict[str, int]) -> dict[str, Any]:
    href = reverse(item.view)
    is_current = path == href if href == "/" else path.startswith(item.under or href)
    return {
        "label": item.label,
        "icon": item.icon,
        "key": GO.get(item.view, ""),
        "href": href,
        "is_current": is_current,
        "badge": item.badge,
        "count": counts.get(item.badge, 0),
    }


def read_counts(granted: frozenset[Permission]) -> dict[str, int]:
    """Return the numbers behind the badges, each capped."""
    if Permission.APPROVALS_READ not in granted:
        return {}
    pending = Approval.objects.filter(state=ApprovalState.PENDING)
    return {"approvals": pending[: MAX_BADGE + 1].count()}


def read_audit_state() -> AuditState:
    """Return how far the trail is written and shipped; asks the ledger only, so it answers with the store away."""
    status = get_ledger_status()
    return AuditState(
        seq=status.numbered_seq,
        waiting=status.waiting,
        since=status.oldest_at,
        shipped_at=status.shipped_at,
        why=explain_lag(status),
        is_away=status.is_stalled,
        is_behind=status.is_behind or status.over_limit,
        is_full=status.over_limit,
        limit=settings.AUDIT_BACKLOG_LIMIT,
    )


def explain_lag(status: LedgerStatus) -> str:
    """Say why events wait, empty if they do not wait long."""
    if status.fault or not status.is_behind:
        return status.fault
    return "the audit store takes them slowly" if status.led else "no sequencer numbers them"


def read_fleet_alert() -> FleetSwitch | None:
    """Return the fleet's switch if the fleet is stopped or resumed in part; at most half a second old."""
    switch = registry.find_fleet_switch()
    return switch if switch and (switch.stopped or switch.slots is not None) else None


def read_budget_alert() -> Account | None:
    """Return the fleet's month if half of its cap is spent or a call did not fit; at most a second old."""
    return _read_alert(int(monotonic()))


@lru_cache(maxsize=1)
def _read_alert(second: int) -> Account | None:
    fleet = read_account(FLEET, now=timezone.now())
    return fleet if fleet.percent >= THRESHOLDS[0] or fleet.is_refused else None


forget_budget_alert = _read_alert.cache_clear  # for tests
