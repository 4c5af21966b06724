"""Memory of each role: at rest, and of web under 50 requests a second and 100 sockets that are fed, for 20 s.

Over PostgreSQL, Valkey and the embedded MongoDB, each role a process of its own as in the image. MB are resident
(RSS); of the peak, the most that the kernel ever saw.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx2

from tests import servers
from tests.bench.agent_runs import read_rss
from tests.bench.live_readers import Readers, hello_of, open_tabs
from tests.bench.load import Result, put_load
from tests.live_cast import LiveTown, ending, run_live_town

REQUESTS_A_SECOND: Final = 50
SECONDS: Final = 20
USERS, SOCKETS_EACH = 10, 10
EVENTS_A_SECOND: Final = 50
CONNECTIONS: Final = 10
SETTLE_SECONDS: Final = 5.0
PATHS: Final = ("/", "/tasks/", "/audit/", "/agents/", "/ready")
MOST_IDLE_MB: Final = 200
MOST_BUSY_MB: Final = 512


def run() -> list[dict[str, Any]]:
    """Return a row for each role."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        servers.run_valkey() as redis,
        run_live_town(Path(folder), redis=redis) as town,
        ExitStack() as stack,
    ):
        stack.enter_context(ending(worker := town.start("manage.py", "worker")))
        [web] = town.webs
        assert httpx2.get(f"http://127.0.0.1:{town.ports[0]}/ready", timeout=60).status_code == 200
        time.sleep(SETTLE_SECONDS)
        idle = read_rss(web.pid)
        rows = [{"role": "worker", "at rest MB": read_rss(worker.pid)}]
        answers = asyncio.run(_use(town))
        assert set(answers.statuses) == {200}, answers.statuses
        busy = _read_peak(web.pid)
    held = "held" if idle <= MOST_IDLE_MB and busy <= MOST_BUSY_MB else "MISSED"
    target = f"≤ {MOST_IDLE_MB} and ≤ {MOST_BUSY_MB}: {held}"
    web_row = {"role": "web", "at rest MB": idle, "peak MB": busy, "requests/s": answers.per_second, "target": target}
    return [web_row, *rows]


async def _use(town: LiveTown) -> Result:
    """Open the sockets, have events written for them, and ask for pages at an even pace."""
    cookies, readers, result = town.make_cookies(USERS), Readers(), Result()
    feed = hello_of("normalizer")
    await open_tabs(readers, town.ports[0], cookies, each=SOCKETS_EACH, path="/ws/console/", hello=feed)
    with ending(town.write(rate=EVENTS_A_SECOND, count=EVENTS_A_SECOND * SECONDS)):
        askers = [_ask_at_pace(town.ports[0], cookies, start) for start in range(CONNECTIONS)]
        parts = await asyncio.gather(*(asyncio.to_thread(put_load, *asker, connections=1) for asker in askers))
    for part in parts:
        result.seconds = max(result.seconds, part.seconds)
        result.latencies += part.latencies
        result.statuses = dict(Counter(result.statuses) + Counter(part.statuses))
    return result


def _ask_at_pace(port: int, cookies: list[str], start: int) -> tuple[int, Iterator[bytes]]:
    """Return the port, and requests for one page after the other, each of which is due a while after the last."""

    def ask() -> Iterator[bytes]:
        pause, begun = CONNECTIONS / REQUESTS_A_SECOND, time.perf_counter()
        for number in range(SECONDS * REQUESTS_A_SECOND // CONNECTIONS):
            time.sleep(max(0.0, begun + number * pause - time.perf_counter()))  # this connection has its own thread
            path, cookie = PATHS[(start + number) % len(PATHS)], cookies[start % len(cookies)]
            yield f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: sessionid={cookie}\r\n\r\n".encode()

    return port, ask()


def _read_peak(pid: int) -> float:
    """Return the most memory a process ever had resident, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1000
