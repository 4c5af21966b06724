"""Logins that another provider vouches for, against a real one on loopback: what it opens, and what it cannot."""

import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from audit.models import LedgerEvent
from orchestrator_site.entering.oidc import pick_roles
from orchestrator_site.roles import Role, permissions_of
from tests.integration.api_cast import events_of
from tests.integration.entering_cast import Clock, confirm, door, enter, is_in, make_user, new_client, set_up_app
from tests.oidc_provider import CLIENT, SECRET, Provider, run_provider

__all__ = ["door"]
START = "/accounts/sso/oidc/login/"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with run_provider() as provider:
        yield provider


@pytest.fixture
def provider(door: Clock, running: Provider, settings: Any) -> Provider:
    """Give the provider, with the installation set up for it."""
    running.signing_key, running.algorithm = running.key, "RS256"
    running.claims = {"sub": "7f3a", "preferred_username": "olga", "email": "olga@example.com"}
    app: dict[str, Any] = {"provider_id": "oidc", "name": "Example ID", "client_id": CLIENT, "secret": SECRET}
    app["settings"] = {"server_url": running.issuer}
    settings.OIDC_ISSUER, settings.OIDC_NAME = running.issuer, "Example ID"
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    return running


def read_hand_over(page: Any) -> str:
    """Return where a browser is sent on to, with a form's redirect out of the way."""
    (address,) = re.findall(r'http-equiv="refresh" content="0;url=([^"]+)"', page.content.decode())
    return unescape(address)


def go(client: Client, **sent: str) -> Any:
    """Sign in at the provider as a browser does; returns what the console answers to who comes back."""
    page = client.post(START, sent)
    assert page.status_code == 200
    address = read_hand_over(page)
    back = requests.get(address, allow_redirects=False, timeout=10).headers["Location"]
    parts = urlsplit(back)
    assert parts.netloc == "localhost"
    return client.get(f"{parts.path}?{parts.query}")


def roles_of(name: str) -> set[str]:
    return set(User.objects.get(username=name).groups.values_list("name", flat=True))


def test_the_login_offers_it_only_where_it_is_set_up(provider: Provider, settings: Any) -> None:
    assert "Sign in with Example ID" in new_client().get("/accounts/login/").content.decode()
    settings.OIDC_ISSUER, settings.SOCIALACCOUNT_PROVIDERS = "", {"openid_connect": {"APPS": []}}
    assert "Sign in with Example ID" not in new_client().get("/accounts/login/").content.decode()
    assert new_client().post(START)["Location"] == reverse("account_login")


def test_who_is_new_gets_an_account_without_a_role(provider: Provider) -> None:
    client = new_client()
    assert go(client)["Location"] == "/"
    assert is_in(client)
    olga = User.objects.get()
    assert (olga.username, olga.email, olga.has_usable_password(), len(permissions_of(olga))) == ("olga", "", False, 0)
    assert client.get("/").status_code == 403
    assert events_of("user.logged-in")[0].body["methods"] == ["oidc"]
    assert [(event.type, event.actor) for event in LedgerEvent.objects.order_by("id")][:2] == [
        ("user.created", "provider:oidc"),
        ("user.linked", "provider:oidc"),
    ]


def test_a_claim_gives_and_takes_roles_at_each_login(provider: Provider, settings: Any) -> None:
    settings.OIDC_ROLE_CLAIM, settings.OIDC_ROLES = "groups", {"fleet-ops": "operator", "fleet-four": "approver"}
    for groups, roles in (
        (["fleet-ops", "admin"], {"operator"}),  # only what is mapped
        (["fleet-four"], {"approver"}),
        ("fleet-ops", {"operator"}),
        (None, set()),
    ):
        provider.claims["groups"] = groups
        go(new_client())
        assert roles_of("olga") == roles
    assert {event.actor for event in events_of("role.granted")} == {"provider:oidc"}


def test_without_a_map_the_values_are_names_of_roles() -> None:
    assert pick_roles(["viewer", "root", 7, None], {}) == {Role.VIEWER}
    assert pick_roles({"admin": True}, {}) == set()


def test_a_name_or_an_address_opens_no_account_of_somebody_else(provider: Provider) -> None:
    olga = make_user("olga", "admin")
    User.objects.filter(pk=olga.pk).update(email="olga@example.com")
    provider.claims |= {"email_verified": True}
    client = new_client()
    go(client)
    assert is_in(client)
    entered = User.objects.exclude(pk=olga.pk).get()
    assert entered.username != "olga"
    assert permissions_of(entered) == set()


