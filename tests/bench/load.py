"""A load generator that costs little: prebuilt requests over a few keep-alive connections, on loopback only."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """What a load came to."""

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)  # seconds, in the order of the answers

    @property
    def per_second(self) -> float:
        """Return the answered requests a second."""
        return len(self.latencies) / self.seconds

    def latency_ms(self, share: float) -> float:
        """Return the latency that `share` of the requests stayed under, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def post_bytes(path: str, *, port: int, token: str, body: bytes, headers: str = "") -> bytes:
    """Return a POST request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def put_load(port: int, requests: Iterator[bytes], *, connections: int) -> Result:
    """Send all `requests`, `connections` at once, and wait for the answers."""
    return asyncio.run(_put_load(port, requests, connections))


def put_load_for(port: int, request: bytes, *, connections: int, seconds: float) -> Result:
    """Send the same request again and again until `seconds` are over."""
    end_at = time.perf_counter() + seconds

    def until_then() -> Iterator[bytes]:
        while time.perf_counter() < end_at:
            yield request

    return put_load(port, until_then(), connections=connections)


async def _put_load(port: int, requests: Iterator[bytes], connections: int) -> Result:
    result = Result()
    started = time.perf_counter()
    await asyncio.gather(*(_send_all(port, requests, result) for _ in range(connections)))
    result.seconds = time.perf_counter() - started
    return result


async def _send_all(port: int, requests: Iterator[bytes], result: Result) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        started = time.perf_counter()
        writer.write(request)
        status = await _read_answer(reader)
        result.latencies.append(time.perf_counter() - started)
        result.statuses[status] = result.statuses.get(status, 0) + 1
    writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" in head:
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    else:
        await _read_chunks(reader)
    return int(head[9:12])


async def _read_chunks(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()
