"""A vendor on a loopback port that answers what a test scripted, for what llmock does not do."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)


def stream(*events: dict[str, Any], named: bool = False) -> Answer:
    """Return an answer of server-sent events; Anthropic's are named after their type."""
    lines = [(f"event: {e['type']}\n" if named else "") + f"data: {json.dumps(e)}\n\n" for e in events]
    return Answer(body="".join(lines).encode())


def refuse(status: int, body: dict[str, Any] | str, **headers: str) -> Answer:
    """Return an answer with a status that is none of success."""
    text = body if isinstance(body, str) else json.dumps(body)
    return Answer(status=status, body=text.encode(), content_type="application/json", headers=headers)


class VendorServer:
    """Gives the scripted answers in order and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: deque[Answer] = deque()
        self.without: tuple[str, ...] = ()  # paths that there are not
        self.url = ""

    def add(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        asked = Asked(path=first.split()[1], headers=headers, body=body)
        self.asked.append(asked)
        answer = refuse(404, "404 page not found") if asked.path.endswith(self.without) else self.answers.popleft()
        more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        head = (
            f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\nconnection: close\r\n{more}"
        )
        writer.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode() + answer.body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def run_vendor() -> AsyncIterator[VendorServer]:
    """Run a vendor in this loop."""
    vendor = VendorServer()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    vendor.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield vendor
    finally:
        server.close()
        await server.wait_closed()
