"""People at the door: with a password, an authenticator app, recovery codes, a passkey."""

import base64
import hmac
import json
import os
import re
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from fido2.cose import ES256
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

PASSWORD = "correct-horse-battery"
HOST = "localhost"  # browsers and the server take passkeys there without https
NOW = 1_800_000_000.0


@pytest.fixture
def door(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a quick password hash, pages without collected files, no attempts so far, and a clock to move by hand."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    cache.clear()
    clock = Clock()
    monkeypatch.setattr("allauth.mfa.totp.internal.auth.time", clock)
    yield clock
    cache.clear()


class Clock:
    """What an authenticator app and the server both read."""

    def __init__(self) -> None:
        self.now = NOW

    def time(self) -> float:
        return self.now


def make_user(name: str, *roles: str) -> User:
    user = User.objects.create_user(name, password=PASSWORD)
    user.groups.set([Group.objects.get_or_create(name=role)[0] for role in roles])
    return user


def new_client(**more: Any) -> Client:
    return Client(SERVER_NAME=HOST, **more)


def enter(client: Client, name: str, password: str = PASSWORD) -> Any:
    """Give name and password."""
    return client.post(reverse("account_login"), {"login": name, "password": password})


def is_in(client: Client) -> bool:
    """Say whether a page of one's own opens."""
    return client.get(reverse("console:sessions")).status_code == 200


def confirm(client: Client) -> None:
    """Show once more who one is."""
    assert client.post(reverse("account_reauthenticate"), {"password": PASSWORD}).status_code == 302


def code_at(secret: str, now: float) -> str:
    """Return the code that an authenticator app shows: RFC 6238."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", int(now) // 30), "sha1")
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF) % 1_000_000:06}"


def set_up_app(client: Client, clock: Clock) -> tuple[str, list[str]]:
    """Set up an authenticator app as a person does; returns its secret and the recovery codes."""
    confirm(client)
    page = client.get(reverse("mfa_activate_totp"))
    secret = page.context["form"].secret
    answer = client.post(reverse("mfa_activate_totp"), {"code": code_at(secret, clock.now)})
    assert answer["Location"] == reverse("mfa_view_recovery_codes")
    codes = re.findall(r"^(?:<pre[^>]*>)?(\d{8})$", client.get(answer["Location"]).content.decode(), re.M)
    assert len(codes) == 10
    clock.now += 30  # a code opens once
    return secret, codes


def to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class Passkey:
    """A passkey in software, as a browser's answers carry it."""

    def __init__(self, *, is_passwordless: bool = True, origin: str = f"http://{HOST}", host: str = HOST) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = os.urandom(16)
        self.is_passwordless = is_passwordless
        self.origin = origin
        self.rp = hashes.Hash(hashes.SHA256())
        self.rp.update(host.encode())
        self.host_digest = self.rp.finalize()
        self.user = b""

    def register(self, options: dict[str, Any]) -> str:
        """Return the answer to what a page asks when one is added."""
        public = options["publicKey"]
        self.user = base64.urlsafe_b64decode(public["user"]["id"] + "==")
        credential = AttestedCredentialData.create(
            b"\0" * 16, self.id, ES256.from_cryptography_key(self.key.public_key())
        )
        said = AuthenticatorData.create(self.host_digest, 0x45, 0, credential)  # present, verified, with a credential
        response = {
            "clientDataJSON": to_text(self._client_data("webauthn.create", public["challenge"])),
            "attestationObject": to_text(bytes(AttestationObject.create("none", said, {}))),
        }
        return self._answer(response, {"credProps": {"rk": self.is_passwordless}})

    def sign(self, options: dict[str, Any]) -> str:
        """Return the answer to a challenge."""
        client_data = self._client_data("webauthn.get", options["publicKey"]["challenge"])
        said = bytes(AuthenticatorData.create(self.host_digest, 0x05, 1))
        digest = hashes.Hash(hashes.SHA256())
        digest.update(client_data)
        response = {
            "clientDataJSON": to_text(client_data),
            "authenticatorData": to_text(said),
            "signature": to_text(self.key.sign(said + digest.finalize(), ec.ECDSA(hashes.SHA256()))),
            "userHandle": to_text(self.user),
        }
        return self._answer(response, {})

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return bytes(CollectedClientData.create(kind, challenge, self.origin))

    def _answer(self, response: dict[str, str], extensions: dict[str, Any]) -> str:
        name = to_text(self.id)
        head = {"id": name, "rawId": name, "type": "public-key", "clientExtensionResults": extensions}
        return json.dumps(head | {"response": response})


def add_passkey(client: Client, passkey: Passkey, name: str = "Laptop") -> Any:
    confirm(client)
    page = client.get(reverse("mfa_add_webauthn"))
    credential = passkey.register(to_json(page.context["js_data"]["creation_options"]))
    return client.post(reverse("mfa_add_webauthn"), {"name": name, "credential": credential, "passwordless": "on"})


def ask_passkey(client: Client) -> Any:
    """Return what the login page asks a passkey."""
    answer = client.get(reverse("mfa_login_webauthn"), headers={"x-requested-with": "XMLHttpRequest"})
    return answer.json()["request_options"]


def to_json(value: Any) -> Any:
    """Return what a page holds of it."""
    from django.core.serializers.json import DjangoJSONEncoder

    return json.loads(json.dumps(value, cls=DjangoJSONEncoder))
