"""Every change of a person and of their roles, in the audit trail, whichever way it is made: page, command or shell.

Deletions and roles are told by Django's signals, inside Django's own transaction. A save has none of its own, so the
method is wrapped, and the change and its event commit together. What neither sees is `update()` of a query set and
SQL by hand: nothing here uses them on these tables, and the tests' guard fails where something does.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.db.models.signals import m2m_changed, pre_delete
from django.dispatch import receiver
from django.utils import timezone

from audit import bodies
from audit.context import current_actor
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction

_FIELDS: Final = {
    "username": "name",
    "password": "password",
    "is_active": "isActive",
    "is_staff": "isStaff",
    "is_superuser": "isSuperuser",
    "first_name": "firstName",
    "last_name": "lastName",
    "email": "email",
}


_reason: ContextVar[str] = ContextVar("reason", default="")


@contextmanager
def because(reason: str) -> Iterator[None]:
    """Have every event that tells of a person inside say why; an empty reason says nothing."""
    token = _reason.set(reason)
    try:
        yield
    finally:
        _reason.reset(token)


def with_reason(type_: EventType, body: Any) -> Any:
    """Return an event's body with the reason of `because`, where its shape has room for one."""
    reason = _reason.get()
    return body | {"reason": reason} if reason and "reason" in type_.shape.__annotations__ else body


def watch_saves() -> None:
    """Have every save of a user or a group told, in one transaction with it. Once a process."""
    User.save_base = told(User.save_base, _tell_user, fields=set(_FIELDS))  # type: ignore[method-assign]
    Group.save_base = told(Group.save_base, _tell_group, fields={"name"})  # type: ignore[method-assign]


def told[M: Model](
    save: Callable[..., None], tell: Callable[[M | None, M], None], *, fields: set[str]
) -> Callable[..., None]:
    """Return `save` with its event; one that touches none of `fields`, such as a sign-in's, is left as it is."""

    @wraps(save)
    def save_told(self: M, *args: Any, update_fields: Iterable[str] | None = None, **more: Any) -> None:
        if update_fields is not None and not fields & set(update_fields):
            save(self, *args, update_fields=update_fields, **more)
            return
        with write_transaction():
            before = type(self)._base_manager.filter(pk=self.pk).first() if self.pk else None
            save(self, *args, update_fields=update_fields, **more)
            tell(before, type(self)._base_manager.get(pk=self.pk))

    return save_told


# --- people ---------------------------------------------------------------------------------------------------
def _tell_user(before: User | None, after: User) -> None:
    if before is None:
        _record(EventType.USER_CREATED, bodies.UserCreated(user=after.username))
        return
    changed = [told for field, told in _FIELDS.items() if getattr(before, field) != getattr(after, field)]
    if not changed:
        return
    body = bodies.UserChanged(user=after.username, changed=changed, isActive=after.is_active)
    if before.username != after.username:
        body["formerly"] = before.username
    _record(EventType.USER_CHANGED, body)


@receiver(pre_delete, sender=User, dispatch_uid="audit.user-deleted")
def record_deletion(sender: object, instance: User, **_: Any) -> None:
    """Audit that a user goes, with the roles that go with them."""
    roles = sorted(instance.groups.values_list("name", flat=True))
    _record(EventType.USER_DELETED, bodies.UserDeleted(user=instance.username, roles=roles))


# --- roles ----------------------------------------------------------------------------------------------------
@receiver(m2m_changed, sender=User.groups.through, dispatch_uid="audit.roles")
def record_roles(
    sender: object, instance: User | Group, action: str, reverse: bool, pk_set: set[int] | None, **_: Any
) -> None:
    """Audit each role that a person is given or loses, from whichever side the two are joined or parted."""
    type_ = _MOVES.get(action)
    if type_ is None:
        return
    pairs = User.groups.through.objects.filter(**{"group" if reverse else "user": instance})
    if pk_set is not None:
        pairs = pairs.filter(**{"user_id__in" if reverse else "group_id__in": pk_set})
    for name, role in pairs.values_list("user__username", "group__name").order_by("user__username", "group__name"):
        _record(type_, bodies.RoleMoved(user=name, role=role))


# What is to be removed is told before, while it can be seen who really has it.
_MOVES: Final = {
    "post_add": EventType.ROLE_GRANTED,
    "pre_remove": EventType.ROLE_REVOKED,
    "pre_clear": EventType.ROLE_REVOKED,
}


def _tell_group(before: Group | None, after: Group) -> None:
    """Tell who loses and who gains a role by its new name; a role that nobody has yet changes nothing."""
    if before is None or before.name == after.name:
        return
    for type_, role in ((EventType.ROLE_REVOKED, before.name), (EventType.ROLE_GRANTED, after.name)):
        _tell_members(type_, after, role=role)


@receiver(pre_delete, sender=Group, dispatch_uid="audit.role-deleted")
def record_group_deletion(sender: object, instance: Group, **_: Any) -> None:
    """Audit that everyone who has a role loses it with its group."""
    _tell_members(EventType.ROLE_REVOKED, instance, role=instance.name)


def _tell_members(type_: EventType, group: Group, *, role: str) -> None:
    for name in group.user_set.order_by("username").values_list("username", flat=True):
        _record(type_, bodies.RoleMoved(user=name, role=role))


def _record(type_: EventType, body: Any) -> None:
    record(Event(type=type_, at=timezone.now(), actor=current_actor(), body=with_reason(type_, body)))
