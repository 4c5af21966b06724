"""Web processes behind a proxy that are restarted one after the other, while many ask and many look on."""

import asyncio
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import orjson

from tests import servers
from tests.bench.live_readers import Readers, Tab, wait_until
from tests.bench.orders import NORMALISE
from tests.deploy.scale_cast import run_proxy
from tests.live_cast import LiveTown, handshake_of, run_live_town
from tests.running import START_SECONDS

WEBS, SOCKETS_A_USER, USERS = 3, 5, 20
REQUESTS_PER_SECOND, ORDER_EACH = 50, 5  # each fifth is an order, and so an event; the others read
DRAIN_SECONDS = 4  # the proxy looks once a second, and believes what it has seen twice
GRACE_SECONDS = 5


@dataclass(kw_only=True)
class Rolling:
    """The installation; all goes through the proxy's port."""

    folder: Path
    town: LiveTown
    port: int
    token: str
    cookies: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def run_rolling() -> Iterator[Rolling]:
    """Run web processes behind haproxy, with a sequencer and no worker: orders wait, and each is an event."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rolling-")))
        redis = stack.enter_context(servers.run_valkey())
        times = {"SHUTDOWN_DRAIN_SECONDS": str(DRAIN_SECONDS), "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS)}
        times["MAX_TASKS_PER_SECOND"] = "1000"  # late orders are made up for
        town = stack.enter_context(run_live_town(folder, redis=redis, webs=WEBS, **times))
        for port in town.ports:
            wait_until_ready(port)
        port = stack.enter_context(run_proxy(folder, town.ports))
        scopes = "tasks:read,tasks:write,audit:read"  # without payloads, whose reading would be an event
        token = town.run("manage.py", "issue_token", "rolling", "--scopes", scopes).split()[-1]
        wait_until_up(folder)
        yield Rolling(folder=folder, town=town, port=port, token=token, cookies=town.make_cookies(USERS))


def wait_until_ready(port: int) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == 200:
                return
        assert time.monotonic() < give_up_at, f"{port} is not ready"
        time.sleep(0.05)


def wait_until_up(folder: Path) -> None:
    """Wait until the proxy sends requests to all web processes."""
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(folder / "haproxy.sock"))
            asking.sendall(b"show stat\n")
            told = b"".join(iter(lambda: asking.recv(65_536), b"")).decode()
        servers_ = [line.split(",") for line in told.splitlines() if line.startswith("webs,web")]
        if [cells[17] for cells in servers_] == ["UP"] * WEBS:
            return
        assert time.monotonic() < give_up_at, told
        time.sleep(0.05)


class Follower(Tab):
    """One socket's life; its `Viewer` opens the next."""

    def __init__(self, viewer: "Viewer", handshake: bytes, hello: bytes) -> None:
        super().__init__(Readers(), handshake, hello)
        self._viewer = viewer

    def connection_lost(self, exc: Exception | None) -> None:
        self._viewer.cut_off.set()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 8:
            self._viewer.codes[int.from_bytes(payload[:2])] += 1
        elif opcode == 1:
            self._viewer.take(orjson.loads(payload))
        elif opcode == 9:
            super()._take(opcode, payload)


