"""The live view: 500 sockets and 200 events a second, beside one channel-layer message an event.

First what `make run` starts, on SQLite; then web, sequencer and writer as processes of their own, on PostgreSQL, Valkey
and the embedded MongoDB. A delivery is one event in one tab. Late is the time from the event's writing, in its
transaction, to its arrival. CPU is that of the process that holds the sockets. The channel layer (channels-redis) gets
no more messages a second than it takes without losing any.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import servers
from tests.bench.agent_runs import read_rss
from tests.bench.live_readers import Readers, hello_of, open_tabs, wait_until
from tests.live_cast import LiveTown, frame_of, open_deaf, run_live_town, run_one_process

USERS, SOCKETS_EACH = 50, 10
SOCKETS = USERS * SOCKETS_EACH
RATE, SECONDS = 200, 15
NAIVE_RATE, NAIVE_COUNT = 3, 40
MOST_OF_NAIVE = 1 / 50
MOST_LATE_MS = 500
DEAF_SECONDS = 50  # longer than a socket may be stuck, and then be open
_TICK = os.sysconf("SC_CLK_TCK")


def run() -> list[dict[str, Any]]:
    """Return a row for one socket in either layout, for 500, for the channel layer, and for clients that never read."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return [measure_one_process(Path(folder, "one")), *measure_parts(Path(folder, "parts"))]


def measure_one_process(folder: Path) -> dict[str, Any]:
    """Follow the feed of what `make run` starts, with a thread of it that writes."""

    def write(**order: Any) -> None:
        (folder / "var" / "write").write_text(" ".join(map(str, order.values())))

    with run_one_process(folder, program=("-m", "tests.bench.live_server", "whole")) as town:
        row = asyncio.run(measure_hub(town, town.make_cookies(1), each=1, run="one", write=write))
    return {"layout": "one process"} | _judge_lateness(row)


def measure_parts(folder: Path) -> list[dict[str, Any]]:
    """Measure web, sequencer and writer as processes of their own."""
    program = ("-m", "tests.bench.live_server")
    with servers.run_valkey() as redis, run_live_town(folder, redis=redis, program=program) as town:
        cookies = town.make_cookies(USERS + 1)
        rows = asyncio.run(_measure_parts(town, cookies[:USERS], cookies[USERS]))
    return [{"layout": "three processes"} | row for row in rows]


async def _measure_parts(town: LiveTown, cookies: list[str], alone: str) -> list[dict[str, Any]]:
    one = await measure_hub(town, [alone], each=1, run="alone", write=town.write)
    all_ = await measure_hub(town, cookies, each=SOCKETS_EACH, run="many", write=town.write)
    naive = await measure_naive(town, cookies)
    share = all_["CPU µs/delivery"] / naive["CPU µs/delivery"]
    all_["target"] = f"≤ 1/50 of the layer: 1/{1 / share:.0f}, {_say(share <= MOST_OF_NAIVE)}"
    return [_judge_lateness(one), all_, naive, await measure_deaf(town, cookies[0])]


def _judge_lateness(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"target": f"p99 ≤ {MOST_LATE_MS} ms: {_say(row['p99 ms'] <= MOST_LATE_MS)}"}


def _say(held: bool) -> str:
    return "held" if held else "MISSED"


async def measure_hub(
    town: LiveTown, cookies: list[str], *, each: int, run: str, write: Callable[..., Any]
) -> dict[str, Any]:
    """Have events about `run` written for a while, and return what of them reached the tabs of the console."""
    readers, count = Readers(), RATE * SECONDS
    hello = hello_of(run)
    tabs = await open_tabs(readers, town.ports[0], cookies, each=each, path="/ws/console/", hello=hello)
    used = read_cpu(town)
    write(rate=RATE, count=count, skill=run)
    await wait_until(lambda: readers.received >= count * len(tabs), seconds=4 * SECONDS)
    row = _describe("cursor hub", readers, sent=count, tabs=len(tabs), cpu=read_cpu(town) - used)
    await _close(tabs)
    return row | {"events/s": RATE}


async def measure_naive(town: LiveTown, cookies: list[str]) -> dict[str, Any]:
    """Let a process send a message an event through the channel layer."""
    readers = Readers()
    tabs = await open_tabs(readers, town.ports[0], cookies, each=SOCKETS_EACH, path="/ws/naive/", hello=b"")
    used = read_cpu(town)
    writer = town.start("-m", "tests.bench.live_server", "publish", str(NAIVE_RATE), str(NAIVE_COUNT))
    await wait_until(lambda: readers.received >= NAIVE_COUNT * len(tabs), seconds=6 * NAIVE_COUNT / NAIVE_RATE)
    row = _describe("channel layer", readers, sent=NAIVE_COUNT, tabs=len(tabs), cpu=read_cpu(town) - used)
    await asyncio.to_thread(writer.wait)
    await _close(tabs)
    return row | {"events/s": NAIVE_RATE}


async def measure_deaf(town: LiveTown, cookie: str) -> dict[str, Any]:
    """Ask for some 45 kB 20 times a second and read none of it; return how far the web process grew meanwhile."""
    pid = town.webs[0].pid
    deaf = [await open_deaf(town.ports[0], f"sessionid={cookie}") for _ in range(SOCKETS_EACH)]
    before = most = read_rss(pid)
    for _ in range(20 * DEAF_SECONDS):
        for _, writer in deaf:
            writer.write(frame_of(b'{"op":"hello","last":0}'))
        most = max(most, read_rss(pid))
        await asyncio.sleep(0.05)
    gone = sum([await _is_gone(reader) for reader, _ in deaf])
    return {"what": "clients that never read", "sockets": len(deaf), "cut off": gone, "MB grown": most - before}


async def _is_gone(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(2):
            while await reader.read(65_536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def _describe(what: str, readers: Readers, *, sent: int, tabs: int, cpu: float) -> dict[str, Any]:
    return {
        "what": what,
        "sockets": tabs,
        "events/s": 0,
        "missing": sent * tabs - readers.received,
        "disordered": readers.out_of_order,
        "skipped": readers.skipped,
        "p50 ms": readers.late_at(0.5),
        "p99 ms": readers.late_at(0.99),
        "CPU µs/delivery": cpu / max(1, readers.received) * 1_000_000,
    }


def read_cpu(town: LiveTown) -> float:
    """Return the seconds of CPU that the web process has used, as /proc has it."""
    fields = Path(f"/proc/{town.webs[0].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


async def _close(tabs: list[Any]) -> None:
    for tab in tabs:
        tab.transport.close()
    await asyncio.sleep(2)
