"""Skills, for people: what each is, who may use it, what went wrong with it."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from agents import queries, registry
from agents.skills.base import Skill
from toolgate.queries import list_permissions

FAILURES = 10


@require_safe
def show_skills(request: HttpRequest) -> HttpResponse:
    """List the skills with what each can reach and who may use it."""
    return render(request, "agents/skill_list.html", {"rows": [_describe(skill) for skill in registry.list_skills()]})


@require_safe
def show_skill(request: HttpRequest, skill_id: str) -> HttpResponse:
    """Show one skill: what it takes and puts out, who may use it, and its newest failures."""
    skill = registry.find_skill(skill_id)
    if skill is None:
        raise Http404("no such skill")
    context = {
        "row": _describe(skill),
        "input_schema": skill.input_model.model_json_schema(by_alias=True),
        "output_schema": skill.output_model.model_json_schema(by_alias=True, mode="serialization"),
        "failures": queries.list_failed_calls(skill_id, limit=FAILURES),
        "looked_at": queries.LOOKED_AT,
    }
    return render(request, "agents/skill_detail.html", context)


def _describe(skill: Skill) -> dict[str, Any]:
    granted = ((agent, list_permissions(agent.id, [skill.id])) for agent in registry.list_agents())
    return {
        "skill": skill,
        "switch": registry.find_skill_switch(skill.id),
        "status": "quarantined" if registry.is_quarantined(skill.id) else "enabled",
        "capabilities": sorted(capability.value for capability in skill.capabilities),
        "users": [(agent, permissions[0]) for agent, permissions in granted if permissions],
    }
