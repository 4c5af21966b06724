"""The saved views of a list, in its filter row."""

from typing import Any

from django import template

from orchestrator_site.console import find_permissions
from orchestrator_site.finding.lists import keep_filters
from orchestrator_site.finding.saved import address_of, list_views

register = template.Library()


@register.inclusion_tag("finding/_saved_views.html", takes_context=True)
def saved_views(context: dict[str, Any], of: str) -> dict[str, Any]:
    """Show a person's views of the list `of`, and a form that keeps the filters it has now, if it has any."""
    request = context["request"]
    query = keep_filters(of, request.META.get("QUERY_STRING", ""))
    views = list_views(request.user, find_permissions(request), of=of)
    links = [(view, address_of(view), view.query == query) for view in views]
    return {"request": request, "csrf_token": context["csrf_token"], "list": of, "query": query, "links": links}
