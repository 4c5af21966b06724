"""The list of tasks, for people."""

from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from agents import queries, registry
from agents.advice import list_codes
from agents.listing.filters import DEAD, read_filters
from agents.states import TaskState

PAGE_SIZE: Final = 50


@require_safe
def show_tasks(request: HttpRequest) -> HttpResponse:
    """List the tasks that the address's filters let through, newest first."""
    asked, before = read_filters(request.GET), request.GET.get("before", "")
    page = queries.list_tasks(asked.filters, before=queries.read_cursor(before), limit=PAGE_SIZE, results=False)
    context = {
        "page": page,
        "asked": asked,
        "query": urlencode(asked.filters.describe()),
        "before": before,
        "states": [state.value for state in TaskState],
        "dead": DEAD,
        "codes": list_codes(),
        "agents": registry.list_agents(),
        "skills": registry.list_skills(),
    }
    return render(request, "agents/task_list.html", context)
