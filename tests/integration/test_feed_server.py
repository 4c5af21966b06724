"""Sockets and streams through a real uvicorn, with real clients."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
import websockets
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings as django_settings
from django.urls import re_path

from audit import access, bell, consumers, streams
from audit.consumers import ConsoleConsumer, TaskEventsConsumer
from audit.sequencer import Sequencer
from tests.audit_cast import open_session, record_events, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


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
    server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_config=None))
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
            while len(received) < 50:
                received += [item["seq"] for item in json.loads(await tab.recv()).get("items", [])]
        assert received == list(range(1, 51))


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
    await asyncio.to_thread(record_events, 1, task_id="t-1", type="task.submitted")
    for reader, writer in (leaver, stayer):
        writer.write(request)
        await asyncio.wait_for(reader.readuntil(b"event: task.submitted"), 5)
    assert len(streams._open_streams) == 2
    leaver[1].close()
    await asyncio.to_thread(wait_until, lambda: len(streams._open_streams) == 1)
    await asyncio.to_thread(record_events, 1, start=1, task_id="t-1", type="task.succeeded")
    await asyncio.wait_for(stayer[0].readuntil(b"0\r\n\r\n"), 5)
    await asyncio.to_thread(wait_until, lambda: len(streams._open_streams) == 0)
    stayer[1].close()
