"""The overview, and the small views that belong to every page."""

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from agents.money.budget import FLEET
from agents.money.costs import read_account
from agents.registry import list_agents
from orchestrator_site import overview
from orchestrator_site.console import THEME_COOKIE, THEMES, find_permissions, read_counts
from toolgate.queries import list_waiting_approvals

SHOWN_APPROVALS = 3
THEME_AGE = timedelta(days=365)


@require_safe
def show_overview(request: HttpRequest) -> HttpResponse:
    """Show what needs a person, whether the fleet is healthy, and what it is doing."""
    now = timezone.now()
    activity = overview.read_task_activity(now)
    agents = list_agents()
    idle = overview.AgentActivity()
    context = {
        "activity": activity,
        "running": sum(agent.running for agent in activity.by_agent.values()),
        "refusals": overview.read_refusals(now),
        "waiting": overview.read_waiting(),
        "fleet": read_account(FLEET, now=now),
        "approvals": list_waiting_approvals(limit=SHOWN_APPROVALS),
        "agents": [{"agent": agent, "activity": activity.by_agent.get(agent.id, idle)} for agent in agents],
        "halted": sum(agent.status != "enabled" for agent in agents),
    }
    return render(request, "dashboard/overview.html", context)


@require_safe
def show_counts(request: HttpRequest) -> JsonResponse:
    """Answer with the numbers behind the badges, for the page's script."""
    return JsonResponse(read_counts(find_permissions(request)))


@login_not_required
@require_POST
def switch_theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen theme in a cookie: light, dark, or whatever the system has."""
    target = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()})
    response = redirect(target if is_ours else "/")
    theme = request.POST.get("theme")
    if theme in THEMES:
        response.set_cookie(
            THEME_COOKIE, theme, max_age=THEME_AGE, samesite="Lax", secure=settings.HTTPS_ONLY, httponly=True
        )
    else:
        response.delete_cookie(THEME_COOKIE)
    return response
