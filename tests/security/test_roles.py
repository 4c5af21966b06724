"""Role by route, over the whole of the API and each message of the websocket; pages are in `test_console_access`.

Each route is asked with a token of every scope: what is left to decide is the role of who holds it.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile

from audit.live.consumers import NOT_ALLOWED
from orchestrator_site.roles import ROLES, Permission
from tests.audit_cast import open_session
from tests.integration.api_cast import CAST, api_of, open_world, problem_of, world
from tests.integration.test_feed_console import Tab, hub_stopped
from tests.security.test_doors import ADDRESSES, view_of

__all__ = ["hub_stopped", "open_world", "world"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MESSAGES: tuple[dict[str, Any], ...] = (
    {"op": "ping"},
    {"op": "hello"},
    {"op": "hello", "last": 0},
    {"op": "hello", "last": 0, "filters": {"decision": "deny"}},
)


def list_routes() -> Iterator[tuple[str, str, str]]:
    """Give address, method and scope of every route of the API that a role decides about."""
    for address in sorted(ADDRESSES):
        view = view_of(address)
        scope = getattr(view, "required_scope", "any")
        for method in METHODS:
            wanted = scope.get(method) if isinstance(scope, dict) else scope
            if wanted not in {None, "any"} and hasattr(view, method.lower()):
                yield address, method, wanted


ROUTES = list(list_routes())


def test_the_matrix_holds_the_whole_api() -> None:
    named = {address for address in ADDRESSES if view_of(address) is not None}
    left_out = {"/api/schema/", "/api/health/deep", "/api/docs/"}
    assert {address for address, _, _ in ROUTES} == named - left_out


@pytest.mark.parametrize("person", CAST)
def test_each_role_uses_the_routes_that_its_permissions_say(world: None, person: str) -> None:
    api, granted = api_of(person), ROLES[CAST[person]]
    for address, method, scope in ROUTES:
        answer = api.send(method, address)
        refused = answer.status_code == 403 and answer.json()["code"] == "forbidden"
        assert refused is (Permission(scope) not in granted), (method, address, answer.status_code)


@pytest.mark.parametrize("person", CAST)
def test_each_role_uploads_or_not(world: None, person: str) -> None:
    answer = api_of(person).upload(file=SimpleUploadedFile("a.csv", b"a,b\n"))
    if Permission.FILES_WRITE in ROLES[CAST[person]]:
        assert answer.status_code == 201
    else:
        problem_of(answer, 403, "forbidden")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("person", CAST)
async def test_each_role_says_to_the_socket_what_its_permissions_say(
    open_world: None, audit_store: Any, hub_stopped: None, person: str
) -> None:
    may = Permission.AUDIT_READ in ROLES[CAST[person]]
    cookie = await sync_to_async(open_session)(person)
    for message in MESSAGES:
        tab = Tab(cookie)
        assert await tab.open()
        if not may:
            assert await tab.hear_close() == NOT_ALLOWED
            continue
        await tab.say(**message)
        assert (await tab.hear())["op"] == ("pong" if message["op"] == "ping" else "hello")
        await tab.close()
