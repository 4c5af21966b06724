"""Users, by page and by command: what an administrator does, what it leaves in the trail, and what is refused."""

import json
import re
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audit.context import acting
from audit.models import LedgerEvent
from orchestrator_site.exceptions import AccountUnchanged, LockedOut, UserNotFound
from orchestrator_site.people import users
from orchestrator_site.people.listing import PAGE_SIZE, list_users
from orchestrator_site.people.words import PERMISSIONS, group_permissions
from orchestrator_site.people.words import ROLES as ROLE_WORDS
from orchestrator_site.roles import ROLES, Permission, Role, permissions_of
from tests.integration.api_cast import events_of, make_person
from tests.integration.console_cast import OUTSIDER, sign_in, text_of, world
from tests.integration.entering_cast import PASSWORD, enter, new_client
from toolgate.exceptions import ReasonRequired

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")
WHY = "left the team"


@pytest.fixture(autouse=True)
def quick_hash(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def user(name: str) -> User:
    return User.objects.get(username=name)


def path_of(name: str, verb: str = "") -> str:
    return f"/settings/users/{user(name).pk}/{verb and verb + '/'}"


def post(verb: str, *, whom: str = "olga", **sent: Any) -> Any:
    return sign_in("ada").post(path_of(whom, verb), sent, follow=True)


def last_event(type_: str) -> LedgerEvent:
    return events_of(type_)[-1]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("roles", {"roles": ["admin", "operator"]}),
        ("password", {"reason": WHY}),
        ("factors", {"reason": WHY}),
        ("", {"name": "eve", "roles": ["admin"]}),
    ],
)
def test_an_open_browser_alone_opens_no_other_account(path: str, sent: dict[str, Any]) -> None:
    ada = user("ada")
    ada.set_password(PASSWORD)
    ada.save()
    Authenticator.objects.create(user=user("olga"), type=Authenticator.Type.TOTP, data={})
    client, address = new_client(), path_of("olga", path) if path else "/settings/users/new/"
    enter(client, "ada")
    before = LedgerEvent.objects.count()
    answer = client.post(address, sent)
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert LedgerEvent.objects.count() == before
    assert client.post(answer["Location"], {"password": PASSWORD, "next": address}).status_code in {200, 302}
    assert LedgerEvent.objects.count() > before


# --- roles ----------------------------------------------------------------------------------------------------
def test_roles_are_given_and_taken_with_who_and_why() -> None:
    answer = post("roles", roles=["viewer", "approver"], reason=WHY)
    assert "olga has these roles now" in text_of(answer)
    assert permissions_of(user("olga")) == ROLES[Role.VIEWER] | ROLES[Role.APPROVER]
    taken = last_event("role.revoked")
    assert (taken.actor, taken.body) == ("user:ada", {"user": "olga", "role": "operator", "reason": WHY})
    assert {event.body["role"] for event in events_of("role.granted")[-2:]} == {"viewer", "approver"}


def test_a_role_is_given_without_a_reason_and_taken_only_with_one() -> None:
    assert post("roles", roles=["operator", "viewer"]).status_code == 200
    assert "reason" not in last_event("role.granted").body
    answer = post("roles", roles=["viewer"])
    assert answer.status_code == 422
    assert {group.name for group in user("olga").groups.all()} == {"operator", "viewer"}


def test_what_is_so_already_is_said_and_not_told() -> None:
    before = LedgerEvent.objects.count()
    with pytest.raises(AccountUnchanged):
        users.set_roles("olga", ["operator"])
    with pytest.raises(AccountUnchanged):
        users.switch_on("olga")
    with pytest.raises(UserNotFound):
        users.set_roles("nobody", ["operator"])
    assert LedgerEvent.objects.count() == before


# --- who may not be locked out --------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", ["roles", "switch"])
def test_an_admin_cannot_lock_themselves_out(verb: str) -> None:
    make_person("second", Role.ADMIN)
    answer = post(verb, whom="ada", reason=WHY, roles=["viewer"], to="off")
    assert answer.status_code == 422
    assert "another admin" in text_of(answer)
    assert user("ada").is_active
    assert Permission.USERS_WRITE in permissions_of(user("ada"))
    assert not [event for event in events_of("role.revoked") if event.body["user"] == "ada"]


def test_the_last_active_admin_stays_one_whoever_asks() -> None:
    make_person("second", Role.ADMIN)
    users.switch_off("second", reason=WHY)
    for act in (lambda: users.switch_off("ada", reason=WHY), lambda: users.set_roles("ada", [], reason=WHY)):
        with pytest.raises(LockedOut, match="last active admin"):
            act()
    assert (user("ada").is_active, user("ada").groups.get().name) == (True, "admin")
    users.switch_on("second")
    users.set_roles("ada", ["viewer"], reason=WHY)
    with pytest.raises(LockedOut):
        users.switch_off("second", reason=WHY)


