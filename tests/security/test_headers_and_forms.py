"""What a browser can be talked into: another host, another site's redirect, a form of somebody else."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from orchestrator_site.console import THEME_COOKIE
from tests.integration.api_cast import Api, api_of, world
from tests.integration.console_cast import sign_in
from tests.security.test_doors import ADDRESSES, LOGIN, OPEN, plain_files

__all__ = ["plain_files", "world"]
pytestmark = pytest.mark.usefixtures("world")

PASSWORD = "correct-horse-battery-staple"
ELSEWHERE = (
    "https://evil.example/", "//evil.example/", "///evil.example", "\\\\evil.example", "/\\evil.example",
    "javascript:alert(1)", "data:text/html,x", "http:evil.example", "https:/evil.example", " //evil.example",
    "\t//evil.example", "//evil.example@testserver/", "https://testserver.evil.example/",
)  # fmt: skip
PAGES = sorted(
    address for address in ADDRESSES if not address.startswith(("/api/", "/accounts/")) and address not in OPEN
)


# --- host -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "testserver@evil.example", "[::1", "a b"])
def test_another_host_is_not_served(host: str) -> None:
    for path in ("/", LOGIN, "/api/agents"):
        answer = Client().get(path, headers={"Host": host})
        assert answer.status_code == 400, path
        assert b"evil" not in answer.content
        assert "Location" not in answer


def test_what_a_proxy_is_said_to_have_seen_is_not_believed() -> None:
    client = sign_in("olga")
    forwarded = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    for path in ("/", "/tasks/"):
        assert "evil.example" not in client.get(path, headers=forwarded).content.decode()
    answer = Client().get("/tasks/", headers=forwarded)
    assert answer["Location"].startswith(LOGIN)
    order = api_of("olga").post("tasks", {"agentId": "x"}, X_Forwarded_Host="evil.example")
    assert "evil.example" not in order.content.decode()


# --- redirects --------------------------------------------------------------------------------------------------
def test_signing_in_leads_nowhere_else(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # it signs in often
    User.objects.create_user("petra", password=PASSWORD)
    for target in ELSEWHERE:
        sent = {"login": "petra", "password": PASSWORD, "next": target}
        for path in (LOGIN, f"{LOGIN}?next={target}"):
            assert Client().post(path, sent)["Location"] == "/", (target, path)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_switch_of_the_theme_leads_nowhere_else(target: str) -> None:
    answer = Client().post("/theme/", {"theme": "dark", "next": target})
    assert answer["Location"] == "/"
    assert answer.cookies[THEME_COOKIE].value == "dark"


# --- forms of others --------------------------------------------------------------------------------------------
def test_no_page_takes_a_form_without_its_token() -> None:
    ada = sign_in("ada", csrf=True)
    open_to_forms = sign_in("ada")
    taking = [path for path in PAGES if open_to_forms.options(path).headers.get("Allow", "POST").find("POST") >= 0]
    assert len(taking) > 20
    for path in taking:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = ada.generic(method, path, "reason=x", content_type="application/x-www-form-urlencoded")
            assert answer.status_code == 403, (method, path, answer.status_code)
            assert "The form had expired" in answer.content.decode(), (method, path)


def test_a_token_of_another_session_does_not_do() -> None:
    olga, ada = sign_in("olga", csrf=True), sign_in("ada", csrf=True)
    olga.get("/tasks/new/")
    token = olga.cookies["csrftoken"].value if "csrftoken" in olga.cookies else "x" * 32
    answer = ada.post("/theme/", {"theme": "dark", "csrfmiddlewaretoken": token})
    assert answer.status_code == 403


def test_a_form_from_elsewhere_is_refused_with_its_token() -> None:
    client = Client(enforce_csrf_checks=True)
    page = client.get(LOGIN).content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    sent: dict[str, Any] = {"csrfmiddlewaretoken": token, "theme": "dark"}
    assert client.post("/theme/", sent).status_code == 302
    assert client.post("/theme/", sent, headers={"Origin": "https://evil.example"}).status_code == 403


def test_the_api_asks_for_no_cookie_and_takes_none() -> None:
    answer = sign_in("ada").post("/api/tasks", {}, content_type="application/json")
    assert answer.status_code == 401
    assert "csrf" not in answer.content.decode().lower()
    assert not Api(None).get("agents").cookies
