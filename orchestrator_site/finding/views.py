"""Help, finding and saved views, for people: parse, one call, respond. To htmx the part that the overlay shows."""

from urllib.parse import urlsplit

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from orchestrator_site.console import NAV, find_permissions
from orchestrator_site.exceptions import ViewRefused
from orchestrator_site.finding import saved
from orchestrator_site.finding.keys import BY_PAGE, EVERYWHERE, GO
from orchestrator_site.finding.lists import LISTS
from orchestrator_site.finding.results import MAX_QUERY, find
from orchestrator_site.looks import AGENT_LOOKS, APPROVAL_LOOKS, DECISION_LOOKS, STEP_LOOKS, TASK_LOOKS
from orchestrator_site.models import SavedView

SIGNS = (
    ("Tasks", "task", TASK_LOOKS),
    ("Decisions", "decision", {name: look for name, look in DECISION_LOOKS.items() if name != "unset"}),
    ("Approvals", "approval", APPROVAL_LOOKS),
    ("Steps", "step", STEP_LOOKS),
    ("Agents", "agent", AGENT_LOOKS),
)


@require_safe
def show_help(request: HttpRequest) -> HttpResponse:
    """Show every key, those of the page at `at` among them, and what the signs mean."""
    granted = find_permissions(request)
    items = [item for _, items in NAV for item in items if item.permission in granted]
    context = {
        "everywhere": EVERYWHERE,
        "here": BY_PAGE.get(_page_at(request.GET.get("at", "")), ()),
        "go": [(GO[item.view], item.label) for item in items if item.view in GO],
        "signs": [(label, kind, list(looks)) for label, kind, looks in SIGNS],
    }
    return render(request, "finding/_help.html" if _is_part(request) else "finding/help.html", context)


def _page_at(path: str) -> str:
    try:
        return resolve(urlsplit(path).path).url_name or ""
    except (Resolver404, ValueError):
        return ""


@require_safe
def show_finding(request: HttpRequest) -> HttpResponse:
    """Show what a text finds."""
    text = request.GET.get("q", "")[:MAX_QUERY]
    groups = find(text, person=request.user, granted=find_permissions(request))  # type: ignore[arg-type]
    context = {"groups": groups, "text": text, "is_palette": _is_part(request)}
    return render(request, "finding/_found.html" if _is_part(request) else "finding/find.html", context)


def _is_part(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]


# --- saved views ------------------------------------------------------------------------------------------------
@require_safe
def show_views(request: HttpRequest) -> HttpResponse:
    """List a person's views, to be opened, renamed and deleted."""
    views = saved.list_views(request.user, find_permissions(request))  # type: ignore[arg-type]
    rows = [(view, LISTS[view.list], saved.address_of(view)) for view in views]
    return render(request, "finding/views.html", {"rows": rows})


@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Keep the filters of a list under a name, and go back to it."""
    given = request.POST
    one = LISTS.get(given.get("list", ""))
    if one is None or one.permission not in find_permissions(request):
        raise Http404("no such list")
    try:
        view = saved.save_view(
            request.user,  # type: ignore[arg-type]
            given.get("name", ""),
            of=given["list"],
            query=given.get("query", ""),
            now=timezone.now(),
        )
    except ViewRefused as error:
        messages.error(request, str(error))
        return redirect(one.view)
    messages.success(request, f"Saved as “{view.name}”. It is a link above this list, and found by Ctrl K.")
    return redirect(saved.address_of(view))


@require_POST
def rename(request: HttpRequest, view_id: int) -> HttpResponse:
    """Give a view another name."""
    try:
        saved.rename_view(_get_own(request, view_id), request.POST.get("name", ""), now=timezone.now())
    except ViewRefused as error:
        messages.error(request, str(error))
    return redirect("console:views")


@require_POST
def delete(request: HttpRequest, view_id: int) -> HttpResponse:
    """Forget a view."""
    saved.delete_view(_get_own(request, view_id), now=timezone.now())
    return redirect("console:views")


def _get_own(request: HttpRequest, view_id: int) -> SavedView:
    view = SavedView.objects.filter(owner_id=request.user.pk, id=view_id).select_related("owner").first()
    if view is None:
        raise Http404("no such view of yours")
    return view
