"""Kill -9 of each process of an installation in parts, in turn, while ten writers write and others order tasks.

In the end every event that was committed is in the ledger once, in the store once and on every screen once and in
order; the trail verifies, here and at an auditor's who kept a checkpoint of the beginning.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from pymongo import MongoClient

from orchestrator_site.embedded import EmbeddedMongo
from tests import servers
from tests.bundle_cast import PROGRAM
from tests.integration.screen import Screen
from tests.integration.test_faults import ORDER, TERMINAL
from tests.live_cast import LiveTown, make_environment, wait_for_port
from tests.running import ROOT, free_port

PAUSE_SECONDS = 0.15  # of each writer after each transaction: together some 150 events a second
PATIENCE_SECONDS = 60  # of a busy machine


@dataclass(kw_only=True)
class Installation:
    """An installation in parts, each a process with a name that can be killed and started again."""

    town: LiveTown
    state_url: str
    store: EmbeddedMongo
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a part; a web process is named by its place: `web 0`."""
        if name == "store":
            self.store.start()
        elif name.startswith("web"):
            port = self.town.ports[int(name.rpartition(" ")[2])]
            self.parts[name] = self.town.start("manage.py", "serve", "--only", "web", PORT=str(port))
            wait_for_port(port)
        else:
            self.parts[name] = self.town.start("manage.py", name.split(maxsplit=1)[0])

    def kill(self, name: str) -> None:
        if name == "store":
            self.store.kill()
        else:
            self.parts[name].kill()
            self.parts[name].wait(10)

    def query(self, sql: str, *parameters: Any) -> list[Any]:
        with psycopg.connect(self.state_url.replace("postgres://", "postgresql://")) as connection:
            return connection.execute(sql, parameters).fetchall()

    def numbered(self) -> int:
        """Return the newest number that was given."""
        return int(self.query("SELECT seq FROM audit_treehead")[0][0])

    def leader(self) -> str:
        """Return the name of the sequencer that leads, which holds its process id."""
        rows = self.query("SELECT holder FROM audit_treehead")
        return str(rows[0][0]) if rows else ""

    def documents(self) -> list[tuple[int, str]]:
        """Return number and id of every event in the store."""
        with MongoClient[Any](self.town.environment["DATABASE_URL"]) as client:
            found = client["orchestrator"]["audit_log"].find({}, {"seq": 1}).sort("seq", 1)
            return [(document["seq"], document["_id"]) for document in found]


@contextmanager
def run_in_parts(folder: Path) -> Iterator[Installation]:
    """Run two web processes, a worker and two sequencers, of which the second stands by."""
    with ExitStack() as stack:
        store = stack.enter_context(servers.run_mongodb())
        state, redis = stack.enter_context(servers.run_postgres()), stack.enter_context(servers.run_valkey())
        environment = make_environment(folder) | {
            "DATABASE_URL": f"mongodb://127.0.0.1:{store.port}/?directConnection=true&w=majority&journal=true",
            "STATE_DATABASE_URL": state,
            "REDIS_URL": redis,
            "LOG_LEVEL": "ERROR",
        }
        town = LiveTown(environment=environment, ports=[free_port(), free_port()])
        town.run("manage.py", "prepare")
        installation = Installation(town=town, state_url=state, store=store)
        try:
            installation.start("sequencer 1")
            with ThreadPoolExecutor(3) as threads:
                list(threads.map(installation.start, ("web 0", "web 1", "worker")))
            wait_until(installation.leader)
            installation.start("sequencer 2")
            yield installation
        finally:
            for part in installation.parts.values():
                part.kill()
                part.wait(10)