def test_who_has_a_password_here_links_after_confirming_it_and_keeps_their_roles(
    provider: Provider, settings: Any
) -> None:
    settings.OIDC_ROLE_CLAIM = "groups"
    make_user("vera", "viewer")
    client = new_client()
    enter(client, "vera")
    answer = go(client, process="connect")
    assert answer["Location"].startswith(reverse("account_reauthenticate"))
    assert not events_of("user.linked")
    confirm(client)
    assert [event.actor for event in events_of("user.linked")] == ["user:vera"]
    other = new_client()
    go(other)
    assert other.get(reverse("console:security")).context["user"].username == "vera"
    assert roles_of("vera") == {"viewer"}
    assert User.objects.count() == 1
    link = client.get(reverse("console:security")).context["links"][0]
    assert client.post(reverse("provider_unlink", args=[link.pk])).status_code == 302
    assert len(events_of("user.unlinked")) == 1


def test_the_only_way_in_is_not_unlinked(provider: Provider) -> None:
    client = new_client()
    go(client)
    link = client.get(reverse("console:security")).context["links"][0]
    page = client.post(reverse("provider_unlink", args=[link.pk]), follow=True).content.decode()
    assert "It is your only way in" in page
    assert not events_of("user.unlinked")


def test_a_second_factor_is_asked_for_after_the_provider(provider: Provider, door: Clock) -> None:
    make_user("vera", "viewer")
    client = new_client()
    enter(client, "vera")
    confirm(client)
    go(client, process="connect")
    set_up_app(client, door)
    other = new_client()
    assert go(other)["Location"] == reverse("mfa_authenticate")
    assert not is_in(other)


@pytest.mark.parametrize("trick", ["another key", "none", "HS256", "another audience", "another issuer", "expired"])
def test_a_token_that_does_not_hold_opens_nothing_and_is_told(provider: Provider, trick: str) -> None:
    if trick == "another key":
        provider.signing_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif trick in {"none", "HS256"}:
        provider.algorithm = trick
    else:
        wrong: dict[str, dict[str, Any]] = {
            "another audience": {"aud": "another-client"},
            "another issuer": {"iss": "https://evil.example"},
            "expired": {"exp": 1_000_000_000},
        }
        provider.claims |= wrong[trick]
    client = new_client()
    assert go(client)["Location"] == reverse("account_login")
    assert not is_in(client)
    assert not User.objects.exists()
    assert [event.body["method"] for event in events_of("user.login-failed")] == ["oidc"]


def test_an_answer_that_was_not_asked_for_opens_nothing(provider: Provider) -> None:
    thief, victim = new_client(), new_client()
    address = read_hand_over(thief.post(START))
    parts = urlsplit(requests.get(address, allow_redirects=False, timeout=10).headers["Location"])
    assert victim.get(f"{parts.path}?{parts.query}")["Location"] == reverse("account_login")
    assert not is_in(victim)


def test_a_provider_that_is_away_is_told(provider: Provider, settings: Any) -> None:
    settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]["settings"] = {"server_url": "http://127.0.0.1:1"}
    assert "Example ID cannot be reached" in new_client().post(START, follow=True).content.decode()


def test_who_is_switched_off_does_not_enter_by_it_either(provider: Provider) -> None:
    go(new_client())
    User.objects.update(is_active=False)
    client = new_client()
    go(client)
    assert not is_in(client)


def test_who_has_nothing_to_confirm_with_must_have_come_in_just_now(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = new_client()
    go(client)
    assert client.get(reverse("mfa_add_webauthn")).status_code == 200
    later = time.time() + 301
    monkeypatch.setattr("orchestrator_site.entering.fresh.time.time", lambda: later)
    assert client.get(reverse("mfa_add_webauthn"))["Location"] == reverse("console:security")


def come_in(client: Client, *, seconds_ago: int) -> None:
    session = client.session
    session[AUTHENTICATION_METHODS_SESSION_KEY][-1]["at"] = time.time() - seconds_ago
    session.save()


def test_an_open_browser_alone_links_no_further_login(provider: Provider) -> None:
    client = new_client()
    go(client)
    provider.claims = {"sub": "another-person", "preferred_username": "mallory"}
    come_in(client, seconds_ago=301)
    answer = go(client, process="connect")
    assert answer["Location"] == reverse("console:security")
    assert "Nothing was changed" in client.get(answer["Location"]).content.decode()
    assert [link.uid for link in SocialAccount.objects.all()] == ["7f3a"]
    come_in(client, seconds_ago=0)
    go(client, process="connect")
    assert {link.uid for link in SocialAccount.objects.all()} == {"7f3a", "another-person"}


def test_answers_that_nobody_asked_for_do_not_fill_the_trail(provider: Provider, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"oidc": "3/m/ip"}
    client = new_client()
    answers = [client.get("/accounts/sso/oidc/callback/?code=x&state=y").status_code for _ in range(5)]
    assert answers == [302, 302, 302, 429, 429]
    assert len(events_of("user.login-failed")) == 3
