"""The stop switches, for people: parse, one call, respond."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agents import registry
from agents.editing.views import answer_action
from agents.switches import changes
from agents.switches.reading import read_fleet_state
from agents.types import AgentStatus

_TOLD = {
    AgentStatus.ENABLED: "{} may work again.",
    AgentStatus.PAUSED: "{} is paused: its tasks wait, and a run under way is given back after its step.",
    AgentStatus.QUARANTINED: "{} is quarantined: its runs are cut off, and each skill call is refused.",
    AgentStatus.DISABLED: "{} is switched off: its runs are cut off, and each skill call is refused.",
}


def _user(request: HttpRequest) -> str:
    return str(request.user.get_username())


@require_POST
def change_agent(request: HttpRequest, agent_id: str) -> HttpResponse:
    """Pause, quarantine, disable or resume an agent, with a reason."""
    back = redirect("console:agent", agent_id)
    wanted = request.POST.get("status", "")
    if wanted not in _TOLD:
        messages.error(request, "Nothing was changed: choose what is to become of the agent.")
        return back

    def act() -> str:
        status, reason = AgentStatus(wanted), request.POST.get("reason", "")
        changes.set_agent_status(agent_id, status, author=_user(request), reason=reason, now=timezone.now())
        return _TOLD[status].format(agent_id)

    return answer_action(request, act, done=back, otherwise=back)


@require_POST
def change_skill(request: HttpRequest, skill_id: str) -> HttpResponse:
    """Quarantine a skill or release it, with a reason."""
    if registry.find_skill(skill_id) is None:
        raise Http404("no such skill")
    back = redirect("console:skill", skill_id)
    quarantines = request.POST.get("status") == "quarantined"

    def act() -> str:
        turn = changes.quarantine_skill if quarantines else changes.release_skill
        turn(skill_id, author=_user(request), reason=request.POST.get("reason", ""), now=timezone.now())
        if quarantines:
            return f"{skill_id} is quarantined: its calls are cut off, and further ones are refused."
        return f"{skill_id} may be called again."

    return answer_action(request, act, done=back, otherwise=back)


@require_safe
def show_fleet(request: HttpRequest) -> HttpResponse:
    """Show whether the fleet works, and how to stop or resume it."""
    context = {"fleet_state": read_fleet_state(), "stages": changes.list_stages()}
    return render(request, "agents/fleet.html", context)


@require_POST
def change_fleet(request: HttpRequest) -> HttpResponse:
    """Stop the fleet, with a reason, or resume it in a stage."""
    back = redirect("console:fleet")
    wanted, reason = request.POST.get("state", ""), request.POST.get("reason", "")
    stages = {"all" if slots is None else str(slots): slots for slots in changes.list_stages()}
    if wanted != "stopped" and wanted not in stages:
        messages.error(request, "Nothing was changed: choose what is to become of the fleet.")
        return back

    def act() -> str:
        if wanted == "stopped":
            changes.stop_fleet(author=_user(request), reason=reason, now=timezone.now())
            return "The fleet is stopped. What ran is given back to the queue, and nothing starts until it is resumed."
        slots = stages[wanted]
        changes.resume_fleet(slots=slots, author=_user(request), reason=reason, now=timezone.now())
        if slots is None:
            return "The fleet works again, with all its slots."
        return f"The fleet works again, with {slots} {'task' if slots == 1 else 'tasks'} at once."

    return answer_action(request, act, done=back, otherwise=back)