@dataclass(kw_only=True)
class Viewer:
    """Who looks on: whatever ends the socket, it opens another and asks for what comes after the last event."""

    port: int
    cookie: str
    first: int | None = None  # the number after which it began to look
    cursor: int = 0
    seen: list[int] = field(default_factory=list)
    lacks: int = 0  # events that a frame did not hold
    codes: Counter[int] = field(default_factory=Counter)
    cut_off: asyncio.Event = field(default_factory=asyncio.Event)
    away_since: float = 0.0
    away_seconds: float = 0.0  # the longest

    async def follow(self) -> None:
        """Follow until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.cut_off.clear()
            last = None if self.first is None else self.cursor
            hello = orjson.dumps({"op": "hello", "last": last, "filters": {}})
            follower = Follower(self, handshake_of(self.port, f"sessionid={self.cookie}"), hello)
            with suppress(OSError):
                await loop.create_connection(lambda f=follower: f, "127.0.0.1", self.port)  # type: ignore[misc]
                await self.cut_off.wait()
            self.away_since = self.away_since or time.monotonic()
            await asyncio.sleep(0.1)

    def take(self, frame: dict[str, Any]) -> None:
        """Note what a frame holds."""
        if frame["op"] == "hello":
            if self.first is None:
                self.first = self.cursor = frame["head"]
            if self.away_since:
                self.away_seconds = max(self.away_seconds, time.monotonic() - self.away_since)
                self.away_since = 0.0
        elif frame["op"] == "gap":
            self.lacks += frame["to"] - frame["after"]
            self.cursor = frame["to"]
        elif frame["op"] == "ev":
            self.lacks += frame["skipped"]
            self.seen += sorted(item["seq"] for item in frame["items"])
            self.cursor = frame["head"]


@dataclass(kw_only=True)
class Load:
    """Requests at a steady rate, and what became of them."""

    url: str
    token: str
    took: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Ask until it is enough, and wait for the last answers; late ones are made up for."""
        headers = {"Authorization": f"Bearer {self.token}"}
        started, number = time.monotonic(), 0
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=20) as client:
            asking: set[asyncio.Task[None]] = set()
            while not self.enough.is_set():
                await asyncio.sleep(max(0.0, started + number / REQUESTS_PER_SECOND - time.monotonic()))
                asking.add(task := asyncio.create_task(self._ask(client, number)))
                task.add_done_callback(asking.discard)
                number += 1
            await asyncio.gather(*asking)

    async def _ask(self, client: httpx2.AsyncClient, number: int) -> None:
        started = time.monotonic()
        try:
            answer = await (self._order(client) if number % ORDER_EACH == 0 else client.get("/api/tasks?limit=5"))
        except httpx2.HTTPError as error:
            self.failures[type(error).__name__] += 1
            return
        if answer.status_code not in {200, 202}:
            self.failures[f"{answer.status_code} {answer.text[:200]}"] += 1
        self.took.append(time.monotonic() - started)

    async def _order(self, client: httpx2.AsyncClient) -> httpx2.Response:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        return await client.post("/api/tasks", json=NORMALISE | {"runAt": tomorrow})


async def restart_each(rolling: Rolling) -> list[float]:
    """Restart the web processes, one after the other, as an operator does; return how long each took to end."""
    seconds = []
    for number, port in enumerate(rolling.town.ports):
        web, started = rolling.town.webs[number], time.monotonic()
        web.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(web.wait, 30) == 0
        seconds.append(time.monotonic() - started)
        rolling.town.webs[number] = rolling.town.start("manage.py", "serve", "--only", "web", PORT=str(port))
        await asyncio.to_thread(wait_until_ready, port)
        await asyncio.to_thread(wait_until_up, rolling.folder)
    return seconds


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was seen from outside while all web processes were restarted."""

    load: Load
    proxy_said: str
    viewers: list[Viewer]
    end_seconds: list[float]
    head: int


async def look_on(rolling: Rolling) -> Outcome:
    """Restart each web process under load and under the eyes of all viewers."""
    viewers = [Viewer(port=rolling.port, cookie=cookie) for cookie in rolling.cookies for _ in range(SOCKETS_A_USER)]
    following = [asyncio.create_task(viewer.follow()) for viewer in viewers]
    load = Load(url=rolling.url, token=rolling.token)
    try:
        assert await wait_until(lambda: all(viewer.first is not None for viewer in viewers))
        asking = asyncio.create_task(load.run())
        await asyncio.sleep(1)
        end_seconds = await restart_each(rolling)
        load.enough.set()
        await asking
        head = await _find_head(rolling)
        await wait_until(lambda: all(viewer.cursor >= head for viewer in viewers), seconds=20)
    finally:
        for one in following:
            one.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    proxy_said = (rolling.folder / "haproxy.log").read_text()
    return Outcome(proxy_said=proxy_said, load=load, viewers=viewers, end_seconds=end_seconds, head=head)


async def _find_head(rolling: Rolling) -> int:
    """Return the number of the last event, when no more come."""
    await asyncio.sleep(1)
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {rolling.token}"}) as client:
        answer = await client.get(f"{rolling.url}/api/audit?limit=1")
        return int(answer.json()["results"][0]["seq"])
