"""The bounds on heads and bodies, against fakes of the server's side."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest
import uvicorn

from orchestrator_site.front import MAX_HEAD_BYTES, BodyGuard, BoundedHttpProtocol
from orchestrator_site.middleware import Message, Receive, Scope, Send

type Headers = list[tuple[bytes, bytes]]


class EchoApp:
    """Remember the scope and the body it was called with."""

    def __init__(self) -> None:
        self.scope: Scope = {}
        self.body: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def call(
    guard: BodyGuard, headers: Headers, *chunks: bytes, query: bytes = b"", end: bool = True
) -> list[Message]:
    """Send a request in `chunks`; without `end` the client never finishes."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if end and waiting:
        waiting[-1]["more_body"] = False
    sent: list[Message] = []

    async def receive() -> MutableMapping[str, Any]:
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(60)
        raise AssertionError("nobody reads this long")

    async def send(message: Message) -> None:
        sent.append(message)

    await guard({"type": "http", "headers": headers, "query_string": query}, receive, send)
    return sent


def problem_of(sent: list[Message]) -> tuple[int, str]:
    return sent[0]["status"], orjson.loads(sent[1]["body"])["code"]


async def test_it_hands_on_a_body_that_came_in_pieces_as_one() -> None:
    app = EchoApp()
    await call(BodyGuard(app), [(b"content-length", b"6")], b"abc", b"def")
    assert app.body == b"abcdef"


async def test_it_gives_a_chunked_body_its_length() -> None:
    app = EchoApp()
    await call(BodyGuard(app), [(b"transfer-encoding", b"chunked")], b"abc", b"de")
    assert app.scope["headers"] == [(b"content-length", b"5")]


async def test_it_drops_headers_that_pose_as_others() -> None:
    app = EchoApp()
    headers = [(b"x_request_id", b"spoofed"), (b"x-request-id", b"real"), (b"content-length", b"1")]
    await call(BodyGuard(app), headers, b"x")
    assert app.scope["headers"] == [(b"x-request-id", b"real"), (b"content-length", b"1")]


async def test_it_quotes_a_query_that_is_not_ascii() -> None:
    app = EchoApp()
    await call(BodyGuard(app), [(b"content-length", b"1")], b"x", query=b"q=a%20b&c=\xff\xc3\xa9")
    assert app.scope["query_string"] == b"q=a%20b&c=%FF%C3%A9"


@pytest.mark.parametrize("declared", [b"11", b"-1", b"1e1", b"99999999999999999999", b""])
async def test_it_refuses_a_declared_length_without_reading(declared: bytes) -> None:
    sent = await call(BodyGuard(EchoApp(), max_body_bytes=10), [(b"content-length", declared)])
    assert problem_of(sent) == (413, "body_too_large")
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_it_refuses_an_undeclared_body_once_it_is_too_large() -> None:
    guard = BodyGuard(EchoApp(), max_body_bytes=10)
    assert problem_of(await call(guard, [(b"transfer-encoding", b"chunked")], b"x" * 6, b"x" * 6)) == (
        413,
        "body_too_large",
    )


async def test_it_gives_up_on_a_body_that_does_not_arrive() -> None:
    guard = BodyGuard(EchoApp(), timeout_seconds=0.05)
    assert problem_of(await call(guard, [(b"content-length", b"9")], b"slow", end=False)) == (408, "body_timeout")


async def test_it_refuses_more_waiting_bodies_than_fit_and_takes_the_next() -> None:
    guard = BodyGuard(EchoApp(), max_waiting_bytes=10, timeout_seconds=0.2)
    slow = asyncio.create_task(call(guard, [(b"content-length", b"9")], b"12345678", end=False))
    await asyncio.sleep(0)
    assert problem_of(await call(guard, [(b"content-length", b"3")], b"123")) == (503, "overloaded")
    assert problem_of(await slow)[0] == 408
    assert (await call(guard, [(b"content-length", b"3")], b"123"))[0]["status"] == 200


async def test_it_says_nothing_to_a_client_that_went_away() -> None:
    app = EchoApp()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    headers = [(b"content-length", b"5")]
    await BodyGuard(app)({"type": "http", "headers": headers, "query_string": b""}, receive, send)
    assert app.body is None


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("a request that never had a whole head")


async def send_head(head: bytes) -> bytes:
    """Send what is no whole head, and return what comes until the server ends the connection."""
    config = uvicorn.Config(never, lifespan="off", log_config=None)
    state = uvicorn.server.ServerState()

    def make() -> BoundedHttpProtocol:
        return BoundedHttpProtocol(config, state, {})

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
    return answer


async def test_it_ends_a_connection_whose_head_is_too_long() -> None:
    answer = await send_head(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * (MAX_HEAD_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"64 kB" in answer


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
async def test_it_ends_a_connection_whose_head_does_not_come(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator_site.front.HEAD_TIMEOUT_SECONDS", 0.1)
    assert await send_head(head) == b""
