"""Every door, walked: what Django answers, what stays on the loop, and the sockets; all closed to the anonymous."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from orchestrator_site.roles import HasScope, Permission
from orchestrator_site.schema import DocsView
from orchestrator_site.tokens import TokenAuthentication
from tests.integration.api_cast import Api, api_of, open_world, problem_of, world

__all__ = ["open_world", "world"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LOGIN = "/accounts/login/"
# The switch of the theme is on the login page too: it sets a cookie and shows nothing.
OPEN = {"/health", "/ready", LOGIN, "/theme/"}
SAMPLES = {"int": "1", "number": "1"}  # a value by the kind of an address's argument; anything will do for the others


def walk(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[tuple[str, URLPattern]]:
    """Give an address that matches each pattern of the URLconf, with the pattern."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, prefix + str(pattern.pattern))
        else:
            yield prefix + sample(str(pattern.pattern)), pattern


def sample(route: str) -> str:
    """Return an address that a route matches."""
    plain = re.sub(r"\(\?P<\w+>[^)]*\)", "x", route).removeprefix("^").removesuffix("$")
    return re.sub(r"<(?:(\w+):)?\w+>", lambda found: SAMPLES.get(found[1], "x"), plain)


ADDRESSES = dict(walk(get_resolver().url_patterns))


@pytest.fixture(autouse=True)
def plain_files(settings: Any) -> None:
    """Let pages be rendered without collected files."""
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


# --- Django ---------------------------------------------------------------------------------------------------
def test_the_walk_finds_the_doors() -> None:
    resolver = get_resolver()
    assert len(ADDRESSES) > 30
    assert {"/", "/tasks/", "/api/tasks", "/api/tasks/x/cancel", "/api/audit", *OPEN} <= set(ADDRESSES)
    for address, pattern in ADDRESSES.items():
        assert resolver.resolve(address).func == pattern.callback, address


@pytest.mark.parametrize("address", sorted(set(ADDRESSES) - OPEN))
def test_it_is_closed_to_the_anonymous(world: None, address: str) -> None:
    for method in METHODS:
        answer = Client().generic(method, address)
        if answer.status_code == 302:
            assert answer["Location"].startswith((LOGIN, "/")), (method, address)
            assert not answer.content
        else:
            assert answer.status_code in {401, 403, 405}, (method, address, answer.status_code)
        if address.startswith("/api/") and not address.startswith("/api/docs"):
            problem = answer.json() if method != "HEAD" else {"code": "unauthenticated"}
            assert (answer.status_code, problem["code"]) == (401, "unauthenticated"), (method, address)
            assert answer["WWW-Authenticate"] == "Bearer"


def test_signing_out_shows_the_anonymous_nothing(world: None) -> None:
    answer = Client().get(reverse("account_logout"), follow=True)
    assert answer.redirect_chain[-1][0].startswith(LOGIN)


@pytest.mark.parametrize("address", sorted(OPEN))
def test_what_is_open_shows_no_data(world: None, address: str) -> None:
    answer = Client().get(address)
    assert answer.status_code in {200, 405}
    for word in (b"olga", b"normalizer", b"traceId"):
        assert word not in answer.content


def test_a_session_opens_no_route_of_the_api(world: None) -> None:
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.get(username="ada"), backend="django.contrib.auth.backends.ModelBackend")
    for address in ADDRESSES:
        if address.startswith("/api/") and not address.startswith("/api/docs"):
            assert client.get(address).status_code == 401, address


def test_a_token_opens_no_page(world: None) -> None:
    ada = api_of("ada")
    for address in sorted(set(ADDRESSES) - OPEN):
        if not address.startswith("/api/") or address.startswith("/api/docs"):
            assert ada.get(address).status_code in {302, 405}, address


def view_of(address: str) -> Any:
    """Return the DRF view that answers, None if it is another."""
    return getattr(ADDRESSES[address].callback, "cls", None)


def test_every_view_of_the_api_names_its_scope() -> None:
    for address in ADDRESSES:
        view = view_of(address)
        if view is None or view is DocsView:
            continue
        assert view.permission_classes == [HasScope], address
        assert view.authentication_classes == [TokenAuthentication], address
        scopes = view.required_scope.values() if isinstance(view.required_scope, dict) else [view.required_scope]
        assert set(scopes) <= {*Permission, "any"}, address


