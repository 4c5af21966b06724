"""Second factors: the app's codes, recovery codes and passkeys; how each opens, fails, is told and is taken away."""

import logging
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.core.cache import cache
from django.urls import reverse

from audit.models import LedgerEvent
from orchestrator_site.entering.factors import FactorAdapter, forget_factors
from orchestrator_site.readers import may_follow
from tests.integration.api_cast import events_of
from tests.integration.entering_cast import (
    PASSWORD,
    Clock,
    Passkey,
    add_passkey,
    ask_passkey,
    code_at,
    confirm,
    door,
    enter,
    is_in,
    make_user,
    new_client,
    set_up_app,
    to_json,
)

__all__ = ["door"]


@pytest.fixture
def olga(door: Clock) -> User:
    return make_user("olga", "operator")


@pytest.fixture
def app(door: Clock, olga: User) -> tuple[str, list[str]]:
    """Give the secret and the recovery codes of olga's authenticator app."""
    client = new_client()
    enter(client, "olga")
    return set_up_app(client, door)


def give_code(client: Any, code: str) -> Any:
    return client.post(reverse("mfa_authenticate"), {"code": code})


# --- the app's codes --------------------------------------------------------------------------------------------
def test_a_password_alone_no_longer_opens_an_account_with_an_app(door: Clock, app: Any) -> None:
    client = new_client()
    assert enter(client, "olga")["Location"] == reverse("mfa_authenticate")
    assert not is_in(client)
    assert give_code(client, code_at(app[0], door.now)).status_code == 302
    assert is_in(client)
    assert [event.body["methods"] for event in events_of("user.logged-in")] == [["password"], ["password", "totp"]]


def test_a_code_opens_once(door: Clock, app: Any) -> None:
    code = code_at(app[0], door.now)
    for opens in (True, False):
        client = new_client()
        enter(client, "olga")
        give_code(client, code)
        assert is_in(client) is opens


def test_guessing_codes_is_stopped_and_told(door: Clock, app: Any) -> None:
    wrong = "000000" if code_at(app[0], door.now) != "000000" else "000001"
    for _ in range(5):
        client = new_client()
        enter(client, "olga")
        give_code(client, wrong)
    client = new_client()
    enter(client, "olga")
    give_code(client, code_at(app[0], door.now))  # the sixth, although it is right
    assert not is_in(client)
    failed = events_of("user.login-failed")
    assert [(event.body["user"], event.body["method"]) for event in failed] == [("olga", "totp")] * 5


def test_a_second_factor_is_changed_only_by_who_shows_again_who_they_are(olga: User) -> None:
    client = new_client()
    enter(client, "olga")
    for name in ("mfa_activate_totp", "mfa_add_webauthn", "mfa_generate_recovery_codes"):
        answer = client.get(reverse(name))
        assert answer.status_code == 302
        assert answer["Location"].startswith(reverse("account_reauthenticate"))
    confirm(client)
    assert client.get(reverse("mfa_activate_totp")).status_code == 200


def test_removing_the_last_factor_removes_its_recovery_codes(door: Clock, app: Any) -> None:
    client = new_client()
    enter(client, "olga")
    give_code(client, code_at(app[0], door.now))
    confirm(client)
    assert client.post(reverse("mfa_deactivate_totp"))["Location"] == reverse("mfa_index")
    assert not Authenticator.objects.exists()
    assert [event.body["method"] for event in events_of("mfa.removed")] == ["totp", "recovery-codes"]


# --- recovery codes -----------------------------------------------------------------------------------------------
def test_a_recovery_code_opens_once(app: Any) -> None:
    for opens in (True, False):
        client = new_client()
        enter(client, "olga")
        give_code(client, app[1][3])
        assert is_in(client) is opens
    assert [(event.actor, event.body) for event in events_of("mfa.code-used")] == [
        ("user:olga", {"user": "olga", "left": 9})
    ]
    assert events_of("user.logged-in")[-1].body["methods"] == ["password", "recovery-code"]


def test_recovery_codes_are_shown_once(door: Clock, app: Any) -> None:
    client = new_client()
    enter(client, "olga")
    give_code(client, code_at(app[0], door.now))
    confirm(client)
    page = client.get(reverse("mfa_view_recovery_codes")).content.decode()
    assert "10 of 10 can still be used" in page
    assert not [code for code in app[1] if code in page]
    assert len(events_of("mfa.codes-shown")) == 1


def test_new_recovery_codes_end_the_old_ones(door: Clock, app: Any) -> None:
    client = new_client()
    enter(client, "olga")
    give_code(client, code_at(app[0], door.now))
    confirm(client)
    client.post(reverse("mfa_generate_recovery_codes"))
    again = new_client()
    enter(again, "olga")
    give_code(again, app[1][0])
    assert not is_in(again)


