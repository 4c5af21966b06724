"""The console's websocket, end to end: who may open it, what it says, and when it closes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from bson.datetime_ms import DatetimeMS
from channels.auth import AuthMiddlewareStack
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from audit import access
from audit.events import EventType
from audit.live import consumers, hub
from audit.live.consumers import ConsoleConsumer
from audit.live.items import FeedFilters
from audit.live.seats import get_seats
from audit.models import LedgerEvent
from audit.sequencer import Sequencer
from tests.audit_cast import open_session, record_events

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = "http://console.test:3000"
APPLICATION = AuthMiddlewareStack(ConsoleConsumer.as_asgi())


@pytest.fixture(autouse=True)
def readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody read but Mallory."""
    monkeypatch.setattr(access, "may_read", lambda user: user.username != "mallory")


@pytest.fixture
async def hub_stopped() -> AsyncIterator[None]:
    yield
    await hub.get_hub().stop()


@pytest.fixture
def trail(audit_store: Any) -> Any:
    """Give a function that records events and ships them at once."""
    sequencer = Sequencer("one")

    def add(count: int, *, start: int = 0, **changes: Any) -> None:
        record_events(count, start=start, **changes)
        while sequencer.step():
            pass

    for name in ("olga", "ana"):
        open_session(name)
    LedgerEvent.objects.all().delete()  # the trail begins after its readers were made
    add(5)
    return sync_to_async(add)


class Tab:
    """One browser tab's socket. (channels.testing wants daphne, which is not the server here.)"""

    def __init__(self, cookie: str = "", *, origin: str | None = ORIGIN, host: str = "console.test:3000") -> None:
        headers = [(b"host", host.encode())]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        if cookie:
            headers.append((b"cookie", f"{django_settings.SESSION_COOKIE_NAME}={cookie}".encode()))
        self.scope = {
            "type": "websocket",
            "path": "/ws/console/",
            "headers": headers,
            "query_string": b"",
            "subprotocols": [],
        }
        self.socket = ApplicationCommunicator(APPLICATION, self.scope)

    async def open(self) -> bool:
        await self.socket.send_input({"type": "websocket.connect"})
        answer: dict[str, Any] = await self.socket.receive_output(timeout=30)
        return bool(answer["type"] == "websocket.accept")

    async def say(self, **message: Any) -> None:
        await self.socket.send_input({"type": "websocket.receive", "text": json.dumps(message)})

    async def hear(self) -> dict[str, Any]:
        message = await self.socket.receive_output(timeout=30)
        assert message["type"] == "websocket.send", message
        return dict(json.loads(message["text"]))

    async def hear_close(self) -> int:
        message = await self.socket.receive_output(timeout=30)
        assert message["type"] == "websocket.close", message
        await self.close()
        return int(message.get("code", 1000))

    async def close(self) -> None:
        await self.socket.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.socket.wait(timeout=30)


async def open_tab(name: str = "olga", **hello: Any) -> Tab:
    tab = Tab(await sync_to_async(open_session)(name))
    assert await tab.open()
    if hello:
        await tab.say(op="hello", **hello)
    return tab


def seqs(frame: dict[str, Any]) -> list[int]:
    return [item["seq"] for item in frame["items"]]


async def test_it_greets_replays_and_goes_on_live(trail: Any, hub_stopped: None) -> None:
    tab = await open_tab(last=3)
    assert await tab.hear() == {"op": "hello", "head": 5}
    frame = await tab.hear()
    assert (frame["op"], seqs(frame), frame["head"], frame["skipped"]) == ("ev", [4, 5], 5, 0)
    await trail(2, start=5)
    frame = await tab.hear()
    assert (seqs(frame), frame["head"]) == ([6, 7], 7)
    assert frame["items"][0]["text"] == "called normalizer"
    await tab.say(op="ping")
    assert await tab.hear() == {"op": "pong"}
    await tab.close()


async def test_a_date_that_no_calendar_has_does_not_stop_it(trail: Any, audit_store: Any, hub_stopped: None) -> None:
    await sync_to_async(break_document)(audit_store)
    tab = await open_tab(last=0)
    assert (await tab.hear())["op"] == "hello"
    assert seqs(await tab.hear()) == [1, 2, 3, 4, 5]
    await tab.close()


