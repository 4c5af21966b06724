"""Every sign-in, sign-out and failed attempt, in the audit trail, through whichever door it came."""

from collections.abc import Mapping
from typing import Any, Final

from allauth.account.authentication import get_authentication_records
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from audit import bodies
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction

NOBODY: Final = "anonymous"
_WORDS: Final = {"webauthn": "passkey", "recovery_codes": "recovery-code", "socialaccount": "oidc"}


@receiver(user_logged_in, dispatch_uid="audit.logged-in")
def record_login(sender: object, request: HttpRequest | None, user: User, **_: Any) -> None:
    """Audit a sign-in, with the ways in which they showed who they are."""
    body = bodies.UserLoggedIn(address=_read_address(request), methods=list_methods(request, user))
    _record(EventType.USER_LOGGED_IN, f"user:{user.get_username()}", body)


@receiver(user_logged_out, dispatch_uid="audit.logged-out")
def record_logout(sender: object, request: HttpRequest | None, user: User | None, **_: Any) -> None:
    """Audit a sign-out; one of a session that had no user leaves no trace."""
    if user is not None:
        body = bodies.UserLoggedOut(address=_read_address(request))
        _record(EventType.USER_LOGGED_OUT, f"user:{user.get_username()}", body)


@receiver(user_login_failed, dispatch_uid="audit.login-failed")
def record_failure(
    sender: object, credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    """Audit a failed attempt. What was typed is kept only if it is a user's name: else it may be a password."""
    typed = str(credentials.get("username") or credentials.get("login") or "")
    is_known = typed.isprintable() and User.objects.filter(username=typed).exists()
    record_refused("password", request, user=typed if is_known else None)


def record_refused(method: str, request: HttpRequest | None, *, user: str | None = None) -> None:
    """Audit that somebody did not get in by `method`; `user` is who they may be, if that is known."""
    body = bodies.LoginFailed(address=_read_address(request), user=user, method=method)
    _record(EventType.USER_LOGIN_FAILED, NOBODY, body)


def list_methods(request: HttpRequest | None, user: User) -> list[str]:
    """Return how the user of this session showed who they are, in order: password, totp, passkey and the like."""
    records = get_authentication_records(request, user) if hasattr(request, "session") else []
    named = (str(entry.get("type") or entry["method"]) for entry in records)
    return list(dict.fromkeys(_WORDS.get(name, name) for name in named))


def _read_address(request: HttpRequest | None) -> str | None:
    return (request.META.get("REMOTE_ADDR") if request is not None else None) or None


def _record(type_: EventType, actor: str, body: Any) -> None:
    with write_transaction():
        record(Event(type=type_, at=timezone.now(), actor=actor, body=body))
