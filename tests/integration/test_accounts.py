"""Users and logins: the first ones, those an administrator makes, and the trail of who signed in."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import NoReverseMatch, reverse

from orchestrator_site.bootstrap import (
    bootstrap_users,
    copy_examples,
    create_user,
    logins_path,
    make_password,
    read_logins,
)
from orchestrator_site.exceptions import NameInvalid
from orchestrator_site.roles import Role, permissions_of
from tests.integration.api_cast import events_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PASSWORD = "correct-horse-battery"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def place(settings: Any, tmp_path: Path) -> Path:
    """Give a state folder, a quick password hash, pages without collected files, and no attempts so far."""
    settings.VAR, settings.WORKSPACE_ROOT = tmp_path, tmp_path / "workspace"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    cache.clear()
    return tmp_path


# --- the first start ------------------------------------------------------------------------------------------
def test_the_first_start_makes_two_users_whose_passwords_are_kept_privately() -> None:
    logins = dict(bootstrap_users(now=NOW))
    assert set(logins) == {"admin", "approver"}
    assert logins_path().stat().st_mode & 0o777 == 0o600
    for name, role in (("admin", Role.ADMIN), ("approver", Role.APPROVER)):
        user = User.objects.get(username=name)
        assert user.check_password(logins[name])
        assert [group.name for group in user.groups.all()] == [role]
    assert set(Group.objects.values_list("name", flat=True)) == set(Role)
    assert [event.body["user"] for event in events_of("user.created")] == ["admin", "approver"]
    assert not any(password in str(event.body) for event in events_of("user.created") for password in logins.values())


def test_the_next_start_changes_nothing() -> None:
    first = bootstrap_users(now=NOW)
    User.objects.get(username="approver").delete()
    assert bootstrap_users(now=NOW) == first
    assert not User.objects.filter(username="approver").exists()


def test_a_start_that_was_cut_off_keeps_its_promise() -> None:
    promised = bootstrap_users(now=NOW)
    User.objects.all().delete()  # the file was written, the users were not
    assert bootstrap_users(now=NOW) == promised
    assert User.objects.get(username="admin").check_password(dict(promised)["admin"])


def test_users_without_the_file_are_left_alone() -> None:
    create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    assert bootstrap_users(now=NOW) == []
    assert read_logins() == []
    assert User.objects.count() == 1


def test_passwords_are_long_and_differ() -> None:
    passwords = {make_password() for _ in range(50)}
    assert len(passwords) == 50
    assert all(len(password) == 23 for password in passwords)


def test_the_examples_are_copied_once_and_edits_are_kept(place: Path, settings: Any) -> None:
    settings.EXAMPLES_DIR = place / "given"
    (place / "given" / "project").mkdir(parents=True)
    (place / "given" / "project" / "a.py").write_text("1\n")
    copy_examples()
    copied = place / "workspace" / "examples" / "project" / "a.py"
    assert copied.read_text() == "1\n"
    copied.write_text("2\n")
    copy_examples()
    assert copied.read_text() == "2\n"
    assert {path.name for path in (place / "workspace").iterdir()} == {"uploads", "artifacts", "research", "examples"}


# --- users ----------------------------------------------------------------------------------------------------
def test_the_command_makes_a_user_and_prints_the_password_alone() -> None:
    out, err = StringIO(), StringIO()
    call_command("user", "create", "olga", "--role", "operator", "--role", "approver", stdout=out, stderr=err)
    user = User.objects.get(username="olga")
    assert user.check_password(out.getvalue().strip())
    assert {"tasks:write", "approvals:decide"} <= permissions_of(user)
    assert not user.is_staff
    assert not user.is_superuser


@pytest.mark.parametrize("name", ["olga", "OLGA", "", "a b", "x" * 151, "evil\n", "<b>"])
def test_a_name_that_is_taken_or_none_is_refused(name: str) -> None:
    create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    with pytest.raises(NameInvalid):
        create_user(name, password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    assert User.objects.count() == 1


def test_a_weak_password_is_refused() -> None:
    with pytest.raises(NameInvalid, match="too short"):
        create_user("olga", password="short", roles=[Role.OPERATOR], now=NOW)
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("user", "create", "olga", "--role", "root")


# --- signing in -----------------------------------------------------------------------------------------------
def sign_in(client: Client, name: str, password: str) -> Any:
    return client.post(reverse("account_login"), {"login": name, "password": password})


def test_signing_in_and_out_is_audited() -> None:
    create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    client = Client()
    assert sign_in(client, "olga", PASSWORD).status_code == 302
    assert client.get("/api/docs/openapi.json").status_code == 200
    assert client.post(reverse("account_logout")).status_code == 302
    assert client.get("/api/docs/openapi.json").status_code == 302
    assert [event.actor for event in events_of("user.logged-in")] == ["user:olga"]
    assert [event.actor for event in events_of("user.logged-out")] == ["user:olga"]


def test_a_failed_attempt_is_audited_without_what_may_be_a_password() -> None:
    create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    assert sign_in(Client(), "olga", "wrong").status_code == 200
    assert sign_in(Client(), PASSWORD, PASSWORD).status_code == 200  # typed into the wrong field
    events = events_of("user.login-failed")
    assert [event.body["user"] for event in events] == ["olga", None]
    assert PASSWORD not in "".join(str(event.body) for event in events)


def test_guessing_is_stopped() -> None:
    create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    for _ in range(5):
        sign_in(Client(), "olga", "wrong")
    assert sign_in(Client(), "olga", PASSWORD).status_code != 302  # the sixth, although it is right
    assert len(events_of("user.login-failed")) == 5


def test_who_is_locked_out_cannot_sign_in() -> None:
    user = create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    User.objects.filter(pk=user.pk).update(is_active=False)
    client = Client()
    sign_in(client, "olga", PASSWORD)
    assert client.get("/api/docs/openapi.json").status_code == 302


@pytest.mark.parametrize("name", ["account_signup", "account_reset_password", "account_email", "account_set_password"])
def test_visitors_can_make_no_account_and_reset_no_password(name: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(name)


@pytest.mark.parametrize("path", ["signup/", "password/reset/", "email/", "confirm-email/", "login/code/", "3rdparty/"])
def test_those_addresses_are_not_there(path: str) -> None:
    assert Client().get(f"/accounts/{path}").status_code == 404


def test_who_has_no_password_is_told_so_instead_of_asked_for_it() -> None:
    user = create_user("olga", password=PASSWORD, roles=[Role.OPERATOR], now=NOW)
    client = Client()
    sign_in(client, "olga", PASSWORD)
    address = reverse("account_change_password")
    assert client.get(address).status_code == 200
    user.set_unusable_password()
    user.save()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    for answer in (client.get(address, follow=True), client.post(address, {"password1": PASSWORD}, follow=True)):
        assert answer.redirect_chain == [(reverse("console:security"), 302)]
        assert "This account has no password to change" in answer.content.decode()
    user.refresh_from_db()
    assert not user.has_usable_password()
