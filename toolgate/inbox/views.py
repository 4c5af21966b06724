"""The queue of approvals and the grants, for people: parse, one call, respond."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from toolgate import queries
from toolgate.approvals import list_grants, revoke_grant
from toolgate.exceptions import GateError
from toolgate.fleet import get_fleet
from toolgate.in_force import policy_in_force
from toolgate.inbox.detail import read_detail
from toolgate.inbox.forms import AnswerForm
from toolgate.inbox.listing import Filters, list_decided, list_ended_grants, read_inbox_filters, read_queue
from toolgate.inbox.standing import person_of
from toolgate.models import Approval
from toolgate.types import Effect

DECIDED = "decided"


# --- read -------------------------------------------------------------------------------------------------------
@require_safe
def show_approvals(request: HttpRequest) -> HttpResponse:
    """List what waits, soonest expiry first, with the first of it in full; or what was decided, newest first."""
    if request.GET.get("show") != DECIDED:
        return render_queue(request, None)
    filters, before = read_inbox_filters(request.GET), request.GET.get("before", "")
    page = list_decided(filters, before=before)
    context = {"show": DECIDED, "page": page, "before": before, **_describe_filters(filters)}
    return render(request, "toolgate/approval_list.html", context)


@require_safe
def show_approval(request: HttpRequest, approval_id: str) -> HttpResponse:
    """Show one question with the exact arguments it is bound to, beside the others that wait."""
    return render_queue(request, get_or_404(approval_id))


def get_or_404(approval_id: str) -> Approval:
    """Return an approval. Raises: Http404."""
    approval = queries.find_approval(approval_id)
    if approval is None:
        raise Http404("no such approval")
    return approval


def render_queue(
    request: HttpRequest, approval: Approval | None, *, form: AnswerForm | None = None, status: int = 200
) -> HttpResponse:
    """Show the queue beside one request; `form` is one that was sent and could not be taken."""
    filters, person, now = read_inbox_filters(request.GET), person_of(request.user), timezone.now()
    queue = read_queue(filters, person, now=now)
    selected = approval or (queue.groups[0].first if queue.groups else None)
    context = {
        "show": "pending",
        "queue": queue,
        "detail": read_detail(selected, person, now=now, form=form) if selected else None,
        "is_chosen": approval is not None,  # a narrow screen shows the list, or what was chosen from it
        "queue_url": _address_of(approval, filters),
        **_describe_filters(filters),
    }
    return render(request, "toolgate/approval_list.html", context, status=status)


def _address_of(approval: Approval | None, filters: Filters) -> str:
    address = reverse("console:approval", args=[approval.id]) if approval else reverse("console:approval_list")
    query = urlencode(filters.describe())
    return f"{address}?{query}" if query else address


def _describe_filters(filters: Filters) -> dict[str, Any]:
    asking = {rule.id for rule in policy_in_force().policy.rules if rule.effect is Effect.ASK}
    return {
        "filters": filters,
        "query": urlencode(filters.describe()),
        "agents": get_fleet().list_agents(),
        "skills": get_fleet().list_skills(),
        "rules": sorted(asking | ({filters.rule} - {""})),
    }


# --- grants -----------------------------------------------------------------------------------------------------
@require_safe
def show_grants(request: HttpRequest) -> HttpResponse:
    """List the leaves for further calls that are in force, and those that ended lately."""
    now = timezone.now()
    before = request.GET.get("before", "")
    ended = list_ended_grants(now=now, before=before)
    context = {"grants": list_grants(now=now), "ended": ended, "before": before, "now": now}
    return render(request, "toolgate/grant_list.html", context)


@require_POST
def revoke(request: HttpRequest, grant_id: str) -> HttpResponse:
    """End a grant at once."""
    try:
        grant = revoke_grant(grant_id, user=request.user.get_username(), now=timezone.now())
    except GateError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Revoked. From now on each {grant.skill_id} call of {grant.agent_id} asks again.")
    return redirect("console:grants")
