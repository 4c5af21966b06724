"""The stream of an export: an ASGI application, so that a slow client holds no WSGI thread and nothing piles up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final

from channels.db import DatabaseSyncToAsync
from django.utils import timezone

from audit import access
from audit.background import Lost
from audit.exceptions import RunUnknown, StoreUnavailable
from audit.exploring.exporting import Export, take_export

logger = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATIENCE_SECONDS: Final = 30.0  # for a client that does not read
_threads = ThreadPoolExecutor(2, "export")


class _Left(Exception):
    """The client has gone, or does not read."""


class ExportDownload:
    """`GET /audit/export/<run_id>/entries`: an ordered export, once, to whoever ordered it.

    What is cut off ends without its last line and without the end of its HTTP body; it is recorded as interrupted.
    """

    patience_seconds = PATIENCE_SECONDS

    @classmethod
    def as_asgi(cls) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Return the application for a route that captures `run_id`, behind the session's middleware."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(scope, receive, send).respond()

        return application

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._user: Any = scope["user"]
        self._run_id: str = scope["url_route"]["kwargs"]["run_id"]

    async def respond(self) -> None:
        """Answer the request; return when the export is whole or the client has left."""
        if self._scope["method"] != "GET":
            await self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET fetches an export.")
            return
        try:
            export = await _run(self._take)
        except RunUnknown as error:
            await self._refuse(HTTPStatus.NOT_FOUND, str(error))
            return
        if export is None:
            await self._refuse(HTTPStatus.FORBIDDEN, "It needs the permission audit:export.")
            return
        await self._stream(export)

    def _take(self) -> Export | None:
        if not access.may_export(self._user):
            return None
        export = take_export(self._run_id, asked_by=str(self._user.get_username()), now=timezone.now())
        if export.run.details["payload"] and not access.may_read_payload(self._user):
            export.give_up("the right to read payloads was taken away")
            return None
        return export

    async def _stream(self, export: Export) -> None:
        sending = asyncio.create_task(self._send_all(export))
        leaving = asyncio.create_task(self._wait_for_disconnect())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            failure, _ = await asyncio.gather(sending, leaving, return_exceptions=True)
        if failure is not None:
            await _run(export.give_up, _describe(failure))

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _send_all(self, export: Export) -> None:
        run, headers = export.run, [
            (b"content-type", export.content_type.encode()),
            (b"content-disposition", b'attachment; filename="%s"' % export.file_name.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-accel-buffering", b"no"),
        ]  # fmt: skip
        await self._put({"type": "http.response.start", "status": 200, "headers": headers})
        parts = export.parts()
        while (part := await _run(_next, parts)) is not None:
            await self._put({"type": "http.response.body", "body": part, "more_body": True})
        last = await _run(export.finish)
        await self._put({"type": "http.response.body", "body": last, "more_body": False})
        logger.info("an export is complete", extra={"action": "export.complete", "run_id": run.id})

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            await asyncio.wait_for(self._send(message), self.patience_seconds)
        except TimeoutError as error:
            raise _Left(f"the client did not read for {self.patience_seconds:g} s") from error

    async def _refuse(self, status: HTTPStatus, detail: str) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": int(status), "headers": headers})
        await self._send({"type": "http.response.body", "body": f"{detail}\n".encode(), "more_body": False})


async def _run(function: Callable[..., Any], *args: Any) -> Any:
    return await DatabaseSyncToAsync(function, thread_sensitive=False, executor=_threads)(*args)


def _next(parts: Iterator[bytes]) -> bytes | None:
    return next(parts, None)


def _describe(failure: BaseException) -> str:
    if isinstance(failure, asyncio.CancelledError):
        return "the client left"
    if isinstance(failure, StoreUnavailable | _Left | Lost):
        return str(failure) or "it took too long"
    logger.error("an export failed", exc_info=failure, extra={"action": "export.failed"})
    return f"{type(failure).__name__}: {failure}"