# --- secrets ------------------------------------------------------------------------------------------------------
def test_no_secret_is_in_the_trail_the_log_a_page_or_in_clear_in_the_database(
    door: Clock, olga: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = new_client()
    enter(client, "olga")
    secret, codes = set_up_app(client, door)
    give = code_at(secret, door.now)
    other = new_client()
    enter(other, "olga")
    give_code(other, give)
    addresses = [reverse(f"console:{name}") for name in ("security", "sessions")]
    addresses += [reverse(name) for name in ("mfa_view_recovery_codes", "mfa_deactivate_totp", "mfa_activate_totp")]
    pages = "".join(other.get(address, follow=True).content.decode() for address in addresses)
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    trail = str([row.body for row in LedgerEvent.objects.all()])
    for place in (pages, stored, trail, caplog.text):
        assert not [text for text in (secret, give, PASSWORD, *codes) if text in place]


def test_a_sealed_secret_opens_also_after_the_key_was_changed(settings: Any) -> None:
    sealed = FactorAdapter().encrypt("a secret")
    assert "secret" not in sealed
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-of-more-than-thirty-two-characters"
    assert FactorAdapter().decrypt(sealed) == "a secret"


# --- passkeys -----------------------------------------------------------------------------------------------------
def test_a_passkey_opens_the_account_alone(olga: User) -> None:
    passkey, client = Passkey(), new_client()
    enter(client, "olga")
    assert add_passkey(client, passkey)["Location"] == reverse("mfa_view_recovery_codes")
    other = new_client()
    answer = other.post(reverse("mfa_login_webauthn"), {"credential": passkey.sign(ask_passkey(other))})
    assert answer["Location"] == "/"
    assert is_in(other)
    assert events_of("user.logged-in")[-1].body["methods"] == ["passkey"]
    assert [event.body["method"] for event in events_of("mfa.added")] == ["passkey", "recovery-codes"]


def test_a_passkey_is_a_second_factor_too(olga: User) -> None:
    passkey, client = Passkey(is_passwordless=False), new_client()
    enter(client, "olga")
    add_passkey(client, passkey)
    other = new_client()
    assert enter(other, "olga")["Location"] == reverse("mfa_authenticate")
    page = other.get(reverse("mfa_authenticate"))
    credential = passkey.sign(to_json(page.context["js_data"]["request_options"]))
    other.post(reverse("mfa_authenticate"), {"credential": credential})
    assert is_in(other)
    assert events_of("user.logged-in")[-1].body["methods"] == ["password", "passkey"]


@pytest.mark.parametrize("trick", ["another key", "another origin", "an old answer", "nothing"])
def test_a_passkey_that_does_not_hold_opens_nothing_and_is_told(olga: User, trick: str) -> None:
    passkey, client = Passkey(), new_client()
    enter(client, "olga")
    add_passkey(client, passkey)
    other = new_client()
    answer = passkey.sign(ask_passkey(other))
    if trick == "another key":
        forged = Passkey()
        forged.id, forged.user = passkey.id, passkey.user
        answer = forged.sign(ask_passkey(other))
    elif trick == "another origin":
        passkey.origin = "https://evil.example"
        answer = passkey.sign(ask_passkey(other))
    elif trick == "an old answer":
        ask_passkey(other)
    else:
        answer = ""
    other.post(reverse("mfa_login_webauthn"), {"credential": answer})
    assert not is_in(other)
    assert [event.body["method"] for event in events_of("user.login-failed")] == ["passkey"]


def test_asking_and_answering_for_passkeys_has_a_pace(door: Clock, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"passkey": "4/m/ip"}
    settings.MFA_RATE_LIMITS = {"webauthn_login": "2/m/ip"}
    client, address = new_client(), reverse("mfa_login_webauthn")
    assert [client.post(address, {"credential": "{}"}).status_code for _ in range(3)] == [302, 302, 429]
    assert len(events_of("user.login-failed")) == 2  # what was not looked at did not fail
    asked = [client.get(address, headers={"x-requested-with": "XMLHttpRequest"}).status_code for _ in range(2)]
    assert asked == [200, 429]


def test_trying_a_thousand_names_does_not_forget_the_attempts_at_one(olga: User) -> None:
    wrong = {"login": "olga", "password": "wrong"}
    client = new_client()
    for _ in range(5):
        client.post(reverse("account_login"), wrong)
    for number in range(1_000):
        cache.set(f"attempts-at-{number}", [1.0], 60)
    assert "Too many failed login attempts" in client.post(reverse("account_login"), wrong).content.decode()


def test_a_passkey_is_removed_by_its_owner_alone(olga: User) -> None:
    client, stranger = new_client(), new_client()
    enter(client, "olga")
    add_passkey(client, Passkey())
    factor = Authenticator.objects.get(type="webauthn")
    make_user("mallory")
    enter(stranger, "mallory")
    confirm(stranger)
    assert stranger.post(reverse("mfa_remove_webauthn", args=[factor.pk])).status_code == 404
    assert "Remove Laptop" in client.get(reverse("mfa_remove_webauthn", args=[factor.pk])).content.decode()
    assert client.post(reverse("mfa_remove_webauthn", args=[factor.pk]))["Location"] == reverse("console:security")
    assert not Authenticator.objects.exists()


# --- what an administrator asks and does ----------------------------------------------------------------------------
def test_who_needs_a_second_factor_opens_no_other_page_until_it_is_set_up(
    door: Clock, olga: User, settings: Any
) -> None:
    settings.REQUIRE_MFA = ["operator"]
    client = new_client()
    enter(client, "olga")
    for address in ("/", "/tasks/", "/settings/sessions/", "/admin/", "/api/docs/"):
        assert client.get(address)["Location"] == reverse("console:security"), address
    assert "Your role needs a second factor" in client.get(reverse("console:security")).content.decode()
    assert not may_follow(olga)  # neither do sockets and exports open
    set_up_app(client, door)
    assert is_in(client)
    assert may_follow(olga)


def test_other_roles_are_not_asked_for_one(door: Clock, settings: Any) -> None:
    settings.REQUIRE_MFA = ["admin"]
    make_user("olga", "operator")
    client = new_client()
    enter(client, "olga")
    assert is_in(client)


def test_an_administrator_takes_every_factor_from_who_has_lost_them(app: Any) -> None:
    assert forget_factors(User.objects.get(username="olga")) == 2
    assert [event.body["method"] for event in events_of("mfa.removed")] == ["totp", "recovery-codes"]
    client = new_client()
    enter(client, "olga")
    assert is_in(client)
    cache.clear()