def test_nobody_renews_their_own_password_without_the_old_one() -> None:
    with acting(actor="user:ada"), pytest.raises(LockedOut):
        users.renew_password("ada", reason=WHY)
    assert post("password", whom="ada", reason=WHY).status_code == 422
    assert "Set a new password" not in text_of(sign_in("ada").get(path_of("ada")))


# --- in and out -----------------------------------------------------------------------------------------------
def test_who_is_switched_off_is_out_at_once_and_back_with_what_they_had() -> None:
    olga = sign_in("olga")
    assert olga.get("/tasks/").status_code == 200
    post("switch", to="off", reason=WHY)
    assert olga.get("/tasks/").status_code == 302
    assert last_event("user.changed").body == {
        "user": "olga", "changed": ["isActive"], "isActive": False, "reason": WHY
    }  # fmt: skip
    post("switch", to="on")
    assert user("olga").is_active
    assert olga.get("/tasks/").status_code == 302  # the old session did not come back
    assert sign_in("olga").get("/tasks/").status_code == 200


def test_ending_the_sessions_of_one_ends_no_others() -> None:
    tabs, vera = [sign_in("olga"), sign_in("olga")], sign_in("vera")
    answer = post("sessions", reason=WHY)
    assert "2 sessions of olga ended" in text_of(answer)
    assert [tab.get("/tasks/").status_code for tab in tabs] == [302, 302]
    assert vera.get("/tasks/").status_code == 200
    event = last_event("user.sessions-ended")
    assert (event.actor, event.body) == ("user:ada", {"user": "olga", "sessions": 2, "reason": WHY})


def test_the_factors_of_who_lost_theirs_are_removed_by_another_with_a_reason() -> None:
    tab = sign_in("olga")
    assert "has no second factor" in text_of(post("factors", reason=WHY))
    for kind in (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES):
        Authenticator.objects.create(user=user("olga"), type=kind, data={"seed": "x", "used_mask": 0})
    assert "Remove the factors" in text_of(sign_in("ada").get(path_of("olga")))
    assert post("factors", reason="").status_code == 422
    assert "2 factors of olga removed" in text_of(post("factors", reason=WHY))
    assert not Authenticator.objects.exists()
    assert tab.get("/tasks/").status_code == 302
    assert {(event.body["method"], event.body["reason"]) for event in events_of("mfa.removed")} == {
        ("totp", WHY), ("recovery-codes", WHY)
    }  # fmt: skip
    Authenticator.objects.create(user=user("ada"), type=Authenticator.Type.TOTP, data={})
    assert post("factors", whom="ada", reason=WHY).status_code == 422
    assert json.loads(run("forget-factors", "ada", "--reason", WHY, "--json")) == {"user": "ada", "factors": 1}


@pytest.mark.parametrize("verb", ["sessions", "password", "switch"])
def test_what_takes_something_away_needs_a_reason(verb: str) -> None:
    olga, before = sign_in("olga"), LedgerEvent.objects.count()
    assert post(verb, reason=" ").status_code == 422
    assert olga.get("/tasks/").status_code == 200
    assert not events_of("user.sessions-ended")
    assert len(events_of("user.changed")) == 0
    assert LedgerEvent.objects.count() == before + 1  # that ada signed in
    with pytest.raises(ReasonRequired):
        users.switch_off("olga", reason="")


# --- passwords ------------------------------------------------------------------------------------------------
def secret_in(answer: Any) -> str:
    found = re.search(r'id="secret"[^>]*>([^<]+)<', text_of(answer))
    assert found is not None
    return found[1]


def is_kept_nowhere(secret: str, client: Client, path: str) -> bool:
    """Look for a secret where it must not be: the trail, cookies, the address, and the page when asked for again."""
    places = [str(list(LedgerEvent.objects.values_list("body", flat=True))), str(client.cookies), path]
    places += [text_of(client.get(path)), str(dict(client.session))]
    return not any(secret in place for place in places)


def test_a_new_users_password_is_shown_once_and_works() -> None:
    ada = sign_in("ada")
    answer = ada.post("/settings/users/new/", {"name": "petra", "roles": ["operator", "auditor"]})
    password = secret_in(answer)
    assert "no-store" in answer["Cache-Control"]
    assert user("petra").check_password(password)
    assert is_kept_nowhere(password, ada, path_of("petra"))
    assert last_event("user.created").actor == "user:ada"
    assert permissions_of(user("petra")) == ROLES[Role.OPERATOR] | ROLES[Role.AUDITOR]


