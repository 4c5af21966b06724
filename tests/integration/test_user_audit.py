"""People and roles: whichever way they are changed, it is told, in the transaction of the change."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection, transaction

from audit.context import acting
from audit.models import LedgerEvent
from orchestrator_site import user_audit

pytestmark = pytest.mark.django_db

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def olga() -> User:
    return User.objects.create_user("olga")


def role(name: str) -> Group:
    return Group.objects.get_or_create(name=name)[0]


def told(*, after: int = 0) -> list[tuple[str, Any]]:
    rows = LedgerEvent.objects.filter(id__gt=after).order_by("id")
    return [(row.type, row.body) for row in rows]


def last() -> int:
    return LedgerEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0


def test_who_is_made_changed_and_deleted_is_told(olga: User) -> None:
    olga.groups.add(role("operator"))
    olga.username, olga.is_active = "helga", False
    olga.save()
    olga.delete()
    assert told() == [
        ("user.created", {"user": "olga"}),
        ("role.granted", {"user": "olga", "role": "operator"}),
        ("user.changed", {"user": "helga", "changed": ["name", "isActive"], "isActive": False, "formerly": "olga"}),
        ("user.deleted", {"user": "helga", "roles": ["operator"]}),
    ]


@pytest.mark.parametrize("way", ["save", "save some", "command"])
def test_a_changed_password_is_told_and_never_its_value(olga: User, way: str, monkeypatch: Any) -> None:
    before = last()
    if way == "command":
        monkeypatch.setattr("getpass.getpass", lambda **_: SECRET)
        call_command("changepassword", "olga", verbosity=0)
    else:
        olga.set_password(SECRET)
        olga.save(**({"update_fields": ["password"]} if way == "save some" else {}))
    assert told(after=before) == [("user.changed", {"user": "olga", "changed": ["password"], "isActive": True})]
    assert SECRET not in str(told())


@pytest.mark.unrecorded  # a save that changes nothing is a statement all the same
def test_what_changes_nothing_is_not_told(olga: User) -> None:
    olga.groups.add(role("operator"))
    before = last()
    olga.save()
    olga.save(update_fields=["last_login"])
    olga.groups.add(role("operator"))
    olga.groups.remove(role("viewer"))
    role("operator").save()
    assert told(after=before) == []


@pytest.mark.parametrize("way", ["add", "set", "of the group", "set of the group"])
def test_a_role_is_told_whichever_way_it_is_given(olga: User, way: str) -> None:
    operator, before = role("operator"), last()
    acts: dict[str, Callable[[], Any]] = {
        "add": lambda: olga.groups.add(operator),
        "set": lambda: olga.groups.set([operator]),
        "of the group": lambda: operator.user_set.add(olga),
        "set of the group": lambda: operator.user_set.set([olga]),
    }
    acts[way]()
    assert told(after=before) == [("role.granted", {"user": "olga", "role": "operator"})]


@pytest.mark.parametrize("way", ["remove", "set", "clear", "of the group", "clear the group", "delete the group"])
def test_a_role_is_told_whichever_way_it_is_taken(olga: User, way: str) -> None:
    operator = role("operator")
    olga.groups.add(operator)
    before = last()
    acts: dict[str, Callable[[], Any]] = {
        "remove": lambda: olga.groups.remove(operator),
        "set": lambda: olga.groups.set([]),
        "clear": olga.groups.clear,
        "of the group": lambda: operator.user_set.remove(olga),
        "clear the group": operator.user_set.clear,
        "delete the group": operator.delete,
    }
    acts[way]()
    assert told(after=before) == [("role.revoked", {"user": "olga", "role": "operator"})]


def test_a_group_of_another_name_is_another_role(olga: User) -> None:
    operator = role("operator")
    olga.groups.add(operator)
    before = last()
    operator.name = "admin"
    operator.save()
    assert told(after=before) == [
        ("role.revoked", {"user": "olga", "role": "operator"}),
        ("role.granted", {"user": "olga", "role": "admin"}),
    ]


def test_who_acts_is_taken_from_around(olga: User) -> None:
    with acting(actor="user:ada", trace_id="a-request"):
        olga.groups.add(role("operator"))
    event = LedgerEvent.objects.get(type="role.granted")
    assert (event.actor, event.trace_id) == ("user:ada", "a-request")


@pytest.mark.django_db(transaction=True)
def test_the_change_and_its_event_commit_together(olga: User, monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no event")

    assert not connection.in_atomic_block
    monkeypatch.setattr(user_audit, "_record", fail)
    acts = [
        lambda: User.objects.create_user("paul"),
        lambda: User(pk=olga.pk, username="helga").save(),
        lambda: olga.groups.add(role("operator")),
        lambda: User.objects.get(pk=olga.pk).delete(),
    ]
    for act in acts:
        with pytest.raises(RuntimeError, match="no event"):
            act()
    user = User.objects.get()
    assert (user.username, user.groups.count()) == ("olga", 0)


def test_a_save_that_is_rolled_back_is_not_told(olga: User) -> None:
    before = last()
    with transaction.atomic():
        olga.is_active = False
        olga.save()
        transaction.set_rollback(True)
    assert told(after=before) == []
