"""Saved views: keep, rename and delete them, each with its event."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from django.contrib.auth.models import User
from django.urls import reverse

from audit.bodies import ViewMoved
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.exceptions import ViewRefused
from orchestrator_site.finding.lists import LISTS, keep_filters
from orchestrator_site.models import SavedView
from orchestrator_site.roles import Permission

MAX_VIEWS: Final = 100  # of one person
_NOTHING: Final = "Nothing was saved."


def list_views(owner: User, granted: Collection[Permission], *, of: str = "") -> list[SavedView]:
    """Return a person's views of the lists that they may open, or of the one list `of`, by name."""
    lists = [name for name, one in LISTS.items() if one.permission in granted and of in ("", name)]
    rows = SavedView.objects.filter(owner=owner, list__in=lists)
    return list(rows.order_by("list", "name")[:MAX_VIEWS])


def address_of(view: SavedView) -> str:
    """Return where a view leads: always one of our lists."""
    return f"{reverse(LISTS[view.list].view)}?{view.query}"


def save_view(owner: User, name: str, *, of: str, query: str, now: datetime) -> SavedView:
    """Keep the filters of `query` under a name; what had the name is replaced.

    Raises: ViewRefused if there is no such list, nothing to keep, no proper name, or too many are kept.
    """
    name = _check_name(name)
    if of not in LISTS:
        raise ViewRefused(f"There is no list of that name. {_NOTHING}")
    kept = keep_filters(of, query)
    if not kept:
        raise ViewRefused(f"The list is not narrowed by anything, so there is no view to keep. {_NOTHING}")
    with write_transaction():
        view = SavedView.objects.filter(owner=owner, list=of, name=name).first()
        if view is None and SavedView.objects.filter(owner=owner).count() >= MAX_VIEWS:
            raise ViewRefused(f"You keep {MAX_VIEWS} views already; delete one first. {_NOTHING}")
        view = view or SavedView(owner=owner, list=of, name=name)
        view.query, view.created_at = kept, now
        view.save()
        _record(EventType.VIEW_SAVED, view, now=now)
    return view


def rename_view(view: SavedView, name: str, *, now: datetime) -> None:
    """Give a view another name.

    Raises: ViewRefused if it is no proper name, or taken.
    """
    formerly, name = view.name, _check_name(name)
    if name == formerly:
        return
    with write_transaction():
        if SavedView.objects.filter(owner=view.owner, list=view.list, name=name).exists():
            raise ViewRefused("Another view of this list has that name. Nothing was changed.")
        view.name = name
        view.save(update_fields=["name"])
        _record(EventType.VIEW_RENAMED, view, now=now, formerly=formerly)


def delete_view(view: SavedView, *, now: datetime) -> None:
    """Forget a view."""
    with write_transaction():
        _record(EventType.VIEW_DELETED, view, now=now)
        view.delete()


def _check_name(name: str) -> str:
    name = name.strip()
    if not (1 <= len(name) <= 60 and name.isprintable()):
        raise ViewRefused("A view's name has 1 to 60 printable characters. Nothing was changed.")
    return name


def _record(type_: EventType, view: SavedView, *, now: datetime, formerly: str = "") -> None:
    body = ViewMoved(view=view.pk, name=view.name, list=view.list, query=view.query)
    if formerly:
        body["formerly"] = formerly
    record(Event(type=type_, at=now, actor=f"user:{view.owner.get_username()}", body=body))
