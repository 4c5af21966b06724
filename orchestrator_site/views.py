"""The overview, and the small views that belong to every page."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from agents.money.budget import FLEET, find_reach
from agents.money.costs import read_account, read_agent_accounts, read_forecast
from agents.registry import list_agents
from orchestrator_site.console import find_permissions, read_counts
from orchestrator_site.overview.activity import AgentActivity, read_refusals, read_task_activity
from orchestrator_site.overview.needs import read_standing, read_waiting
from orchestrator_site.overview.windows import DAY, WINDOWS
from orchestrator_site.roles import Permission
from toolgate.inbox.standing import person_of
from toolgate.queries import list_waiting_approvals

SHOWN_APPROVALS = 3


@require_safe
def show_overview(request: HttpRequest) -> HttpResponse:
    """Show what needs a person, whether the fleet is healthy, what it is doing, and what that costs."""
    now, window = timezone.now(), WINDOWS.get(request.GET.get("range", ""), DAY)
    may_decide = Permission.APPROVALS_DECIDE in find_permissions(request)
    activity = read_task_activity(window, now)
    idle = AgentActivity()
    context = {
        "window": window,
        "windows": WINDOWS,
        "activity": activity,
        "refusals": read_refusals(window, now),
        "waiting": read_waiting(person_of(request.user) if may_decide else None, now),
        "standing": read_standing(),
        "approvals": list_waiting_approvals(limit=SHOWN_APPROVALS),
        "agents": [
            {"agent": agent, "activity": activity.by_agent.get(agent.id, idle), "account": account}
            for agent, account in zip(list_agents(), read_agent_accounts(now), strict=True)
        ],
        **_describe_cost(now),
    }
    return render(request, "dashboard/overview.html", context)


def _describe_cost(now: datetime) -> dict[str, Any]:
    fleet = read_account(FLEET, now=now)
    forecast = read_forecast(fleet.spent, now)
    return {"fleet": fleet, "forecast": forecast, "reach": find_reach(fleet.spent, forecast, fleet.cap or 0, now=now)}


@require_safe
def show_counts(request: HttpRequest) -> JsonResponse:
    """Answer with the numbers behind the badges, for the page's script."""
    return JsonResponse(read_counts(find_permissions(request)))