def break_document(collection: Any) -> None:
    """Put the third event back with a date that Python cannot hold."""
    document = collection.find_one_and_delete({"seq": 3})
    collection.insert_one(document | {"when": DatetimeMS(2**62), "reason": DatetimeMS(2**62)})


async def test_without_last_it_starts_at_the_head(trail: Any, hub_stopped: None) -> None:
    tab = await open_tab(last=None)
    assert await tab.hear() == {"op": "hello", "head": 5}
    await trail(1, start=5)
    assert seqs(await tab.hear()) == [6]
    await tab.close()


async def test_forced_reconnects_miss_and_double_nothing(trail: Any, hub_stopped: None) -> None:
    received: list[int] = []
    last = 0
    for round_ in range(8):
        tab = await open_tab(last=last)
        await tab.hear()
        await trail(3, start=5 + 3 * round_)
        while last < 5 + 3 * (round_ + 1):
            frame = await tab.hear()
            received += seqs(frame)
            last = frame["head"]
        await tab.close()
    assert received == list(range(1, 30))


async def test_filters_narrow_to_one_task_and_a_second_hello_changes_them(trail: Any, hub_stopped: None) -> None:
    tab = await open_tab(last=0, filters={"taskId": "t-2"})
    await tab.hear()
    assert seqs(await tab.hear()) == [3]
    await tab.say(op="hello", last=0, filters={"taskId": ["t-0", "t-4"]})
    await tab.hear()
    assert seqs(await tab.hear()) == [1, 5]
    await tab.close()


async def test_the_head_advances_over_what_is_filtered_out(trail: Any, hub_stopped: None) -> None:
    tab = await open_tab(last=5, filters={"agentId": "nobody"})
    await tab.hear()
    await trail(1, start=5)
    frame = await tab.hear()
    assert (frame["items"], frame["head"]) == ([], 6)
    await tab.close()


async def test_whoever_looks_at_one_task_hears_when_the_badges_change(trail: Any, hub_stopped: None) -> None:
    tab = await open_tab(last=5, filters={"taskId": "another"})
    await tab.hear()
    await trail(1, start=5)
    assert not (await tab.hear())["counts"]
    for start in range(6, 9):  # at once each time, not once a second
        await trail(1, start=start, type=EventType.APPROVAL_ASKED)
        async with asyncio.timeout(0.9):
            frame = await tab.hear()
        assert (frame["items"], frame["counts"]) == ([], True)
    await tab.close()


async def test_the_anonymous_are_turned_away(audit_store: Any) -> None:
    tab = Tab()
    assert await tab.open()
    assert await tab.hear_close() == consumers.SIGNED_OUT


async def test_one_without_the_right_is_turned_away(audit_store: Any) -> None:
    assert await (await open_tab("mallory")).hear_close() == consumers.NOT_ALLOWED


async def test_by_default_nobody_may_read(monkeypatch: pytest.MonkeyPatch, audit_store: Any) -> None:
    monkeypatch.setattr(access, "may_read", access._nobody)
    assert await (await open_tab()).hear_close() == consumers.NOT_ALLOWED


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.test", "http://console.test:4000", "http://console.test"]
)
async def test_a_page_of_another_origin_is_refused(origin: str | None, audit_store: Any) -> None:
    tab = Tab(await sync_to_async(open_session)("olga"), origin=origin)
    assert not await tab.open()


@pytest.mark.parametrize(
    "text",
    [
        "", "junk", "[]", "1", "{}", '{"op":1}', '{"op":"shout"}', '{"op":"hello","last":-1}',
        '{"op":"hello","last":1.5}', '{"op":"hello","last":true}', '{"op":"hello","last":9007199254740992}',
        '{"op":"hello","filters":[1]}', '{"op":"hello","filters":{"nope":"x"}}', '{"op":"ping","extra":1}',
        '{"op":"hello","last":NaN}', "[" * 5000, '{"op":"' + "x" * 9000 + '"}',
    ],
)  # fmt: skip
async def test_junk_closes_the_socket(text: str, audit_store: Any) -> None:
    tab = await open_tab()
    await tab.socket.send_input({"type": "websocket.receive", "text": text})
    assert await tab.hear_close() == consumers.JUNK


