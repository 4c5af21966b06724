"""What an administrator does to an account. Each act is one transaction, told by `user_audit` with its reason.

Who acts is taken from around (`audit.context`). Nobody takes from themselves what they would need to give it back,
and the last active admin stays one, whoever asks.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from django.contrib.auth.models import Group, User
from django.utils import timezone

from audit import bodies
from audit.context import current_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from orchestrator_site.bootstrap import make_password
from orchestrator_site.entering import factors
from orchestrator_site.entering.sessions import drop_sessions
from orchestrator_site.exceptions import AccountUnchanged, LockedOut, UserNotFound
from orchestrator_site.roles import Permission, Role, has_permission
from orchestrator_site.user_audit import because
from toolgate.texts import check_reason


def get_user(name: str) -> User:
    """Return a user.

    Raises: UserNotFound.
    """
    user = User.objects.filter(username=name).first()
    if user is None:
        raise UserNotFound(f"There is no user {ascii(name)[1:-1][:150]}. Nothing was changed.")
    return user


def set_roles(name: str, roles: Iterable[str], *, reason: str = "") -> User:
    """Give a user exactly these roles; a reason is needed where one is taken.

    Raises: UserNotFound, AccountUnchanged, LockedOut, ReasonRequired, TextInvalid.
    """
    wanted = {Role(role) for role in roles}
    with _changing(name, reason=reason) as user:
        had = {Role(group) for group in user.groups.values_list("name", flat=True) if group in Role}
        if had == wanted:
            raise AccountUnchanged(f"{name} has these roles already. Nothing was changed.")
        if had - wanted:
            check_reason(reason)
        user.groups.remove(*Group.objects.filter(name__in=had - wanted))
        user.groups.add(*(Group.objects.get_or_create(name=role.value)[0] for role in sorted(wanted - had)))
    return user


def switch_off(name: str, *, reason: str) -> User:
    """Let a user in no more, end their sessions, and let their tokens open nothing while it is so.

    Raises: UserNotFound, AccountUnchanged, LockedOut, ReasonRequired, TextInvalid.
    """
    check_reason(reason)
    with _changing(name, reason=reason) as user:
        _set_active(user, to=False)
        drop_sessions(user)
    return user


def switch_on(name: str, *, reason: str = "") -> User:
    """Let a user in again, with the roles and tokens that they had.

    Raises: UserNotFound, AccountUnchanged, TextInvalid.
    """
    with _changing(name, reason=reason) as user:
        _set_active(user, to=True)
    return user


def _set_active(user: User, *, to: bool) -> None:
    if user.is_active is to:
        state = "on" if to else "off"
        raise AccountUnchanged(f"{user.get_username()} is switched {state} already. Nothing was changed.")
    user.is_active = to
    user.save(update_fields=["is_active"])


def renew_password(name: str, *, reason: str) -> str:
    """Give a user a new password and return it: nobody can read it again. Their sessions end by that.

    Raises: UserNotFound, LockedOut, ReasonRequired, TextInvalid.
    """
    check_reason(reason)
    if _is_actor(name):
        raise LockedOut("Your own password is changed with the old one. Nothing was changed.")
    password = make_password()
    with _changing(name, reason=reason) as user:
        user.set_password(password)
        user.save(update_fields=["password"])
    return password


def end_sessions(name: str, *, reason: str, now: datetime | None = None) -> int:
    """Sign a user out everywhere; return how many sessions that ended. Open sockets close within 30 s.

    Raises: UserNotFound, ReasonRequired, TextInvalid.
    """
    reason = check_reason(reason)
    with write_transaction():
        user = get_user(name)
        ended = drop_sessions(user)
        body = bodies.SessionsEnded(user=user.get_username(), sessions=ended, reason=reason)
        at = now or timezone.now()
        record(Event(type=EventType.USER_SESSIONS_ENDED, at=at, actor=current_actor(), body=body))
    return ended


def forget_factors(name: str, *, reason: str) -> int:
    """Take every second factor from a user who lost theirs, and end their sessions; return how many that were.

    Raises: UserNotFound, AccountUnchanged, LockedOut, ReasonRequired, TextInvalid.
    """
    reason = check_reason(reason)
    if _is_actor(name):
        raise LockedOut("Your own factors are changed under Security. Nothing was changed.")
    with write_transaction(), because(reason):
        user = get_user(name)
        forgotten = factors.forget_factors(user)
        if not forgotten:
            raise AccountUnchanged(f"{name} has no second factor. Nothing was changed.")
        end_sessions(name, reason=reason)
    return forgotten


# --- what must not happen -------------------------------------------------------------------------------------
@contextmanager
def _changing(name: str, *, reason: str) -> Iterator[User]:
    """Change a user in one transaction, which is undone if it would lock out the last admin, or who asks for it."""
    if reason:
        reason = check_reason(reason)
    with write_transaction(), because(reason):
        list(Group.objects.select_for_update().filter(name=Role.ADMIN))  # two admins who demote each other take turns
        had_admin = _has_admin()
        user = get_user(name)
        yield user
        if had_admin and not _has_admin():
            raise LockedOut(f"{name} is the last active admin. Nothing was changed: make another one first.")
        if _is_actor(name) and not has_permission(user, Permission.USERS_WRITE):
            raise LockedOut("You would lock yourself out. Nothing was changed: another admin has to do it.")


def _has_admin() -> bool:
    return User.objects.filter(is_active=True, groups__name=Role.ADMIN).exists()


def _is_actor(name: str) -> bool:
    return current_actor() == f"user:{name}"
