"""Every change of a second factor or of a linked login, in the audit trail; never a secret, a code or a key of one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authentication_failed
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from audit import bodies
from audit.context import current_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.entering.factors import CODES, METHODS
from orchestrator_site.entering.login_audit import record_refused
from orchestrator_site.user_audit import told, with_reason


def watch_saves() -> None:
    """Have every save of a factor or of a linked login told, in one transaction with it. Once a process."""
    Authenticator.save_base = told(Authenticator.save_base, _tell_factor, fields={"type", "data"})
    SocialAccount.save_base = told(SocialAccount.save_base, _tell_link, fields={"user", "provider", "uid"})
    SocialLogin.save = _as_one(SocialLogin.save)


def _as_one(save: Callable[..., None]) -> Callable[..., None]:
    """Return the save of a person and of what links them to a provider as one transaction."""

    @wraps(save)
    def save_as_one(self: SocialLogin, *args: Any, **more: Any) -> None:
        with write_transaction():
            save(self, *args, **more)

    return save_as_one


def _tell_factor(before: Authenticator | None, after: Authenticator) -> None:
    if before is None:
        _record_factor(EventType.MFA_ADDED, after)
    elif after.type == CODES:
        _tell_codes(before.data, after)


def _tell_codes(before: dict[str, Any], after: Authenticator) -> None:
    """Tell that one was used, by whom it belongs to: nobody is signed in yet; or that they were shown."""
    user = after.user.get_username()
    if after.data["used_mask"] != before["used_mask"]:
        left = len(after.wrap().get_unused_codes())
        _record(EventType.MFA_CODE_USED, bodies.RecoveryCodeUsed(user=user, left=left), actor=f"user:{user}")
    elif after.data != before:
        _record(EventType.MFA_CODES_SHOWN, bodies.RecoveryCodesShown(user=user))


@receiver(pre_delete, sender=Authenticator, dispatch_uid="audit.factor-removed")
def record_removal(sender: object, instance: Authenticator, **_: Any) -> None:
    """Audit that a factor goes, whoever takes it away."""
    _record_factor(EventType.MFA_REMOVED, instance)


@receiver(authentication_failed, dispatch_uid="audit.factor-failed")
def record_wrong_code(sender: object, request: HttpRequest, user: Any, authenticator: Authenticator, **_: Any) -> None:
    """Audit a code that does not hold."""
    record_refused(METHODS[authenticator.type], request, user=user.get_username())


def _tell_link(before: SocialAccount | None, after: SocialAccount) -> None:
    if before is None:
        body = bodies.LoginLinked(user=after.user.get_username(), provider=after.provider)
        _record(EventType.USER_LINKED, body)


@receiver(pre_delete, sender=SocialAccount, dispatch_uid="audit.login-unlinked")
def record_unlinking(sender: object, instance: SocialAccount, **_: Any) -> None:
    """Audit that a provider's login no longer opens an account."""
    body = bodies.LoginLinked(user=instance.user.get_username(), provider=instance.provider)
    _record(EventType.USER_UNLINKED, body)


def _record_factor(type_: EventType, factor: Authenticator) -> None:
    body = bodies.FactorMoved(user=factor.user.get_username(), method=METHODS[factor.type], factor=factor.pk)
    _record(type_, body)


def _record(type_: EventType, body: Any, *, actor: str = "") -> None:
    record(Event(type=type_, at=timezone.now(), actor=actor or current_actor(), body=with_reason(type_, body)))
