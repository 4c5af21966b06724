"""Agents, for people: what each is, what it may use, what it did."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from agents import queries, registry
from agents.editing import versions
from agents.listing.filters import TaskFilters
from agents.money.budget import agent_scope
from agents.money.costs import read_account
from toolgate.queries import list_permissions


@require_safe
def show_agents(request: HttpRequest) -> HttpResponse:
    """List the agents with what each may use."""
    rows = [
        {"agent": agent, "permissions": list_permissions(agent.id, [skill.id for skill in registry.list_skills()])}
        for agent in registry.list_agents()
    ]
    return render(request, "agents/agent_list.html", {"rows": rows})


@require_safe
def show_agent(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Show one agent: its status, its configuration and how that came about, its skills, its newest tasks."""
    agent = registry.find_agent(agent_id)
    if agent is None:
        raise Http404("no such agent")
    context = {
        "agent": agent,
        "account": read_account(agent_scope(agent_id), now=timezone.now()),
        "permissions": list_permissions(agent_id, [skill.id for skill in registry.list_skills()]),
        "tasks": queries.list_tasks(TaskFilters(agent=agent_id), limit=10, results=False).results,
        "editions": versions.list_editions(agent_id, limit=10),
        "draft": versions.find_open_draft(agent_id, request.user.get_username()),
    }
    return render(request, "agents/agent_detail.html", context)
