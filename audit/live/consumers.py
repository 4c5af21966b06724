"""The console's websocket: `hello` and `ping` in; `hello`, `ev`, `gap`, `store` and `pong` out.

Close codes: 1012 this process ends (the server's own), 1013 try again (the rights could not be checked), 4400 junk,
4401 signed out, 4403 not allowed, 4408 stuck, 4429 too many sockets of one user.
"""

import asyncio
import logging
import random
from contextlib import suppress
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth import get_user

from audit import access
from audit.live.hub import Hub, get_hub
from audit.live.items import FeedFilters, read_filters
from audit.live.seats import get_seats

logger = logging.getLogger(__name__)

TRY_AGAIN, JUNK, SIGNED_OUT, NOT_ALLOWED, STUCK, TOO_MANY = 1013, 4400, 4401, 4403, 4408, 4429
_MAX_MESSAGE_LENGTH: Final = 8_192
_MAX_AHEAD: Final = 1_000  # a page rendered from the store may be a little ahead of the hub, never this much
_GREET_WITHIN_SECONDS: Final = 2.0  # even with the store away
_QUIET_SECONDS: Final = 1.0  # how often a reader whose filters let nothing through hears of the head


class ConsoleConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One browser tab. Everything is read from the hub; nothing goes through the channel layer."""

    # No such layer: with one, every socket would keep a blocking read on Redis open.
    channel_layer_alias = "none"
    recheck_seconds = 30.0
    stuck_seconds = 30.0

    def __init__(self) -> None:
        super().__init__()
        self._tasks: list[asyncio.Task[None]] = []
        self._pump_task: asyncio.Task[None] | None = None
        self._seat: tuple[str, str] | None = None  # of whom, which
        self._store_ok = True
        self._waiting_since = 0.0  # by the loop's clock, while a frame waits for the client to read

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket to its end, and let go of everything however it ends."""
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            # Of a thousand sockets each would be an error.
            ends = "console socket: the process ends and waits no longer"
            logger.debug(ends, extra={"action": "socket.cut-off"})
        finally:
            await self._let_go()

    async def connect(self) -> None:
        """Accept and, if the user may not read, close with a code that tells the page why."""
        if not is_same_origin(self.scope):
            await self.close()
            return
        await self.accept()
        user = self.scope.get("user")
        if code := await database_sync_to_async(_refuse)(user):
            await self.close(code)
        elif seat := await get_seats().take(str(user.pk)):
            self._seat = (str(user.pk), seat)
            self._tasks.append(asyncio.create_task(self._recheck()))
        else:
            await self.close(TOO_MANY)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Obey one message; anything that is none closes the socket."""
        if self._seat is None:
            return
        try:
            await self._obey(_read_message(text_data))
        except ValueError:
            await self.close(JUNK)
        except TimeoutError:
            await self._close_in_time(STUCK)
        except OSError:
            pass  # the client has left, which the next message says

    async def _let_go(self) -> None:
        tasks = [*self._tasks, *filter(None, [self._pump_task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._seat is not None:
            seat, self._seat = self._seat, None
            await get_seats().leave(*seat)

    async def _obey(self, message: dict[str, Any]) -> None:
        if message == {"op": "ping"}:
            await self._send_in_time('{"op":"pong"}')
        elif message["op"] == "hello" and message.keys() <= {"op", "last", "filters"}:
            last = message.get("last")
            if last is not None and (type(last) is not int or not 0 <= last < 2**53):
                raise ValueError("last is not a number of an event")
            await self._greet(last, read_filters(message.get("filters") or {}))
        else:
            raise ValueError("unknown op")

    async def _greet(self, last: int | None, filters: FeedFilters) -> None:
        """Start to send what comes after `last`; a second hello changes the filters."""
        if self._pump_task is not None:
            self._pump_task.cancel()
            await asyncio.gather(self._pump_task, return_exceptions=True)
        self._pump_task = asyncio.create_task(self._pump(last, filters))

    async def _pump(self, last: int | None, filters: FeedFilters) -> None:
        """Bring this reader up to the hub, again and again; one that does not read stalls only its own pump."""
        hub = get_hub()
        try:
            with hub.reading():
                await hub.wait_ready(_GREET_WITHIN_SECONDS)
                head = hub.head if hub.is_ready else last or 0
                await self._send_in_time(orjson.dumps({"op": "hello", "head": head}).decode())
                await self._tell_of_store(hub)
                await hub.wait_ready()
                cursor = hub.head if last is None or last > hub.head + _MAX_AHEAD else last
                await self._follow(hub, cursor, filters)
        except TimeoutError:
            await self._close_in_time(STUCK)
        except OSError:
            pass  # the client has left
        except Exception:
            logger.exception("console socket failed", extra={"action": "socket.failed"})
            await self._close_in_time(1011)

    async def _follow(self, hub: Hub, cursor: int, filters: FeedFilters) -> None:
        loop = asyncio.get_running_loop()
        told_at = 0.0
        while True:
            version = hub.version
            await self._tell_of_store(hub)
            batch, head = hub.collect(cursor, filters), hub.head
            if batch.frames and (batch.tells or loop.time() - told_at >= _QUIET_SECONDS):
                for frame in batch.frames:
                    await self._send_in_time(frame)
                told_at = loop.time()
            cursor = max(cursor, head)
            await hub.wait_change(version)

    async def _tell_of_store(self, hub: Hub) -> None:
        """Say that the store is away or back, when that is not what was said last."""
        if hub.store_ok is not self._store_ok:
            self._store_ok = hub.store_ok
            notice = {"op": "store", "ok": hub.store_ok, "at": hub.store_changed_at}
            await self._send_in_time(orjson.dumps(notice).decode())

    async def _send_in_time(self, text: str) -> None:
        """Send, or raise TimeoutError; one who asks anew while a frame waits gets no longer time to read it."""
        self._waiting_since = self._waiting_since or asyncio.get_running_loop().time()
        async with asyncio.timeout_at(self._waiting_since + self.stuck_seconds):
            await self.send(text)
        self._waiting_since = 0.0

    async def _close_in_time(self, code: int) -> None:
        with suppress(OSError, RuntimeError):  # it is closed, or does not read: the server cuts it off
            async with asyncio.timeout(1.0):
                await self.close(code)

    async def _recheck(self) -> None:
        """A socket would otherwise outlive the session, the account and the role that it was opened with."""
        session = self.scope.get("session")
        session_key = getattr(session, "session_key", None)
        while True:
            await asyncio.sleep(self.recheck_seconds * random.uniform(0.8, 1.0))  # noqa: S311  (spreads the load)
            try:
                code = await database_sync_to_async(_refuse_session)(session_key)
            except Exception:
                logger.exception(
                    "console socket: the session could not be checked", extra={"action": "socket.unchecked"}
                )
                code = TRY_AGAIN
            if code:
                if self._pump_task is not None:
                    self._pump_task.cancel()
                await self._close_in_time(code)
                return


def is_same_origin(scope: dict[str, Any]) -> bool:
    """Tell whether a socket was opened by a page of this very host and port."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    origin = urlsplit(headers.get(b"origin", ""))
    return bool(origin.netloc) and origin.netloc.lower() == headers.get(b"host", "").lower()


def _refuse(user: Any) -> int:
    """Return the code to close with, 0 if the user may read."""
    if user is None or not user.is_authenticated or not user.is_active:
        return SIGNED_OUT
    return 0 if access.may_read(user) else NOT_ALLOWED


def _refuse_session(session_key: str | None) -> int:
    """Return the code to close with, 0 if the session is still alive and its user may still read."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return _refuse(get_user(SimpleNamespace(session=store)))  # type: ignore[arg-type]


def _read_message(text: str | None) -> dict[str, Any]:
    """Return a client's message.

    Raises: ValueError if it is not a JSON object with a text `op`, or too long.
    """
    if text is None or len(text) > _MAX_MESSAGE_LENGTH:
        raise ValueError("not a short text message")
    message = orjson.loads(text)
    if not isinstance(message, dict) or not isinstance(message.get("op"), str):
        raise ValueError("not a message")
    return message
