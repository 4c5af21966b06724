"""What stands between the network and Django: bounds on heads and bodies, and a body that is whole.

A WSGI thread is scarce (there are four), so none may wait for a slow client: the body is read here, on the
loop, before a thread is given to the request, and the answer is queued here after the thread has gone on.
"""

import asyncio
import re
from http import HTTPStatus
from typing import Any, override
from urllib.parse import quote

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from orchestrator_site.draining import is_draining
from orchestrator_site.logs import get_request_id
from orchestrator_site.middleware import AsgiApp, Message, Receive, Scope, Send

MAX_HEAD_BYTES = 64_000
HEAD_TIMEOUT_SECONDS = 30.0
MAX_BODY_BYTES = 12_000_000  # an upload of 10 MB and its multipart frame
MAX_WAITING_BYTES = 100_000_000  # all bodies being received at once
BODY_TIMEOUT_SECONDS = 30.0

_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_LENGTH = re.compile(rb"\d{1,12}")


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with bounds on the request's head, in size and in time, which it lacks."""

    _head_bytes = 0
    _in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is larger than 64 kB.")

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._await_head()

    @override
    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if is_draining() and self.cycle is not None:
            self.cycle.keep_alive = False  # the next request goes over a connection to somebody who stays
        self._in_head = False
        self._stop_waiting()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class BoundedSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket protocol with an end for a client that does not read, whose connection it would keep.

    A closing that cannot be sent, because the client has not read what came before, waits `cut_seconds`; then the
    connection is cut, and what was still to be sent is forgotten.
    """

    cut_seconds = 10.0

    @override
    async def send(self, message: Any) -> None:
        if message["type"] != "websocket.close":
            await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        if self.writable.is_set():
            await super().send(message)
            return
        self.writable.set()  # super would wait for it, and so for the client
        await super().send(message)
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(self.cut_seconds, self.transport.abort)

    @override
    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(self.cut_seconds, self.transport.abort)


class RefusedBodyError(Exception):
    """The body cannot be taken; `status` and `code` say why to the client."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class BodyGuard:
    """ASGI: receive a bounded body in bounded time, then call `app` with the whole of it.

    The head that `app` sees is made unambiguous: an exact Content-Length, no Transfer-Encoding, no header with
    an underscore (WSGI would take `X_Real_IP` for `X-Real-IP`), and a query string of ASCII.
    """

    def __init__(
        self,
        app: AsgiApp,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        timeout_seconds: float = BODY_TIMEOUT_SECONDS,
    ) -> None:
        self.app = app
        self._max_body_bytes = max_body_bytes
        self._max_waiting_bytes = max_waiting_bytes
        self._timeout_seconds = timeout_seconds
        self._waiting_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            await self.app(_plain_scope(scope, length=None), receive, send)
            return
        try:
            body = await self._receive_body(headers.get(b"content-length"), receive)
        except RefusedBodyError as error:
            await send_problem(send, error.status, code=error.code, detail=str(error), close=True)
            return
        if body is not None:
            await self.app(_plain_scope(scope, length=len(body)), _replay(body, receive), send)

    async def _receive_body(self, declared: bytes | None, receive: Receive) -> bytes | None:
        """Return the body, or None if the client went away before it was whole."""
        if declared is not None and (not _LENGTH.fullmatch(declared) or int(declared) > self._max_body_bytes):
            raise self._too_large()
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return b"".join(chunks) if await self._fill(chunks, receive) else None
        except TimeoutError:
            detail = f"The body had not arrived after {self._timeout_seconds:g} s; nothing was done. Send it again."
            raise RefusedBodyError(HTTPStatus.REQUEST_TIMEOUT, "body_timeout", detail) from None
        finally:
            self._waiting_bytes -= sum(map(len, chunks))

    async def _fill(self, chunks: list[bytes], receive: Receive) -> bool:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            chunk = message.get("body", b"")
            chunks.append(chunk)
            size += len(chunk)
            self._waiting_bytes += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large()
            if self._waiting_bytes > self._max_waiting_bytes:
                detail = "Too many large requests are being received; nothing was done. Try again in a moment."
                raise RefusedBodyError(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", detail)
            if not message.get("more_body", False):
                return True

    def _too_large(self) -> RefusedBodyError:
        detail = f"The body is larger than {self._max_body_bytes:,} bytes, or its length is not a number."
        return RefusedBodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail)


def _plain_scope(scope: Scope, *, length: int | None) -> dict[str, Any]:
    dropped = {b"content-length", b"transfer-encoding"}
    headers = [(name, value) for name, value in scope["headers"] if name not in dropped and b"_" not in name]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    query: bytes = scope["query_string"]
    if not query.isascii():
        query = quote(query, safe=_ASCII).encode()
    return {**scope, "headers": headers, "query_string": query}


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


async def send_problem(send: Send, status: HTTPStatus, *, code: str, detail: str, close: bool = False) -> None:
    """Answer with an RFC 9457 problem document; `close` ends the connection, for a body that was not read."""
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        "requestId": get_request_id(),
    }
    headers = [(b"content-type", b"application/problem+json")]
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send_body(send, status, body=orjson.dumps(problem), headers=[*headers, *[(b"connection", b"close")] * close])


async def send_body(send: Send, status: HTTPStatus, *, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Answer with `body` as a whole."""
    headers = [*headers, (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body})
