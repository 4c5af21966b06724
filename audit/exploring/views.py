"""The audit trail, for people: parse, one read, respond."""

from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from audit import access
from audit.events import EventType
from audit.exceptions import EventArchived, EventUnknown, StoreUnavailable
from audit.exploring.entries import Entry, get_entry
from audit.exploring.filters import DECISIONS, NOUNS, Asked, Filters, read_filters, read_seq
from audit.exploring.reading import show_to
from audit.exploring.redaction import list_ids
from audit.exploring.search import EMPTY, Page, list_events
from audit.exploring.standing import read_standing
from audit.live.items import to_item

PAGE_SIZE: Final = 50
KINDS: Final = tuple((noun, [kind.value for kind in EventType if kind.startswith(noun)]) for noun in NOUNS)


@require_safe
def show_events(request: HttpRequest) -> HttpResponse:
    """List the events, newest first; a rare thing is looked for a part at a time, and may be stopped."""
    asked = read_filters(request.GET)
    before = read_seq(request.GET.get("before"))
    try:
        page, is_away = _find_page(asked.filters, before=before, is_stopped="stop" in request.GET), False
    except StoreUnavailable:
        page, is_away = EMPTY, True
    context = {
        "page": page,
        "rows": [_make_row(event) for event in page.events],
        "search": _describe_search(request, asked, page),
        "asked": asked,
        "query": urlencode(asked.filters.describe()),
        "before": before,
        "is_away": is_away,
        "kinds": KINDS,
        "decisions": DECISIONS,
        "standing": read_standing(),
    }
    return render(request, "audit/event_list.html", context)


def _find_page(filters: Filters, *, before: int | None, is_stopped: bool) -> Page:
    if is_stopped and before is not None:  # who stops a search wants no more of it
        return Page(events=[], next_before=before, reached=before, below=before, is_partial=True)
    return list_events(filters, before=before, limit=PAGE_SIZE)


def _make_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the list shows of an event: who acted, and nothing of its body but the ids of other pages."""
    item, actor = to_item(event), event.get("actor")
    ids = list_ids(event["body"])
    return item | {"actor": actor, "is_own": actor == f"user:{item['subject']}", "decisionId": ids.get("decisionId")}


def _describe_search(request: HttpRequest, asked: Asked, page: Page) -> dict[str, Any]:
    """Return how far a search that goes over several parts has come, and how it goes on."""
    top = max(read_seq(request.GET.get("top")) or 0, page.below)
    found = (read_seq(request.GET.get("found")) or 0) + len(page.events)
    going_on = asked.filters.describe() | {"before": str(page.next_before), "top": str(top), "found": str(found)}
    return {
        "is_partial": page.is_partial,
        "goes_on": page.is_partial and found < PAGE_SIZE and "stop" not in request.GET,
        "found": found,
        "looked": top - page.reached,
        "total": top - page.lowest,
        "next": f"?{urlencode(going_on)}",
        "stop": f"?{urlencode(going_on | {'stop': '1'})}",
    }


@require_safe
def show_event(request: HttpRequest, seq: int) -> HttpResponse:
    """Show one event, as a page or as the panel beside the list; who sees its body leaves a trace."""
    is_panel = bool(request.htmx)  # type: ignore[attr-defined]
    template = "audit/_entry.html" if is_panel else "audit/event_detail.html"
    context: dict[str, Any] = {"seq": seq, "entry": None, "is_panel": is_panel, "standing": read_standing()}
    try:
        context |= _describe_entry(request, get_entry(seq))
    except EventArchived as error:
        context["archive"] = error.file
    except EventUnknown as error:
        raise Http404("no such event") from error
    except StoreUnavailable:
        return render(request, template, context | {"is_away": True}, status=200 if is_panel else 503)
    return render(request, template, context)


def _describe_entry(request: HttpRequest, entry: Entry) -> dict[str, Any]:
    sees_payload = access.may_read_payload(request.user)
    actor = f"user:{request.user.get_username()}"
    [event] = show_to([entry.event], actor=actor, way="page", sees_payload=sees_payload, now=timezone.now())
    related = (entry.cause, *entry.effects, entry.earlier, entry.later)
    cause, *effects, earlier, later = [to_item(other) if other else None for other in related]
    return {
        "entry": entry,
        "event": event,
        "item": to_item(entry.event),
        "cause": cause,
        "effects": effects,
        "earlier": earlier,
        "later": later,
    }
