"""The matrix and its inspector, for people: parse, one call, respond."""

from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from toolgate.exceptions import GateError
from toolgate.matrix.cell_form import CellForm
from toolgate.matrix.cells import UNSET, build_grid
from toolgate.matrix.keeping import keep_cell
from toolgate.matrix.reading import Inspection, Sight, describe_rules, inspect_cell, look
from toolgate.matrix.what_if import find_note, start_note
from toolgate.policy import dump_rule
from toolgate.types import Effect

EFFECTS: Final = (Effect.ALLOW.value, Effect.ASK.value, Effect.DENY.value, UNSET)
MAX_QUERY: Final = 100
MAX_OTHERS: Final = 200  # rules listed below the grid


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


@require_safe
def show_matrix(request: HttpRequest) -> HttpResponse:
    """Show the grid, and beside it the cell that the address names."""
    sight = look(_user(request), request.GET.get("rules", ""))
    agent_id, skill_id = request.GET.get("agent", ""), request.GET.get("skill", "")
    inspector = describe_cell(sight, agent_id, skill_id) if agent_id or skill_id else {}
    return render_matrix(request, sight, inspector)


@require_safe
def show_cell(request: HttpRequest) -> HttpResponse:
    """Show one cell as a fragment; asked for by itself, the page that holds it."""
    agent_id, skill_id = request.GET.get("agent", ""), request.GET.get("skill", "")
    sight = look(_user(request), request.GET.get("rules", ""))
    inspector = describe_cell(sight, agent_id, skill_id)
    if not request.headers.get("HX-Request"):
        return redirect(f"{reverse('console:permissions')}?{request.GET.urlencode()}")
    return render(request, "toolgate/_inspector.html", {"sight": sight, **inspector})


@require_POST
def keep(request: HttpRequest) -> HttpResponse:
    """Put what the short form says into the person's draft."""
    sight = look(_user(request))
    agent_id, skill_id = request.POST.get("agent", ""), request.POST.get("skill", "")
    inspector = describe_cell(sight, agent_id, skill_id, data=request.POST)
    form = inspector["form"]
    try:
        if form.is_valid():
            draft = keep_cell(sight, inspector["inspection"], form, author=_user(request), now=timezone.now())
            if draft is None:
                messages.info(request, "There is no rule of this pair to take out: nothing was changed.")
            else:
                start_note(draft, now=timezone.now())
                messages.success(request, "Kept in your draft. It is in force once you publish the draft.")
            return redirect(f"{reverse('console:permissions')}?{urlencode({'agent': agent_id, 'skill': skill_id})}")
    except GateError as error:
        form.add_error(None, str(error))
    return render_matrix(request, sight, inspector, status=422)


def render_matrix(request: HttpRequest, sight: Sight, inspector: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Return the page of the matrix."""
    effect = request.GET.get("effect", "")
    effect, query, now = effect if effect in EFFECTS else "", request.GET.get("q", "")[:MAX_QUERY], timezone.now()
    grid = build_grid(
        sight.rules, agents=sight.agents, skills=sight.skills, now=now, base=sight.base, query=query, effect=effect
    )
    others = sight.index.list_others((one.id for one in sight.agents), (one.id for one in sight.skills))
    context = {
        "sight": sight,
        "grid": grid,
        "effects": EFFECTS,
        "effect": effect,
        "query": query,
        "others": describe_rules(others[:MAX_OTHERS], now=now, before=sight.base),
        "others_count": len(others),
        **inspector,
    }
    return render(request, "toolgate/permissions.html", context, status=status)


def describe_cell(sight: Sight, agent_id: str, skill_id: str, *, data: Any = None) -> dict[str, Any]:
    """Return what the inspector of a cell shows. Raises: Http404 for an agent or a skill that is not there."""
    agent, skill = sight.find_agent(agent_id), sight.find_skill(skill_id)
    if agent is None or skill is None:
        raise Http404("no such agent or skill")
    inspection = inspect_cell(sight, agent, skill, now=timezone.now())
    return {
        "inspection": inspection,
        "form": _build_form(inspection, data),
        "note": find_note(sight.draft) if sight.draft is not None and sight.is_draft else None,
    }


def _build_form(inspection: Inspection, data: Any) -> Any:
    main = inspection.main
    return CellForm(
        data,
        agent_id=inspection.agent.id,
        skill=inspection.skill,
        rule=dump_rule(main) if main else None,
        is_crowded=len(inspection.own) > 1,
    )
