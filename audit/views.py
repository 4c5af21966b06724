"""The audit trail and the live feed, for people: parse, one read, respond."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from audit.events import EventType
from audit.exceptions import EventUnknown, StoreUnavailable
from audit.feed import to_item
from audit.queries import Filters, Page, get_entry, get_head_seq, list_events, read_range

PAGE_SIZE = 50
FEED_SIZE = 50
MAX_RANGE = 500
DECISIONS = ("allow", "ask", "deny")
MAX_SEQ = 2**53
_ID = re.compile(r"[a-zA-Z0-9._-]{1,64}")
EMPTY = Page(events=[], next_before=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a list's address asks for; `problems` names what could not be understood and was left out."""

    filters: Filters
    values: dict[str, str]
    before: int | None
    problems: list[str]


def read_filters(query: Mapping[str, str]) -> Asked:
    """Return the filters of an address; what is malformed is left out and named."""
    values = {name: query.get(name, "").strip() for name in ("task", "agent", "type", "decision", "since", "until")}
    problems = [
        f"{name} “{values[name][:40]}” is not an id" for name in ("task", "agent") if not _is_id_or_empty(values[name])
    ]
    if values["type"] and values["type"] not in set(EventType):
        problems.append(f"there is no kind “{values['type'][:40]}”")
    if values["decision"] and values["decision"] not in DECISIONS:
        problems.append(f"there is no decision “{values['decision'][:40]}”")
    times = {name: _read_time(values[name]) for name in ("since", "until")}
    problems += [f"{name} “{values[name][:40]}” is not a time" for name in times if values[name] and not times[name]]
    filters = Filters(
        task_id=values["task"] if _is_id_or_empty(values["task"]) else "",
        agent_id=values["agent"] if _is_id_or_empty(values["agent"]) else "",
        type=values["type"] if values["type"] in set(EventType) else "",
        decision=values["decision"] if values["decision"] in DECISIONS else "",
        **times,
    )
    return Asked(filters=filters, values=values, before=_read_seq(query.get("before")), problems=problems)


def _is_id_or_empty(text: str) -> bool:
    return not text or _ID.fullmatch(text) is not None


def _read_time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _read_seq(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and int(text) <= MAX_SEQ else None


@require_safe
def show_events(request: HttpRequest) -> HttpResponse:
    """List the events, newest first."""
    asked = read_filters(request.GET)
    try:
        page, is_away = list_events(asked.filters, before=asked.before, limit=PAGE_SIZE), False
    except StoreUnavailable:
        page, is_away = EMPTY, True
    context = {
        "page": page,
        "asked": asked,
        "is_away": is_away,
        "kinds": [kind.value for kind in EventType],
        "decisions": DECISIONS,
    }
    return render(request, "audit/event_list.html", context)


@require_safe
def show_event(request: HttpRequest, seq: int) -> HttpResponse:
    """Show one event with its place in the chain."""
    try:
        entry = get_entry(seq)
    except EventUnknown as error:
        raise Http404("no such event") from error
    except StoreUnavailable:
        return render(request, "audit/event_detail.html", {"seq": seq, "entry": None}, status=503)
    return render(request, "audit/event_detail.html", {"seq": seq, "entry": entry})


@require_safe
def show_live(request: HttpRequest) -> HttpResponse:
    """Show the newest events; the page's script takes over from there."""
    asked = read_filters(request.GET)
    try:
        head = get_head_seq()
        page, is_away = list_events(asked.filters, before=head + 1, limit=FEED_SIZE), False
    except StoreUnavailable:
        head, page, is_away = 0, EMPTY, True
    items = [to_item(event) for event in page.events]
    context = {"items": items, "head": head, "asked": asked, "is_away": is_away, "decisions": DECISIONS}
    return render(request, "audit/live.html", context)


@require_safe
def show_range(request: HttpRequest) -> JsonResponse:
    """Answer with the feed's items `after` < seq ≤ `to`, at most `MAX_RANGE` numbers of them, to fill a gap.

    `next` is the number to go on after, null once `to` is reached.
    """
    after, to = _read_seq(request.GET.get("after")), _read_seq(request.GET.get("to"))
    if after is None or to is None:
        return JsonResponse({"code": "bad_query", "detail": "after and to must be whole numbers."}, status=400)
    try:
        events = read_range(after=after, to=to, limit=MAX_RANGE)
    except StoreUnavailable:
        return JsonResponse({"code": "audit_unavailable", "detail": "The audit store does not answer."}, status=503)
    items: list[dict[str, Any]] = [to_item(event) for event in events]
    reached = after + MAX_RANGE
    return JsonResponse({"items": items, "next": reached if reached < to else None})
