"""The live view over several processes, as in production: who tails, who writes and who rings are not the same."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import websockets

from audit.live.consumers import TOO_MANY
from audit.live.seats import MAX_SEATS
from tests import servers
from tests.live_cast import frame_of, open_deaf, run_live_town

EVENTS = 600
RATE = 200


def connect(port: int, cookie: str) -> Any:
    return websockets.connect(
        f"ws://127.0.0.1:{port}/ws/console/",
        origin=websockets.Origin(f"http://127.0.0.1:{port}"),
        additional_headers={"Cookie": f"sessionid={cookie}"},
    )


async def read_decisions(port: int, cookie: str, *, count: int, greeted: asyncio.Event) -> list[int]:
    """Read as a tab does, and return the numbers of the decisions in the order in which they came."""
    received: list[int] = []
    async with connect(port, cookie) as tab:
        await tab.send(json.dumps({"op": "hello", "last": None, "filters": {"type": "decision.made"}}))
        async with asyncio.timeout(60):
            while len(received) < count:
                frame = json.loads(await tab.recv())
                if frame["op"] == "hello":
                    greeted.set()
                assert frame["op"] in {"hello", "ev"}, frame
                assert not frame.get("skipped"), "the machine is too slow for this test"
                received += [item["seq"] for item in frame.get("items", [])]
    return received


@contextmanager
def mortal_valkey() -> Iterator[tuple[str, ExitStack]]:
    """Run a Valkey that may be ended before the block is."""
    with ExitStack() as stack:
        yield stack.enter_context(servers.run_valkey()), stack


async def test_every_reader_of_two_processes_gets_all_in_order_though_the_doorbell_dies(tmp_path: Path) -> None:
    with mortal_valkey() as (valkey, death), run_live_town(tmp_path, webs=2, redis=valkey) as town:
        cookies = await asyncio.to_thread(town.make_cookies, 4)
        greeted = [asyncio.Event() for _ in cookies]
        readers = [
            asyncio.create_task(read_decisions(town.ports[number % 2], cookie, count=EVENTS, greeted=greeted[number]))
            for number, cookie in enumerate(cookies)
        ]
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in greeted)), 20)
        writer = town.write(rate=RATE, count=EVENTS)
        await asyncio.sleep(EVENTS / RATE / 2)
        death.close()
        first, *others = await asyncio.gather(*readers)
        assert writer.wait(20) == 0
    assert first == list(range(first[0], first[0] + EVENTS))
    assert all(other == first for other in others)


async def test_a_user_holds_ten_sockets_over_all_processes_and_a_dead_process_none(tmp_path: Path) -> None:
    with servers.run_valkey() as valkey, run_live_town(tmp_path, redis=valkey, webs=2) as town:
        (cookie,) = await asyncio.to_thread(town.make_cookies, 1)
        here, there = town.ports
        async with asyncio.timeout(90):
            tabs = [await open_tab(port, cookie) for port in [here, there] * (MAX_SEATS // 2)]
            assert None not in tabs
            assert await open_tab(here, cookie) is None
            assert await open_tab(there, cookie) is None
            await tabs[0].close()
            tabs[0] = await open_when_free(there, cookie)
            town.webs[0].kill()
            assert await open_tab(there, cookie) is None
            tabs.append(await open_when_free(there, cookie))  # the seats of the dead lapse
        for tab in tabs:
            await tab.close()


async def open_tab(port: int, cookie: str) -> Any:
    """Open one socket more; None if the user holds too many."""
    tab = await connect(port, cookie)
    try:
        await tab.send('{"op":"ping"}')
        assert await tab.recv() == '{"op":"pong"}'
    except websockets.ConnectionClosed:
        assert tab.close_code == TOO_MANY
        return None
    return tab


async def open_when_free(port: int, cookie: str) -> Any:
    """Open one socket more as soon as there is a seat."""
    while (tab := await open_tab(port, cookie)) is None:
        await asyncio.sleep(0.2)
    return tab


async def test_clients_that_never_read_cost_no_memory(tmp_path: Path) -> None:
    with servers.run_valkey() as valkey, run_live_town(tmp_path, redis=valkey) as town:
        (cookie,) = await asyncio.to_thread(town.make_cookies, 1)
        await asyncio.to_thread(lambda: town.write(rate=5_000, count=400).wait())
        pid = town.webs[0].pid
        deaf = [await open_deaf(town.ports[0], f"sessionid={cookie}") for _ in range(MAX_SEATS)]
        sockets = [writer for _, writer in deaf]
        await ask_again_and_again(sockets, times=10)
        before = read_rss(pid)
        await ask_again_and_again(sockets, times=100)  # some 60 kB each: 60 MB if anybody kept them
        assert read_rss(pid) - before < 6_000_000


async def ask_again_and_again(sockets: list[asyncio.StreamWriter], *, times: int) -> None:
    """Ask for everything from the first event on, many times, and read nothing of it."""
    for _ in range(times):
        for writer in sockets:
            writer.write(frame_of(b'{"op":"hello","last":0}'))
        await asyncio.sleep(0.03)


def read_rss(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1_024
