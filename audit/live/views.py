"""The live feed, for people: its page, and the ranges that its script fills gaps with."""

from collections.abc import Mapping
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from audit.exceptions import StoreUnavailable
from audit.exploring.filters import DECISIONS, Filters, read_filters, read_seq
from audit.exploring.queries import read_range
from audit.exploring.search import list_events
from audit.live.hub import find_archived, find_end
from audit.live.items import FeedFilters, to_item

FEED_SIZE: Final = 50
MAX_RANGE: Final = 500
_PAGES: Final = (FEED_SIZE, 1_000, 4_000)  # a quiet night leaves thousands of heartbeats, which no row shows


@require_safe
def show_live(request: HttpRequest) -> HttpResponse:
    """Show the newest events; the page's script takes over from there."""
    asked = read_filters(request.GET)
    try:
        head, is_away = find_end(), False
        items = _list_newest(asked.filters, head=head)
    except StoreUnavailable:
        head, is_away, items = 0, True, []
    context = {"items": items, "head": head, "asked": asked, "is_away": is_away, "decisions": DECISIONS}
    return render(request, "audit/live.html", context)


def _list_newest(filters: Filters, *, head: int) -> list[dict[str, Any]]:
    """Return the newest rows of the feed, newest first; fewer than there are where hardly anything but beats is."""
    shown = _feed_filters(filters)
    items: list[dict[str, Any]] = []
    before: int | None = head + 1
    for limit in _PAGES:
        page = list_events(filters, before=before, limit=limit)
        items += filter(shown.let_through, map(to_item, page.events))
        before = page.next_before
        if len(items) >= FEED_SIZE or before is None:
            break
    return items[:FEED_SIZE]


@require_safe
def show_range(request: HttpRequest) -> JsonResponse:
    """Answer with the feed's items `after` < seq ≤ `to`, out of at most `MAX_RANGE` numbers, to fill a gap.

    `next` is the number to go on after, null once `to` is reached; `missing` is how many numbers the store lacks that
    were not archived.
    """
    after, to = read_seq(request.GET.get("after")), read_seq(request.GET.get("to"))
    if after is None or to is None:
        return JsonResponse({"code": "bad_query", "detail": "after and to must be whole numbers."}, status=400)
    try:
        events = read_range(after=after, to=to, limit=MAX_RANGE)
    except StoreUnavailable:
        return JsonResponse({"code": "audit_unavailable", "detail": "The audit store does not answer."}, status=503)
    return JsonResponse(_make_range(events, _feed_filters(read_filters(request.GET).filters), after=after, to=to))


def _make_range(events: list[dict[str, Any]], shown: FeedFilters, *, after: int, to: int) -> Mapping[str, Any]:
    reached = min(to, after + MAX_RANGE)
    lacking = max(0, reached - after - len(events))
    return {
        "items": [item for item in map(to_item, events) if shown.let_through(item)],
        "missing": lacking and max(0, lacking - max(0, find_archived() - after)),
        "next": reached if reached < to else None,
    }


def _feed_filters(filters: Filters) -> FeedFilters:
    """Return what the page's address asks for as the socket filters it."""
    return FeedFilters(
        agents=frozenset({filters.agent_id} - {""}),
        tasks=frozenset({filters.task_id} - {""}),
        decisions=frozenset({filters.decision} - {""}),
        types=frozenset({filters.type} - {""}),
    )