@pytest.mark.parametrize("address", sorted(a for a in ADDRESSES if a.startswith("/api/") and "/docs" not in a))
def test_a_token_without_the_scope_is_refused(world: None, address: str) -> None:
    view = view_of(address)
    if view.required_scope == "any":
        assert api_of("ada", "budget:read").get(address).status_code == 200
        return
    scopes = view.required_scope if isinstance(view.required_scope, dict) else {"GET": view.required_scope}
    if not isinstance(view.required_scope, dict) and not hasattr(view, "get"):
        scopes = {"POST": view.required_scope}
    for method, scope in scopes.items():
        others = [permission.value for permission in Permission if permission != scope]
        answer = api_of("ada", *others).send(method, address)
        assert answer.status_code == 403, (method, address)
        if method != "HEAD":
            assert scope in problem_of(answer, 403, "forbidden")["detail"]


# --- what stays on the loop -----------------------------------------------------------------------------------
@pytest.fixture
def application() -> Any:
    """The ASGI application as it is served."""
    from orchestrator_site.asgi import application

    return application


def test_these_tests_know_every_route_of_the_loop(application: Any) -> None:
    routers = application.app.application_mapping
    assert [str(route.pattern) for route in routers["http"].routes] == [
        r"^api/tasks/(?P<task_id>[a-zA-Z0-9._-]{1,64})/events$",
        r"^audit/export/(?P<run_id>[0-9a-f]{32})/entries$",
        "metrics",
        "",
    ]
    sockets = routers["websocket"]
    while not hasattr(sockets, "routes"):  # the origin check and the session around it
        sockets = getattr(sockets, "application", None) or sockets.inner
    assert [str(route.pattern) for route in sockets.routes] == ["ws/console/", ""]


@pytest.mark.parametrize("path", ["/api/tasks/x/events", "/metrics"])
@pytest.mark.parametrize("header", [b"", b"Bearer nonsense", b"Bearer orc_" + b"A" * 43, b"Basic b2xnYQ=="])
async def test_streams_and_scrapes_are_closed_to_the_anonymous(
    open_world: None, application: Any, path: str, header: bytes
) -> None:
    headers = [(b"host", b"127.0.0.1"), *([(b"authorization", header)] if header else [])]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    caller = ApplicationCommunicator(application, scope)
    await caller.send_input({"type": "http.request", "body": b"", "more_body": False})
    start = await caller.receive_output(timeout=30)
    assert start["status"] == 401
    assert (b"www-authenticate", b"Bearer") in [(name.lower(), value) for name, value in start["headers"]]


async def test_an_export_is_closed_to_the_anonymous(open_world: None, application: Any) -> None:
    path = f"/audit/export/{'0' * 32}/entries"
    for cookie in (b"", b"sessionid=nonsense"):
        headers = [(b"host", b"127.0.0.1"), (b"cookie", cookie)]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
        caller = ApplicationCommunicator(application, scope)
        assert (await caller.receive_output(timeout=30))["status"] == 403


@pytest.mark.parametrize("origin", [b"http://127.0.0.1", b"http://evil.example", b""])
@pytest.mark.parametrize("path", ["/ws/console/", "/ws/", "/"])
async def test_sockets_are_closed_to_the_anonymous(
    open_world: None, application: Any, path: str, origin: bytes
) -> None:
    headers = [(b"host", b"127.0.0.1"), *([(b"origin", origin)] if origin else [])]
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "subprotocols": []}
    socket = ApplicationCommunicator(application, scope)
    await socket.send_input({"type": "websocket.connect"})
    answer = await socket.receive_output(timeout=30)
    if answer["type"] == "websocket.accept":  # only to be told why it is closed
        answer = await socket.receive_output(timeout=30)
    assert answer["type"] == "websocket.close"
    assert answer.get("code", 1000) in {4401, 4403, 4404, 1000}


def test_the_anonymous_have_no_task_events_by_another_way(world: None) -> None:
    problem_of(Api(None).get("tasks/x/events"), 404, "not_found")  # not Django's to answer
