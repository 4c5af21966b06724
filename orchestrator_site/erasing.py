"""Erase a person: what the trail holds of them, the transcripts of their tasks, and their name wherever it stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.apps import apps
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db.models import CharField, Model, QuerySet

from agents.models import Task
from agents.states import TERMINAL
from audit.exceptions import ErasureRefused
from audit.retention import erasing
from audit.retention.archives import hold_archives
from audit.retention.erasing import Traces, find_traces, make_subject
from audit.retention.settling import settle
from audit.transactions import write_transaction
from orchestrator_site.entering.factors import forget_factors
from orchestrator_site.entering.oidc import forget_links
from orchestrator_site.entering.sessions import end_sessions
from orchestrator_site.models import ApiToken, Profile
from orchestrator_site.tokens import forget_tokens
from toolgate.models import Grant

_APPS: Final = ("audit", "toolgate", "agents", "orchestrator_site")
_COLUMNS: Final = frozenset(
    {"asked_by", "author", "changed_by", "created_by", "decided_by", "revoked_by", "submitted_by", "user"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure came to; `subject` is the name that stands for the person from now on."""

    subject: str
    events: int
    archives: tuple[str, ...]  # the files that were written anew
    transcripts: int


def look_up(name: str) -> tuple[Traces, list[str]]:
    """Return where the trail names a user, and the tasks that they submitted.

    Raises: ErasureRefused; ArchiveFailed.
    """
    with hold_archives():
        return find_traces(name), _list_tasks(name)


def erase_person(name: str, *, reason: str, author: str, now: datetime) -> Erased:
    """Erase all that is kept of a user; one transaction decides it, and what follows is finished even after a crash.

    Raises: ErasureRefused if it cannot be done now, ArchiveFailed: nothing was erased then; StoreUnavailable: the
    ledger is done, and the store and the archives follow by themselves.
    """
    _refuse(name, reason=reason, author=author)
    subject = make_subject()
    with hold_archives():
        traces, tasks = find_traces(name), _list_tasks(name)
        if not (traces.count or tasks or User.objects.filter(username=name).exists()):
            raise ErasureRefused(f"nothing here is of a person called {name}. Nothing was erased")
        with write_transaction():
            _rename(name, subject, reason=reason, now=now)
            erasing.erase(traces, subject=subject, tasks=tasks, reason=reason, actor=f"user:{author}", now=now)
        forget_tokens()
        settle()
        erasing.shorten_journal()
    return Erased(subject=subject, events=traces.count, archives=tuple(sorted(traces.archived)), transcripts=len(tasks))


def _refuse(name: str, *, reason: str, author: str) -> None:
    if name == author:
        raise ErasureRefused("nobody erases themselves: another admin has to. Nothing was erased")
    if name.casefold() in reason.casefold():
        raise ErasureRefused("the reason is kept, so it must not name the person. Nothing was erased")
    if Task.objects.filter(submitted_by=name).exclude(state__in=TERMINAL).exists():
        raise ErasureRefused(f"tasks of {name} are under way: wait for them, or cancel them. Nothing was erased")


def _list_tasks(name: str) -> list[str]:
    return list(Task.objects.filter(submitted_by=name).values_list("id", flat=True))


# --- the name in the state store ------------------------------------------------------------------------------
def _rename(name: str, subject: str, *, reason: str, now: datetime) -> None:
    """Put the subject in the name's place; the user's row stays, because others point to it, but opens nothing.

    Rows are updated without a save each: an event of theirs would name the person once more.
    """
    for rows, column in _list_columns():
        rows.filter(**{column: name}).update(**{column: subject})
        rows.filter(**{column: f"user:{name}"}).update(**{column: f"user:{subject}"})
    for grant in (grant for grant in Grant.objects.iterator() if name in grant.granted_by):
        names = [subject if user == name else user for user in grant.granted_by]
        Grant.objects.filter(pk=grant.pk).update(granted_by=names)
    users = User.objects.filter(username=name)
    tokens = ApiToken.objects.filter(owner__in=users)
    tokens.filter(revoked_at=None).update(revoked_at=now, revoke_reason=reason[:200])
    tokens.update(name=subject)
    Profile.objects.filter(user__in=users).delete()
    User.groups.through._default_manager.filter(user__in=users).delete()
    users.update(username=subject, first_name="", last_name="", email="", password=make_password(None), is_active=False)
    for user in User.objects.filter(username=subject):  # under the new name, which their events may hold
        forget_factors(user)
        forget_links(user)
        end_sessions(user)


def _list_columns() -> Iterator[tuple[QuerySet[Model], str]]:
    """Give every column of ours that holds a user's name."""
    for model in apps.get_models():
        if model._meta.app_label in _APPS:
            for field in model._meta.local_fields:
                if isinstance(field, CharField) and field.name in _COLUMNS:
                    yield model._default_manager.all(), field.name
