"""Sockets and streams through a real uvicorn, with real clients."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
import websockets
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings as django_settings
from django.urls import re_path

from audit import access, bell
from audit.events import EventType
from audit.live import consumers, streams
from audit.live.consumers import ConsoleConsumer
from audit.live.seats import _seats as all_seats
from audit.live.streams import TaskEventsConsumer
from audit.sequencer import Sequencer
from orchestrator_site.front import BoundedSocketProtocol
from tests.audit_cast import open_session, record_events, wait_until
from tests.live_cast import frame_of, open_deaf

pytestmark = pytest.mark.django_db(transaction=True)

STUCK_FRAME = b"\x88\x02" + consumers.STUCK.to_bytes(2)


async def let_all_in(headers: Any, task_id: str) -> None:
    return None


@pytest.fixture
def address(audit_store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the server and the sequencer, each in a thread; give host and port."""
    monkeypatch.setattr(access, "may_read", lambda user: True)
    monkeypatch.setattr(access, "check_stream", let_all_in)
    application = ProtocolTypeRouter(
        {
            "http": URLRouter([re_path(r"^api/tasks/(?P<task_id>[^/]+)/events$", TaskEventsConsumer.as_asgi())]),
            "websocket": AuthMiddlewareStack(URLRouter([re_path("^ws/console/$", ConsoleConsumer.as_asgi())])),
        }
    )
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application, ws=BoundedSocketProtocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    stop = threading.Event()
    threads = [
        threading.Thread(target=asyncio.run, args=(server.serve([listener]),)),
        threading.Thread(target=Sequencer("one").run_forever, args=(stop,)),
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.started)
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    stop.set()
    bell.recorded.ring()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def cookie(db: None) -> str:
    return f"{django_settings.SESSION_COOKIE_NAME}={open_session('olga')}"


def connect(address: str, cookie: str = "") -> Any:
    return websockets.connect(
        f"ws://{address}/ws/console/",
        origin=websockets.Origin(f"http://{address}"),
        additional_headers={"Cookie": cookie},
    )


async def test_a_browser_gets_events_as_they_are_shipped(address: str, cookie: str) -> None:
    async with connect(address, cookie) as tab:
        await tab.send(json.dumps({"op": "hello", "last": 0}))
        assert json.loads(await tab.recv())["op"] == "hello"
        await asyncio.to_thread(record_events, 50)
        received: list[int] = []
        async with asyncio.timeout(10):
            while len(received) < 51:
                received += [item["seq"] for item in json.loads(await tab.recv()).get("items", [])]
        assert received == list(range(1, 52))  # the first tells of the user


async def test_close_codes_reach_the_browser(address: str, cookie: str) -> None:
    async with connect(address) as tab:
        with pytest.raises(websockets.ConnectionClosed):
            await tab.recv()
        assert tab.close_code == consumers.SIGNED_OUT
    async with connect(address, cookie) as tab:
        await tab.send("junk")
        with pytest.raises(websockets.ConnectionClosed):
            await tab.recv()
        assert tab.close_code == consumers.JUNK


async def test_another_origin_gets_no_socket(address: str, cookie: str) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(
            f"ws://{address}/ws/console/",
            origin=websockets.Origin("http://evil.test"),
            additional_headers={"Cookie": cookie},
        )


async def test_a_stream_over_http_ends_with_its_task_and_notices_who_leaves(address: str) -> None:
    host, port = address.split(":")
    request = f"GET /api/tasks/t-1/events HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
    leaver = await asyncio.open_connection(host, int(port))
    stayer = await asyncio.open_connection(host, int(port))
    await asyncio.to_thread(record_events, 1, task_id="t-1", type=EventType.TASK_SUBMITTED)
    for reader, writer in (leaver, stayer):
        writer.write(request)
        await asyncio.wait_for(reader.readuntil(b"event: task.submitted"), 5)
    assert len(streams._open_streams) == 2
    leaver[1].close()
    await asyncio.to_thread(wait_until, lambda: len(streams._open_streams) == 1)
    await asyncio.to_thread(record_events, 1, start=1, task_id="t-1", type=EventType.TASK_SUCCEEDED)
    await asyncio.wait_for(stayer[0].readuntil(b"0\r\n\r\n"), 5)
    await asyncio.to_thread(wait_until, lambda: len(streams._open_streams) == 0)
    stayer[1].close()


async def stay_deaf(address: str, cookie: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a socket, ask for everything again and again, and read nothing of it until the server has closed it."""
    await asyncio.to_thread(record_events, 200)
    reader, writer = await open_deaf(int(address.split(":")[1]), cookie)
    await asyncio.to_thread(wait_until, lambda: seats_held() == 1)
    async with asyncio.timeout(30):
        while seats_held():
            writer.write(frame_of(b'{"op":"hello","last":0}'))
            await asyncio.sleep(0.01)
    return reader, writer


async def test_one_that_does_not_read_delays_nobody(address: str, cookie: str) -> None:
    await asyncio.to_thread(record_events, 200)
    async with connect(address, cookie) as tab:
        await tab.send('{"op":"hello","last":null,"filters":{"type":"task.failed"}}')
        _, writer = await open_deaf(int(address.split(":")[1]), cookie)
        for _ in range(150):  # some 45 kB of answers each
            writer.write(frame_of(b'{"op":"hello","last":0}'))
            await asyncio.sleep(0.01)
        assert seats_held() == 2
        await asyncio.to_thread(record_events, 1, type=EventType.TASK_FAILED, body={})
        async with asyncio.timeout(2):
            while not json.loads(await tab.recv()).get("items"):
                pass
        writer.close()


async def test_one_that_did_not_read_is_told_why_it_was_closed_if_it_reads_on(
    address: str, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConsoleConsumer, "stuck_seconds", 0.5)
    reader, writer = await stay_deaf(address, cookie)
    assert (await read_to_the_end(reader)).endswith(STUCK_FRAME)
    writer.close()


async def test_one_that_does_not_read_on_is_cut_off(address: str, cookie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConsoleConsumer, "stuck_seconds", 0.5)
    monkeypatch.setattr(BoundedSocketProtocol, "cut_seconds", 0.1)
    reader, writer = await stay_deaf(address, cookie)
    await asyncio.sleep(0.5)
    assert not (await read_to_the_end(reader)).endswith(STUCK_FRAME)
    writer.close()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the server says that it closes, or is gone."""
    read = b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            while not read.endswith(STUCK_FRAME) and (piece := await reader.read(65_536)):
                read += piece
    return read


def seats_held() -> int:
    return sum(len(held) for seats in list(all_seats.values()) for held in list(seats._held.values()))
