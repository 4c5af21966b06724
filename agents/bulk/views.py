"""Bulk runs, for people: parse, one call, respond."""

from datetime import timedelta
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe

from agents.bulk import reading
from agents.bulk.actions import DONE, Action
from agents.bulk.planning import MAX_TASKS, Plan, Selection, plan_bulk, start_bulk
from agents.exceptions import BulkRefused
from agents.listing.filters import read_filters
from agents.models import BulkRun
from audit.exceptions import TrailBehind
from audit.models import RunState
from toolgate.exceptions import GateError

RUNS: Final = 20
PATIENCE: Final = timedelta(seconds=10)  # after it a page says that no worker takes a run up


@require_http_methods(["GET", "HEAD", "POST"])
def plan(request: HttpRequest) -> HttpResponse:
    """Say what would become of the ticked tasks, or of all that match; on POST start it. No action: list the runs."""
    sent = request.POST if request.method == "POST" else request.GET
    if sent.get("action") not in set(Action):
        return _list_runs(request)
    action = Action(sent["action"])
    try:
        selection = _read_selection(sent)
        planned = plan_bulk(action, selection, snapshot=sent.get("snapshot", ""))
    except BulkRefused as error:
        messages.error(request, str(error))
        return redirect("console:task_list")
    if request.method != "POST":
        return _show_plan(request, planned, selection, status=200)
    try:
        return redirect("console:bulk", _start(request, action, selection).id)
    except (BulkRefused, GateError, TrailBehind) as error:
        messages.error(request, str(error))
        return _show_plan(request, planned, selection, status=422)


def _list_runs(request: HttpRequest) -> HttpResponse:
    before = request.GET.get("before", "")
    found = reading.list_bulks(before=before, limit=RUNS + 1)
    context = {"runs": found[:RUNS], "before": before, "next": found[RUNS - 1].id if len(found) > RUNS else ""}
    return render(request, "agents/bulk_list.html", context)


def _read_selection(sent: QueryDict) -> Selection:
    """Raises: BulkRefused. A list leaves out a filter that it cannot read; here that would mean more tasks."""
    asked = read_filters(sent)
    if asked.problems:
        raise BulkRefused(f"A filter could not be read: {'; '.join(asked.problems)}. Nothing was started.")
    return Selection(task_ids=tuple(sent.getlist("id")), filters=asked.filters)


def _start(request: HttpRequest, action: Action, selection: Selection) -> BulkRun:
    return start_bulk(
        action,
        selection,
        reason=request.POST.get("reason", ""),
        asked_by=request.user.get_username(),
        snapshot=request.POST.get("snapshot", ""),
        now=timezone.now(),
    )


def _show_plan(request: HttpRequest, planned: Plan, selection: Selection, *, status: int) -> HttpResponse:
    context = {
        "plan": planned,
        "sample": planned.list_sample(),
        "selection": selection,
        "filters": selection.describe(),
        "query": urlencode(selection.describe()),
        "max_tasks": MAX_TASKS,
        "reason": request.POST.get("reason", ""),
    }
    return render(request, "agents/bulk_plan.html", context, status=status)


@require_safe
def show_bulk(request: HttpRequest, bulk_id: str) -> HttpResponse:
    """Show how far a run is and what became of each task; to htmx the part that changes alone."""
    run = reading.find_bulk(bulk_id)
    if run is None:
        raise Http404("no such bulk run")
    name = "agents/_bulk.html" if request.htmx else "agents/bulk_detail.html"  # type: ignore[attr-defined]
    return render(request, name, _describe(run, request.GET))


def _describe(run: BulkRun, query: QueryDict) -> dict[str, Any]:
    had, refused = reading.count_results(run)
    after, refused_only = query.get("after", ""), query.get("show") == "refused"
    place = int(after) if after.isascii() and after.isdigit() and len(after) <= 9 else -1
    return {
        "run": run,
        "page": reading.list_items(run, after=place, refused_only=refused_only),
        "after": after,
        "show": query.get("show", ""),
        "is_open": reading.is_open(run),
        "is_idle": run.state == RunState.WAITING and timezone.now() - run.created_at > PATIENCE,
        "percent": 100 * had // run.total,
        "had": had,
        "done": had - refused,
        "refused": refused,
        "left": run.total - had,
        "done_word": DONE[Action(run.action)],
    }
