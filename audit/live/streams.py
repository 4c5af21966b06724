"""One task's events as a stream over HTTP (SSE): an ASGI application, so that it never holds a WSGI thread."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import orjson

from audit import access
from audit.access import Refusal
from audit.events import TERMINAL_TASK_EVENTS, EventType
from audit.exceptions import StoreUnavailable
from audit.exploring import queries
from audit.ids import new_id
from audit.live.hub import Hub, get_hub

logger = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_STREAMS: Final = 1_000
_RETRY_MILLISECONDS: Final = 2_000
_BEGINNINGS: Final = frozenset(
    {
        EventType.TASK_SUBMITTED, EventType.TASK_RETRIED, EventType.TASK_RESUMED, EventType.TASK_DELAYED,
        EventType.TASK_PARKED, EventType.RUN_STARTED,
    }
)  # fmt: skip

_open_streams: set["TaskEventsConsumer"] = set()


class TaskEventsConsumer:
    """`GET /api/tasks/<task_id>/events`: what happened, then what happens, until the task has ended.

    Each event carries its `seq` as id; a client that comes back with `Last-Event-ID` misses nothing and gets
    nothing twice. One that comes back after the end gets 204, which tells an EventSource to stay away.

    A plain ASGI callable rather than Channels' AsyncHttpConsumer, which cannot see a client leave while it sends.
    """

    heartbeat_seconds = 15.0
    recheck_seconds = 30.0

    @classmethod
    def as_asgi(cls) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Return the application for a route that captures `task_id`."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(scope, receive, send).respond()

        return application

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._task_id: str = scope["url_route"]["kwargs"]["task_id"]
        self._last_seq = 0
        self._ended = False
        self._begun = False
        self._news: asyncio.Event | None = None
        self._leaving = False  # the process ends; another serves the rest

    async def respond(self) -> None:
        """Answer the request; return when the task has ended or the client has left."""
        refusal = await self._find_refusal()
        if refusal is None and len(_open_streams) >= MAX_STREAMS:
            detail = "Too many streams are open; try later."
            refusal = _refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_streams", detail)
        if refusal is not None:
            await self._send_problem(refusal)
            return
        _open_streams.add(self)
        try:
            await self._stream_until_left()
        finally:
            _open_streams.discard(self)

    def end_soon(self) -> None:
        """End the stream after the event that is being sent; the client comes back with the last one's id."""
        self._leaving = True
        if self._news is not None:
            self._news.set()

    async def _find_refusal(self) -> Refusal | None:
        if self._scope["method"] != "GET":
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", "Only GET reads a stream.")
        refusal = await access.check_stream(self._headers, self._task_id)
        if refusal is not None:
            return refusal
        if self._scope["query_string"]:
            return _refuse(HTTPStatus.BAD_REQUEST, "query_invalid", "This route takes no query parameters.")
        last = self._headers.get("last-event-id", "").strip() or "0"
        if not (last.isascii() and last.isdigit() and len(last) < 16):
            return _refuse(HTTPStatus.BAD_REQUEST, "query_invalid", "Last-Event-ID is not the id of an event.")
        self._last_seq = int(last)
        return None

    async def _stream_until_left(self) -> None:
        streaming = asyncio.create_task(self._stream())
        leaving = asyncio.create_task(self._wait_for_disconnect())
        try:
            await asyncio.wait({streaming, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            streaming.cancel()
            leaving.cancel()
            failure, _ = await asyncio.gather(streaming, leaving, return_exceptions=True)
        if isinstance(failure, Exception):
            logger.error("event stream failed", exc_info=failure, extra={"action": "stream.failed"})
            with suppress(Exception):
                await self._end()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _stream(self) -> None:
        hub = get_hub()
        with hub.watching(self._task_id) as news:
            self._news = news
            try:
                history = await hub.run(queries.read_task, self._task_id)
            except StoreUnavailable as error:
                detail = f"{str(error).capitalize()}. Nothing is lost; come back soon."
                await self._send_problem(_refuse(HTTPStatus.SERVICE_UNAVAILABLE, error.code, detail))
                return
            self._ended = _has_ended(history)
            fresh = [event for event in history if event["seq"] > self._last_seq]
            if self._ended and not fresh:
                await self._send_start(HTTPStatus.NO_CONTENT, [])
                await self._end()
                return
            await self._begin()
            await self._send_events(fresh)
            await self._follow(hub, news)
            await self._end()

    async def _follow(self, hub: Hub, news: asyncio.Event) -> None:
        """Send what comes until the task or this process ends, or the reader may no longer read."""
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        while not self._ended and not self._leaving:
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), self.heartbeat_seconds)
            if not news.is_set():
                await self._send_body(b": still here\n\n")
            news.clear()
            if loop.time() - checked_at >= self.recheck_seconds:
                if await access.check_stream(self._headers, self._task_id) is not None:
                    return
                checked_at = loop.time()
            with suppress(StoreUnavailable):  # the hub waits for it, and the next heartbeat looks again
                events = await hub.run(queries.read_task, self._task_id, after=self._last_seq)
                self._ended = _has_ended(events)
                await self._send_events(events)

    async def _send_events(self, events: list[dict[str, Any]]) -> None:
        if not events:
            return
        self._last_seq = events[-1]["seq"]
        await self._send_body(b"".join(format_event(event) for event in events))

    async def _begin(self) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._send_start(HTTPStatus.OK, headers)
        await self._send_body(f"retry: {_RETRY_MILLISECONDS}\n\n".encode())

    async def _send_problem(self, refusal: Refusal) -> None:
        request_id = self._headers.get("x-request-id") or new_id()
        problem = {
            "type": "about:blank",
            "title": refusal.status.phrase,
            "status": refusal.status,
            "detail": refusal.detail,
            "code": refusal.code,
            "requestId": request_id,
        }
        headers = [(b"content-type", b"application/problem+json"), (b"x-request-id", request_id.encode("latin-1"))]
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"GET"))
        if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"2"))
        await self._send_start(refusal.status, headers)
        await self._send({"type": "http.response.body", "body": orjson.dumps(problem), "more_body": False})

    async def _send_start(self, status: HTTPStatus, headers: list[tuple[bytes, bytes]]) -> None:
        self._begun = True
        await self._send({"type": "http.response.start", "status": int(status), "headers": headers})

    async def _send_body(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self) -> None:
        if not self._begun:
            await self._send_problem(
                _refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something failed; it was logged.")
            )
            return
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def end_open_streams() -> None:
    """End each stream of this process between two events, so that its client asks another process for the rest."""
    for stream in tuple(_open_streams):
        stream.end_soon()


def format_event(event: Mapping[str, Any]) -> bytes:
    """Return one event as an event stream carries it: without its body, which is read where that is audited."""
    told = {key: value for key, value in event.items() if key != "body"}
    name = " ".join(str(event["type"]).split())  # one that was tampered with must not begin a line of its own
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event["seq"], name.encode(), orjson.dumps(told, default=str))


def _has_ended(events: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether the last of a task's events to begin or end it ended it; a person may have it tried again."""
    ended = False
    for event in events:
        ended = event["type"] in TERMINAL_TASK_EVENTS or (ended and event["type"] not in _BEGINNINGS)
    return ended


def _refuse(status: HTTPStatus, code: str, detail: str) -> Refusal:
    return Refusal(status=status, code=code, detail=detail)
