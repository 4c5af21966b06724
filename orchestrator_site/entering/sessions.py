"""The sessions of a user: where each was opened, when it was seen last, and their end."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.usersessions.models import UserSession
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db.models import QuerySet
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from audit import bodies
from audit.context import current_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.entering.browsers import describe_browser

SEEN_SECONDS: Final = 60  # how exactly it is known when a session was seen last
_LONGEST_AGENT: Final = 200  # characters
_BATCH: Final = 500  # keys in one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """A session as its user sees it; `id` opens nothing."""

    id: int
    browser: str
    address: str
    opened_at: datetime
    seen_at: datetime
    is_this: bool


def list_sessions(user: Any, *, this: str) -> list[OpenSession]:
    """Return the open sessions of a user, the one with the key `this` first, then those seen last."""
    rows = UserSession.objects.filter(user_id=user.pk)
    alive = _find_alive(user, rows)
    shown = [
        OpenSession(
            id=row.pk,
            browser=describe_browser(row.user_agent),
            address=row.ip,
            opened_at=row.created_at,
            seen_at=row.last_seen_at,
            is_this=row.session_key == this,
        )
        for row in rows.filter(session_key__in=alive)
    ]
    return sorted(shown, key=lambda session: (session.is_this, session.seen_at), reverse=True)


def _find_alive(user: Any, rows: QuerySet[UserSession]) -> set[str]:
    """Return the keys of these that open the user's account; one from before the password was changed does not."""
    valid = user.get_session_auth_hash()
    found = Session.objects.filter(session_key__in=rows.values("session_key"), expire_date__gt=timezone.now())
    return {row.session_key for row in found if row.get_decoded().get(HASH_SESSION_KEY) == valid}


def end_session(user: Any, session_id: int) -> bool:
    """End one session of this user; False if they have none of that id. An open socket of it closes within 30 s."""
    row = UserSession.objects.filter(user_id=user.pk, pk=session_id).first()
    if row is None:
        return False
    with write_transaction():
        _tell(user, _drop(user, {row.session_key}))
    return True


def end_sessions(user: Any, *, keep: str = "") -> int:
    """End all sessions of this user but the one with the key `keep`, audited; returns how many there were."""
    with write_transaction():
        ended = drop_sessions(user, keep=keep)
        _tell(user, ended)
    return ended


def drop_sessions(user: Any, *, keep: str = "") -> int:
    """The same, where what ends them is audited already.

    Whose a session is stands inside it, so each that has not run out is opened: 10,000 take 0.4 s.
    """
    UserSession.objects.filter(user_id=user.pk).exclude(session_key=keep).delete()  # also of those long gone
    return _drop(user, {session.session_key for session in _find_sessions(user)} - {keep})


def _drop(user: Any, keys: set[str]) -> int:
    UserSession.objects.filter(user_id=user.pk, session_key__in=keys).delete()
    ordered = sorted(keys)
    for first in range(0, len(ordered), _BATCH):
        Session.objects.filter(session_key__in=ordered[first : first + _BATCH]).delete()
    return len(ordered)


def _tell(user: Any, ended: int) -> None:
    if ended:
        body = bodies.SessionsEnded(user=user.get_username(), sessions=ended, reason="")
        record(Event(type=EventType.USER_SESSIONS_ENDED, at=timezone.now(), actor=current_actor(), body=body))


def _find_sessions(user: Any) -> Iterator[Session]:
    """Give the user's sessions by what they hold: also those that were never seen."""
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        if session.get_decoded().get(SESSION_KEY) == str(user.pk):
            yield session


@receiver(user_logged_in, dispatch_uid="sessions.forget-expired")
def forget_expired(**_: Any) -> None:
    """Delete what has run out: sessions grow by signing in alone, so each sign-in takes some of the old ones away."""
    keys = Session.objects.filter(expire_date__lte=timezone.now()).order_by("expire_date").values_list("pk", flat=True)
    expired = list(keys[:_BATCH])
    UserSession.objects.filter(session_key__in=expired).delete()
    Session.objects.filter(pk__in=expired).delete()


def note_seen(request: HttpRequest) -> None:
    """Remember from where the session of this request is used, and that it is; once a minute."""
    key = request.session.session_key
    digest = sha256(str(key).encode()).hexdigest()
    if key is None or not cache.add(f"session-seen:{digest}", value=True, timeout=SEEN_SECONDS):
        return
    seen = {
        "user_id": request.user.pk,
        "ip": get_adapter().get_client_ip(request),
        "user_agent": request.META.get("HTTP_USER_AGENT", "")[:_LONGEST_AGENT],
        "last_seen_at": timezone.now(),
    }
    UserSession.objects.update_or_create(session_key=key, defaults=seen)
