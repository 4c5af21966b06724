"""Each way to change what opens ada's account, up to the request that does it: address, form, and the session."""

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.integration.entering_cast import (
    PASSWORD,
    Clock,
    Passkey,
    add_passkey,
    ask_passkey,
    code_at,
    confirm,
    enter,
    new_client,
    set_up_app,
    to_json,
)

Way = tuple[str, Any, Client]


def enter_ada() -> Client:
    ada = User.objects.get(username="ada")
    ada.set_password(PASSWORD)
    ada.save()
    client = new_client()
    enter(client, "ada")
    return client


def ada_with_app() -> tuple[Client, list[str]]:
    client, clock = enter_ada(), Clock()
    clock.now = time.time()
    _, codes = set_up_app(client, clock)
    return client, codes


def ada_with_passkey() -> tuple[Client, Passkey]:
    client, passkey = enter_ada(), Passkey()
    add_passkey(client, passkey)
    return client, passkey


def second_factor() -> Way:
    _, codes = ada_with_app()
    client = new_client()
    enter(client, "ada")
    return reverse("mfa_authenticate"), {"code": codes[0]}, client


def confirmation_by_code() -> Way:
    client, codes = ada_with_app()
    return reverse("mfa_reauthenticate"), {"code": codes[1]}, client


def new_app() -> Way:
    client = enter_ada()
    confirm(client)
    secret = client.get(reverse("mfa_activate_totp")).context["form"].secret
    return reverse("mfa_activate_totp"), {"code": code_at(secret, time.time())}, client


def app_to_remove() -> Way:
    return reverse("mfa_deactivate_totp"), {}, ada_with_app()[0]


def new_codes() -> Way:
    return reverse("mfa_generate_recovery_codes"), {}, ada_with_app()[0]


def login_by_passkey() -> Way:
    _, passkey = ada_with_passkey()
    client = new_client()
    return reverse("mfa_login_webauthn"), {"credential": passkey.sign(ask_passkey(client))}, client


def new_passkey() -> Way:
    client = enter_ada()
    confirm(client)
    options = client.get(reverse("mfa_add_webauthn")).context["js_data"]["creation_options"]
    return reverse("mfa_add_webauthn"), {"credential": Passkey().register(to_json(options))}, client


def confirmation_by_passkey() -> Way:
    client, passkey = ada_with_passkey()
    options = client.get(reverse("mfa_reauthenticate_webauthn")).context["js_data"]["request_options"]
    return reverse("mfa_reauthenticate_webauthn"), {"credential": passkey.sign(to_json(options))}, client


def passkey_to_remove() -> Way:
    client, _ = ada_with_passkey()
    factor = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN)
    return reverse("mfa_remove_webauthn", args=[factor.pk]), {}, client


def link_to_end() -> Way:
    client = enter_ada()
    confirm(client)
    link = SocialAccount.objects.create(user=User.objects.get(username="ada"), provider="oidc", uid="7f3a")
    return reverse("provider_unlink", args=[link.pk]), {}, client


def other_sessions() -> Way:
    client = enter_ada()
    enter(new_client(), "ada")
    confirm(client)
    return reverse("console:sessions_end"), {}, client


def other_session() -> Way:
    here = enter_ada()
    there = new_client()
    enter(there, "ada")
    confirm(here)
    other = next(s for s in here.get(reverse("console:sessions")).context["sessions"] if not s.is_this)
    return reverse("console:session_end", args=[other.id]), {}, here