def wait_until(reached: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        time.sleep(0.1)


@contextmanager
def writing(town: LiveTown) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Write with ten processes while inside; give their parent, and the ids of what was committed, which fill up."""
    command = [sys.executable, "-m", "tests.integration.log_storm", "write", "600", str(PAUSE_SECONDS)]
    ids: list[str] = []
    process = subprocess.Popen(
        command, cwd=ROOT, env=town.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    reader = threading.Thread(target=lambda: ids.extend(line.strip() for line in process.stdout or ()))
    reader.start()
    try:
        yield process, ids
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        reader.join()


def kill_a_writer(parent: subprocess.Popen[str]) -> None:
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)


@contextmanager
def ordering(town: LiveTown) -> Iterator[list[str]]:
    """Order tasks over the API while inside; give the ids of those that were taken, which fill up."""
    token = town.run("manage.py", "issue_token", "orders", "--scopes", "all").split()[-1]
    stop, task_ids = threading.Event(), list[str]()
    with ThreadPoolExecutor(1) as thread:
        future: Future[None] = thread.submit(order_tasks, town.ports, token, stop, task_ids)
        try:
            yield task_ids
        finally:
            stop.set()
    future.result()


def order_tasks(ports: list[int], token: str, stop: threading.Event, task_ids: list[str]) -> None:
    """Order one task after the other, each at one web process and then the other until one has said that it took it."""
    turns = itertools.cycle(ports)
    for number in itertools.count():
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"order-{number}"}
        while not stop.wait(0.1):
            try:
                answer = httpx2.post(f"http://127.0.0.1:{next(turns)}/api/tasks", json=ORDER, headers=headers)
            except httpx2.HTTPError:
                continue
            if answer.status_code == 202:
                task_ids.append(answer.json()["taskId"])
                break
        if stop.is_set():
            return


async def see_all(installation: Installation, screens: list[Screen]) -> None:
    """Wait until all screens have shown what has its number by now."""
    until = await asyncio.to_thread(installation.numbered)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while min(screen.head for screen in screens) < until:
            await asyncio.sleep(0.05)


async def kill_each_in_turn(installation: Installation, screens: list[Screen]) -> None:
    for names in (["worker"], ["store"], ["web 0", "web 1"]):
        for name in names:
            installation.kill(name)
        await asyncio.sleep(0.7)  # others write meanwhile
        await asyncio.gather(*(asyncio.to_thread(installation.start, name) for name in names))
        await see_all(installation, screens)
    leader = installation.leader()
    assert f":{installation.parts['sequencer 1'].pid}:" in leader
    installation.kill("sequencer 1")
    await asyncio.to_thread(wait_until, lambda: installation.leader() != leader)
    assert f":{installation.parts['sequencer 2'].pid}:" in installation.leader()
    await see_all(installation, screens)


async def test_nothing_is_missing_anywhere_after_a_kill_of_each_process_while_ten_write(tmp_path: Path) -> None:
    with run_in_parts(tmp_path) as installation:
        town = installation.town
        cookies = await asyncio.to_thread(town.make_cookies, 3)
        screens = [Screen(town.ports[place % 2], cookie) for place, cookie in enumerate(cookies)]
        kept = tmp_path / "kept"
        kept.write_bytes(read_second_place(tmp_path))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(screen.follow()) for screen in screens]
            with writing(town) as (writers, event_ids), ordering(town) as task_ids:
                await see_all(installation, screens)
                await kill_each_in_turn(installation, screens)
                kill_a_writer(writers)
                await see_all(installation, screens)
            await asyncio.to_thread(wait_for_tasks, installation, task_ids)
            found = await asyncio.to_thread(check_log, town, event_ids)
            await see_all(installation, screens)
            for reader in readers:
                reader.cancel()
        assert found == ""
        assert len(event_ids) > 1_000
        assert_each_once(installation, event_ids, screens)
        assert_ended_once(installation, task_ids)
        assert_auditor_agrees(town, tmp_path, kept)


def read_second_place(folder: Path) -> bytes:
    """Return all notes of the second place, once there is one."""
    place = folder / "var" / "checkpoints"
    wait_until(lambda: any(place.glob("*.checkpoints")))
    return b"".join(path.read_bytes() for path in place.glob("*.checkpoints"))


def wait_for_tasks(installation: Installation, task_ids: list[str]) -> None:
    sql = "SELECT COUNT(*) FROM agents_task WHERE ended_at IS NULL AND id = ANY(%s)"
    wait_until(lambda: installation.query(sql, task_ids) == [(0,)])


def check_log(town: LiveTown, event_ids: list[str]) -> str:
    """Return what is wrong with numbers, writers' counts and checkpoints, once all was brought away."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.log_storm", "check"],
        cwd=ROOT, env=town.environment, input="\n".join(event_ids), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def assert_each_once(installation: Installation, event_ids: list[str], screens: list[Screen]) -> None:
    """Check that ledger, store and screens hold the same events, each once, in the order of their numbers."""
    ledger = installation.query("SELECT seq, event_id FROM audit_ledgerevent ORDER BY seq")
    assert [seq for seq, _ in ledger] == list(range(1, len(ledger) + 1))
    assert set(event_ids) <= {event_id for _, event_id in ledger}
    assert installation.documents() == ledger
    for screen in screens:
        assert screen.shown == ledger
        assert (screen.lacking, screen.untold) == (0, 0)
        assert screen.breaks > 0
        print(f"{len(ledger)} events, {screen}")


def assert_ended_once(installation: Installation, task_ids: list[str]) -> None:
    rows = installation.query("SELECT task_id, type FROM audit_ledgerevent WHERE task_id = ANY(%s)", task_ids)
    endings = Counter(task_id for task_id, type_ in rows if type_ in TERMINAL)
    assert len(task_ids) > 20
    assert endings == dict.fromkeys(task_ids, 1)


def assert_auditor_agrees(town: LiveTown, folder: Path, kept: Path) -> None:
    """Verify by the product and, of a bundle, by the auditor's program, with all that the second place holds."""
    second_place = folder / "second-place"
    second_place.write_bytes(read_second_place(folder))
    assert "OK: the log holds" in town.run("manage.py", "verify_audit", "--known", str(kept))
    (folder / "key").write_text(town.run("manage.py", "audit_key"))
    town.run("manage.py", "export_audit", "--out", str(folder / "bundle"))
    known = ("--known", str(kept), "--known", str(second_place))
    said = town.run("-I", str(PROGRAM), str(folder / "bundle"), "--key", str(folder / "key"), *known)
    assert "HOLDS" in said
    print(said)