@pytest.mark.parametrize("sent", [{"name": "OLGA"}, {"name": "a b"}, {"name": ""}, {"roles": []}, {"roles": ["root"]}])
def test_what_makes_no_user_is_said_in_the_form(sent: dict[str, Any]) -> None:
    count = User.objects.count()
    answer = sign_in("ada").post("/settings/users/new/", {"name": "petra", "roles": ["viewer"]} | sent)
    assert answer.status_code == 422
    assert 'class="error"' in text_of(answer)
    assert User.objects.count() == count


def test_a_renewed_password_is_shown_once_and_the_old_ones_sessions_end() -> None:
    olga, ada = user("olga"), sign_in("ada")
    olga.set_password("correct-horse-battery")
    olga.save()
    tab = sign_in("olga")
    answer = ada.post(path_of("olga", "password"), {"reason": WHY})
    password = secret_in(answer)
    assert user("olga").check_password(password)
    assert tab.get("/tasks/").status_code == 302
    assert is_kept_nowhere(password, ada, path_of("olga"))
    assert last_event("user.changed").body["reason"] == WHY


def count_queries(client: Client, path: str) -> int:
    """Return what a page asks of the store when what the process remembers for a second or less is fresh."""
    counts = []
    for _ in range(4):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        counts.append(len(queries))
    return min(counts)


# --- the pages ------------------------------------------------------------------------------------------------
def test_the_list_goes_on_by_name_and_costs_no_more_with_many() -> None:
    ada = sign_in("ada")
    few = count_queries(ada, "/settings/users/")
    User.objects.bulk_create(User(username=f"user-{number:04}") for number in range(PAGE_SIZE * 2))
    first = list_users()
    assert [len(first.rows), first.next] == [PAGE_SIZE, first.rows[-1].user.username]
    second = list_users(after=first.next)
    assert not {row.user.pk for row in first.rows} & {row.user.pk for row in second.rows}
    assert count_queries(ada, "/settings/users/") <= few <= 20
    assert f"after={first.next}" in text_of(ada.get("/settings/users/"))
    assert text_of(ada.get("/settings/users/?role=auditor")).count('scope="row"') == 1


def test_every_role_and_permission_is_explained_to_everybody() -> None:
    assert set(PERMISSIONS) == set(Permission)
    assert set(ROLE_WORDS) == set(Role)
    assert [name for group in group_permissions(Permission) for name, _ in group.permissions] == list(PERMISSIONS)
    page = text_of(sign_in(OUTSIDER).get("/settings/roles/"))
    rows = {match[1]: match[0].count('"Yes"') for match in re.finditer(r'<tr>.*?mono">([a-z:]+)<.*?</tr>', page)}
    assert rows == {scope: sum(scope in held for held in ROLES.values()) for scope in Permission}


# --- the command ----------------------------------------------------------------------------------------------
def run(*arguments: str) -> str:
    out = StringIO()
    call_command("user", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_command_does_the_same() -> None:
    made = json.loads(run("create", "petra", "--role", "viewer", "--user", "ada", "--json"))
    assert user("petra").check_password(made["password"])
    assert last_event("user.created").actor == "user:ada"
    assert json.loads(run("roles", "petra", "--role", "operator", "--role", "viewer", "--json"))["roles"] == [
        "viewer",
        "operator",
    ]
    assert "viewer, operator" in run("show", "petra")
    assert json.loads(run("roles", "petra", "--reason", WHY, "--json"))["roles"] == []
    tab = sign_in("petra")
    assert json.loads(run("end-sessions", "petra", "--reason", WHY, "--json")) == {"user": "petra", "sessions": 1}
    assert tab.get("/settings/profile/").status_code == 302
    assert "switched off" in run("disable", "petra", "--reason", WHY)
    assert last_event("user.changed").actor == "system"
    assert json.loads(run("enable", "petra", "--json"))["isActive"] is True
    password = run("password", "petra", "--reason", WHY).strip()
    assert user("petra").check_password(password)
    assert {person["name"] for person in json.loads(run("list", "--role", "auditor", "--json"))} == {"axel"}
    assert re.search(r"^ada +admin +never$", run("list"), re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["disable", "ada", "--reason", WHY], "last active admin"),
        (["disable", "nobody", "--reason", WHY], "no user nobody"),
        (["disable", "vera", "--reason", " "], "reason"),
        (["roles", "vera", "--role", "root"], "invalid choice"),
        (["roles", "vera", "--user", "olga"], "users:write"),
        (["disable", "vera"], "--reason"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run(*arguments)
    assert user("vera").is_active
