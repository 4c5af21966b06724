"""Every sign-in, sign-out and failed attempt, in the audit trail, through whichever door it came."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction

NOBODY = "anonymous"


@receiver(user_logged_in, dispatch_uid="audit.logged-in")
def record_login(sender: object, request: HttpRequest | None, user: User, **_: Any) -> None:
    """Audit a sign-in."""
    _record(EventType.USER_LOGGED_IN, f"user:{user.get_username()}", request)


@receiver(user_logged_out, dispatch_uid="audit.logged-out")
def record_logout(sender: object, request: HttpRequest | None, user: User | None, **_: Any) -> None:
    """Audit a sign-out; one of a session that had no user leaves no trace."""
    if user is not None:
        _record(EventType.USER_LOGGED_OUT, f"user:{user.get_username()}", request)


@receiver(user_login_failed, dispatch_uid="audit.login-failed")
def record_failure(
    sender: object, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Audit a failed attempt. What was typed is kept only if it is a user's name: else it may be a password."""
    typed = str(credentials.get("username") or credentials.get("login") or "")
    is_known = typed.isprintable() and User.objects.filter(username=typed).exists()
    _record(EventType.USER_LOGIN_FAILED, NOBODY, request, user=typed if is_known else None)


def _record(type_: EventType, actor: str, request: HttpRequest | None, **body: str | None) -> None:
    address = request.META.get("REMOTE_ADDR", "") if request is not None else ""
    with write_transaction():
        record(Event(type=type_, at=timezone.now(), actor=actor, body={"address": address or None, **body}))
