"""Request ids on both sides of the server."""

import logging
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from orchestrator_site.logs import get_request_id
from orchestrator_site.middleware import (
    Message,
    Receive,
    RequestIdMiddleware,
    RequestIds,
    Scope,
    Send,
    choose_request_id,
)


def test_it_takes_a_sane_id() -> None:
    assert choose_request_id("trace-7.of_client") == "trace-7.of_client"


@pytest.mark.parametrize("offered", [None, "", "short", "a" * 65, "with space", "new\nline-and-more", "ünïcode-id"])
def test_it_makes_an_id_where_none_or_a_strange_one_is_offered(offered: str | None) -> None:
    made = choose_request_id(offered)
    assert made != offered
    assert len(made) == 32


def test_it_gives_a_request_its_id_and_returns_it() -> None:
    seen: dict[str, Any] = {}

    def view(request: HttpRequest) -> HttpResponse:
        seen.update(attribute=request.request_id, context=get_request_id())  # type: ignore[attr-defined]
        return HttpResponse()

    response = RequestIdMiddleware(view)(RequestFactory().get("/", headers={"X-Request-Id": "from-client-1"}))
    assert seen == {"attribute": "from-client-1", "context": "from-client-1"}
    assert response["X-Request-Id"] == "from-client-1"
    assert get_request_id() == ""


@pytest.mark.parametrize(
    ("method", "status", "level"), [("GET", 200, "DEBUG"), ("GET", 404, "INFO"), ("POST", 202, "INFO")]
)
def test_it_logs_changes_and_failures_louder_than_reads(
    method: str, status: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "orchestrator_site.middleware"):
        RequestIdMiddleware(lambda _: HttpResponse(status=status))(
            RequestFactory().generic(method, "/api/tasks?token=x")
        )
    (record,) = caplog.records
    assert (record.levelname, record.status, record.path) == (level, status, "/api/tasks")  # type: ignore[attr-defined]


async def run_asgi(headers: list[tuple[bytes, bytes]], answered: list[tuple[bytes, bytes]]) -> tuple[Scope, Message]:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen["scope"] = scope
        await send({"type": "http.response.start", "status": 200, "headers": answered})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        seen["sent"] = message

    await RequestIds(app)({"type": "http", "headers": headers}, receive, send)
    return seen["scope"], seen["sent"]


async def test_it_hands_one_id_down_and_returns_it() -> None:
    scope, sent = await run_asgi([(b"x-request-id", b"bad id"), (b"x-request-id", b"also-offered")], [])
    ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
    assert len(ids) == 1
    assert sent["headers"] == [(b"x-request-id", ids[0])]


async def test_it_does_not_return_the_id_twice() -> None:
    _, sent = await run_asgi([], [(b"x-request-id", b"set-by-django")])
    assert sent["headers"] == [(b"x-request-id", b"set-by-django")]
