"""Many browser tabs in one process, at little cost: what they received, in which order, and how late."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from tests.live_cast import frame_of, handshake_of


def hello_of(skill: str) -> bytes:
    """Return the message that asks for the events about a skill, from now on."""
    return orjson.dumps({"op": "hello", "last": None, "filters": {"skillId": skill}})


class Readers:
    """The tabs' common memory: a frame that many of them get is read once."""

    def __init__(self) -> None:
        self.greeted = 0
        self.out_of_order = 0
        self.skipped = 0
        self.lost = 0  # connections
        self.received = 0
        self.late_ms: Counter[int] = Counter()
        self._frames: dict[bytes, list[tuple[int, float]]] = {}

    def read(self, payload: bytes) -> list[tuple[int, float]]:
        """Return the numbers of a frame's events and the times at which they were written."""
        if payload not in self._frames:
            if len(self._frames) > 1_000:
                self._frames.clear()
            self._frames[payload] = self._parse(orjson.loads(payload))
        return self._frames[payload]

    def _parse(self, frame: dict[str, Any]) -> list[tuple[int, float]]:
        self.skipped += frame.get("skipped", 0)
        return [(int(item["taskId"][2:]), _read_time(item["at"])) for item in frame.get("items", [])]

    def late_at(self, share: float) -> int:
        """Return the milliseconds within which this share of all deliveries came."""
        left = share * self.late_ms.total()
        for late, count in sorted(self.late_ms.items()):
            left -= count
            if left <= 0:
                return late
        return 0


class Tab(asyncio.Protocol):
    """One socket; its events must be numbered one after the other."""

    def __init__(self, readers: Readers, handshake: bytes, hello: bytes) -> None:
        self._readers, self._handshake, self._hello = readers, handshake, hello
        self._data = b""
        self._open = False
        self.expected = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.transport.write(self._handshake)

    def connection_lost(self, exc: Exception | None) -> None:
        self._readers.lost += 1

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._open:
            head, found, self._data = self._data.partition(b"\r\n\r\n")
            if not found:
                self._data = head
                return
            self._open = True
            self._readers.greeted += not self._hello
            self.transport.write(self._hello and frame_of(self._hello))
        while frame := self._cut_frame():
            self._take(*frame)

    def _cut_frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        length, start = data[1], 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start]) if len(data) >= start else 1 << 62
        if len(data) < start + length:
            return None
        self._data = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:  # a ping wants its pong
            self.transport.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        if opcode != 1:
            return
        readers, now = self._readers, time.time()
        readers.greeted += payload.startswith(b'{"op":"hello"')
        for number, at in readers.read(payload):
            readers.out_of_order += number != self.expected
            self.expected = number + 1
            readers.received += 1
            readers.late_ms[int((now - at) * 1000)] += 1


async def open_tabs(
    readers: Readers, port: int, cookies: list[str], *, each: int, path: str, hello: bytes
) -> list[Tab]:
    """Open `each` tabs of every user, and wait until all of them are greeted."""
    loop = asyncio.get_running_loop()
    tabs = []
    for cookie in cookies:
        handshake = handshake_of(port, f"sessionid={cookie}", path=path)
        for _ in range(each):
            _, tab = await loop.create_connection(lambda: Tab(readers, handshake, hello), "127.0.0.1", port)  # noqa: B023
            tabs.append(tab)
            await wait_until(lambda: readers.greeted > len(tabs) - 20)
    await wait_until(lambda: readers.greeted >= len(tabs))
    return tabs


async def wait_until(reached: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Wait for a state; tell whether it was reached."""
    give_up_at = time.monotonic() + seconds
    while not reached() and time.monotonic() < give_up_at:
        await asyncio.sleep(0.02)
    return reached()


def _read_time(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
