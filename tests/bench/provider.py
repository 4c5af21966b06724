"""A stand-in for a provider, far cheaper than what is measured against it: `python -m tests.bench.provider PORT`.

It speaks OpenAI's two protocols on loopback and does what its script says. It tells turns apart by counting the
results in the conversation that is sent, and tasks by a mark such as `marker-17` anywhere in it. What it was asked
it remembers: `GET /seen`; `PUT /script` sets the script, `DELETE /seen` forgets.
"""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any, cast, override

import httpx2
import orjson
import uvloop

from tests.bench.spoken import Script, Spoken, speak_chat, speak_responses

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 20
_MARKER = re.compile(rb"marker-(\d+)")
_MODEL = re.compile(rb'"model": ?"([^"]+)"')
_STREAM = re.compile(rb'"stream": ?true')


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request: on which connection, of which task, its turn, when it was there whole, when and how it ended."""

    path: str
    connection: int
    marker: int
    turn: int
    at: float
    ended_at: float = 0.0
    outcome: str = "waiting"  # then "answered", or "abandoned": the client closed the connection


class Standin:
    """What all connections share."""

    def __init__(self) -> None:
        self.script = Script()
        self.seen: list[Seen] = []
        self.bodies: list[str] = []
        self.connections = count()
        self.held: list[Callable[[], None]] = []  # answers that wait for another script

    def ask(self, path: str, body: bytes, *, connection: int) -> tuple[Seen, Spoken]:
        """Note a request and return what is said to it."""
        is_chat = path.endswith("/chat/completions")
        results = body.count(b'"tool_call_id"' if is_chat else b'"function_call_output"')
        found = _MARKER.search(body)
        marker, turn = int(found[1]) if found else -1, results // self.script.calls
        seen = Seen(path=path, connection=connection, marker=marker, turn=turn, at=time.time())
        self.seen.append(seen)
        self.bodies.append(body.decode())
        model = _MODEL.search(body)
        name = model[1].decode() if model else ""
        return seen, self._speak(is_chat, turn, name, bool(_STREAM.search(body)))

    def direct(self, method: str, path: str, body: bytes) -> bytes:
        """Do what the measurement says, and return what it wants to know."""
        if (method, path) == ("PUT", "/script"):
            self.script = Script(**orjson.loads(body))
            self._speak.cache_clear()
            held, self.held = self.held, []
            for finish in held:
                finish()
        elif (method, path) == ("DELETE", "/seen"):
            self.seen, self.bodies = [], []
        elif path == "/bodies":
            return orjson.dumps(self.bodies)
        return orjson.dumps([asdict(seen) for seen in self.seen])

    @lru_cache(maxsize=1000)  # noqa: B019  (there is one, as long as the process)
    def _speak(self, is_chat: bool, turn: int, model: str, stream: bool) -> Spoken:
        speak = speak_chat if is_chat else speak_responses
        return speak(self.script, turn, model=model, stream=stream)


class Connection(asyncio.Protocol):
    """One client: requests one after the other, each answered before the next."""

    def __init__(self, standin: Standin) -> None:
        self._standin = standin
        self._number = next(standin.connections)
        self._received = b""
        self._seen: Seen | None = None
        self._timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._seen is not None:
            self._end("abandoned")

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(rest) >= size:
            self._received = rest[size:]
            self._serve(head, rest[:size])

    def _serve(self, head: bytes, body: bytes) -> None:
        method, path = head.decode().split(" ", 2)[:2]
        if method != "POST":
            self._write_whole("application/json", self._standin.direct(method, path, body))
            return
        self._seen, spoken = self._standin.ask(path, body, connection=self._number)
        if spoken.first:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %b; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n%b"
                % (spoken.content_type.encode(), _chunk(spoken.first))
            )
        if self._standin.script.hold:
            self._standin.held.append(partial(self._finish, spoken))
        elif delay := self._standin.script.delay_seconds:
            self._timer = asyncio.get_running_loop().call_later(delay, self._finish, spoken)
        else:
            self._finish(spoken)

    def _finish(self, spoken: Spoken) -> None:
        self._timer = None
        if self._seen is None:  # the client went away while it was held
            return
        if spoken.first:
            self._transport.write(_chunk(spoken.rest) + b"0\r\n\r\n")
        else:
            self._write_whole(spoken.content_type, spoken.rest)
        self._end("answered")

    def _write_whole(self, content_type: str, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    def _end(self, outcome: str) -> None:
        if self._seen is not None:
            self._seen.ended_at, self._seen.outcome = time.time(), outcome
            self._seen = None


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve_forever(port: int) -> None:
    standin = Standin()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(standin), "127.0.0.1", port, backlog=2_000)
    await server.serve_forever()


# --- for those who measure ------------------------------------------------------------------------------------
class Provider:
    """A stand-in that runs, as seen from the measurement."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.url}/v1"

    def play(self, script: Script) -> None:
        """Set the script and forget what was asked before."""
        self.change(script)
        httpx2.delete(f"{self.url}/seen").raise_for_status()

    def change(self, script: Script) -> None:
        """Set the script for what is asked from now on."""
        httpx2.put(f"{self.url}/script", content=script.to_json()).raise_for_status()

    def seen(self) -> list[Seen]:
        """Return the requests so far, in the order in which they came."""
        return [Seen(**found) for found in httpx2.get(f"{self.url}/seen", timeout=20).json()]

    def bodies(self) -> list[dict[str, Any]]:
        """Return the bodies of the requests so far."""
        return [orjson.loads(body) for body in httpx2.get(f"{self.url}/bodies", timeout=20).json()]


@contextmanager
def run_provider(port: int) -> Iterator[Provider]:
    """Run a stand-in as a process of its own."""
    provider = Provider(port)
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.provider", str(port)], cwd=ROOT)
    try:
        _wait_for(provider, process)
        yield provider
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(provider: Provider, process: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        try:
            provider.seen()
            return
        except httpx2.HTTPError:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise
        time.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(_serve_forever(int(sys.argv[1])), loop_factory=uvloop.new_event_loop)