async def test_bytes_close_the_socket(audit_store: Any) -> None:
    tab = await open_tab()
    await tab.socket.send_input({"type": "websocket.receive", "bytes": b'{"op":"ping"}'})
    assert await tab.hear_close() == consumers.JUNK


async def test_a_user_may_hold_ten_sockets(audit_store: Any) -> None:
    tabs = [await open_tab() for _ in range(10)]
    assert await (await open_tab()).hear_close() == consumers.TOO_MANY
    other = await open_tab("ana")
    await tabs.pop().close()
    tabs += [await open_tab(), other]
    await tabs[-2].say(op="ping")
    assert await tabs[-2].hear() == {"op": "pong"}
    for tab in tabs:
        await tab.close()
    assert not get_seats()._held


async def test_it_does_not_outlive_the_session(audit_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConsoleConsumer, "recheck_seconds", 0.05)
    cookie = await sync_to_async(open_session)("olga")
    tab = Tab(cookie)
    assert await tab.open()
    await asyncio.sleep(0.2)
    await tab.say(op="ping")
    assert await tab.hear() == {"op": "pong"}
    from django.contrib.sessions.models import Session

    await Session.objects.all().adelete()
    assert await tab.hear_close() == consumers.SIGNED_OUT


async def test_it_does_not_outlive_the_account_or_the_right(audit_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConsoleConsumer, "recheck_seconds", 0.05)
    tab = await open_tab()
    await get_user_model().objects.filter(username="olga").aupdate(is_active=False)
    assert await tab.hear_close() == consumers.SIGNED_OUT
    tab = await open_tab("ana")
    monkeypatch.setattr(access, "may_read", lambda user: False)
    assert await tab.hear_close() == consumers.NOT_ALLOWED


async def test_a_check_that_fails_signs_nobody_out(audit_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConsoleConsumer, "recheck_seconds", 0.05)
    tab = await open_tab()
    await tab.say(op="ping")
    assert await tab.hear() == {"op": "pong"}

    def fail(user: Any) -> bool:
        raise DatabaseError

    monkeypatch.setattr(access, "may_read", fail)
    assert await tab.hear_close() == consumers.TRY_AGAIN


async def test_a_client_that_leaves_while_it_is_answered_leaves_nothing_behind(trail: Any, hub_stopped: None) -> None:
    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "websocket.disconnect", "code": 1006}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            raise OSError("the client has left")

    messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": '{"op":"ping"}'}]
    tab = Tab(await sync_to_async(open_session)("olga"))
    await APPLICATION(tab.scope, receive, send)
    assert not get_seats()._held


async def test_a_page_that_is_a_little_ahead_of_the_hub_gets_no_doubles(trail: Any, hub_stopped: None) -> None:
    tab = await open_tab(last=7)
    assert await tab.hear() == {"op": "hello", "head": 5}
    await trail(4, start=5)
    received: list[int] = []
    while (not received) or received[-1] < 9:
        received += seqs(await tab.hear())
    assert received == [8, 9]
    await tab.close()


async def test_with_the_store_away_it_greets_and_says_so(
    audit_store: Any, settings: Any, hub_stopped: None, mongodb: str
) -> None:
    from audit import documents

    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true"
    documents.disconnect()
    tab = await open_tab(last=3)
    assert await tab.hear() == {"op": "hello", "head": 3}
    notice = await tab.hear()
    assert (notice["op"], notice["ok"]) == ("store", False)
    settings.MONGODB_URI = mongodb
    assert (await tab.hear())["ok"] is True
    await tab.close()


async def test_a_reader_that_is_stuck_is_let_go(trail: Any, hub_stopped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConsoleConsumer, "stuck_seconds", 0.2)
    closed: list[int] = []

    class Stuck(ConsoleConsumer):
        async def send(self, text_data: Any = None, bytes_data: Any = None, close: bool = False) -> None:
            await asyncio.sleep(60)

        async def close(self, code: Any = None, reason: Any = None) -> None:
            closed.append(code)

    consumer = Stuck()
    consumer._store_ok = True
    await asyncio.wait_for(consumer._pump(0, FeedFilters()), 5)
    assert closed == [consumers.STUCK]
