"""A whole installation on one machine: web, worker and sequencer as many processes behind Debian's haproxy.

Three web processes, three workers, two sequencers of which one stands by; PostgreSQL, Valkey and an embedded MongoDB;
a stand-in for the models. Each part can be killed, and the stores stopped, while screens of the live view look on.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from redis import Redis

from agents.engine import DOCKET_NAME
from tests import servers
from tests.bench.provider import Provider, run_provider
from tests.budget_storm import WATCH_POSTGRES
from tests.integration.screen import Screen
from tests.integration.test_faults import ORDER, TERMINAL
from tests.live_cast import LiveTown, make_environment, wait_for_port
from tests.running import ROOT, free_port

WEBS, WORKERS = ("web 1", "web 2", "web 3"), ("worker 1", "worker 2", "worker 3")
SEQUENCERS = ("sequencer 1", "sequencer 2")
TASKS_PER_SECOND = 12
PATIENCE_SECONDS = 120  # of a busy machine

PROXY = """
global
    maxconn 2000
    stats socket {socket}
    log stdout format raw daemon notice
defaults
    mode http
    log global
    timeout connect 1s
    timeout client 60s
    timeout server 30s
    timeout tunnel 1h
    option forwardfor
    option redispatch
    retries 3
    retry-on conn-failure empty-response response-timeout 503
frontend console
    bind 127.0.0.1:{port}
    # What may have been carried out is not sent a second time.
    http-request disable-l7-retry unless METH_GET
    default_backend webs
backend webs
    balance leastconn
    option httpchk GET /ready
    timeout check 5s
    default-server check inter 1s fall 2 rise 1
{servers}
"""


@contextmanager
def run_proxy(folder: Path, ports: Iterable[int]) -> Iterator[int]:
    """Run haproxy before web processes, and give its port."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        pytest.skip("no haproxy: apt-get install haproxy")
    port, config = free_port(), folder / "haproxy.cfg"
    lines = [f"    server web{number} 127.0.0.1:{web}" for number, web in enumerate(ports, 1)]
    config.write_text(PROXY.format(port=port, socket=folder / "haproxy.sock", servers="\n".join(lines)))
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", str(config)], stdout=log, stderr=log)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


class Broker:
    """Valkey, and what may become of it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.url = stack.enter_context(servers.run_valkey())
        self._port = int(self.url.rpartition(":")[2].partition("/")[0])
        self._pid = self._find_pid()

    def ask(self) -> "Redis":
        return Redis.from_url(self.url, socket_timeout=5)

    def _find_pid(self) -> int:
        return int(self.ask().info("server")["process_id"])

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def start_empty(self) -> None:
        self._stack.enter_context(servers.run_valkey(port=self._port))
        self._pid = self._find_pid()

    def fall_silent(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def answer_again(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def fill_up(self) -> None:
        self.ask().config_set("maxmemory-policy", "noeviction")
        self.ask().config_set("maxmemory", "100kb")

    def make_room(self) -> None:
        self.ask().config_set("maxmemory", "0")


@dataclass(kw_only=True)
class Scale:
    """The installation, and what is known of it from outside."""

    folder: Path
    town: LiveTown
    postgres: servers.Postgres
    broker: Broker
    provider: Provider
    port: int  # the proxy's
    token: str = ""
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    task_ids: list[str] = field(default_factory=list)  # of all that were taken

    def start(self, name: str, *arguments: str, program: tuple[str, ...] = ("manage.py",), **environment: str) -> None:
        """Start a part; what it prints is in a file of its name."""
        role, _, number = name.partition(" ")
        command = [sys.executable, *program, *(("serve", "--only", "web") if role == "web" else (role, *arguments))]
        if role == "web":
            environment["PORT"] = str(self.town.ports[int(number) - 1])
        with (self.folder / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                command, cwd=ROOT, env=self.town.environment | environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def wait_for_web(self, name: str) -> None:
        wait_for_port(self.town.ports[int(name.partition(" ")[2]) - 1])

    def kill(self, name: str) -> None:
        self.parts[name].kill()
        self.parts[name].wait(10)

    def end(self, names: Iterable[str]) -> None:
        """Stop parts as an operator does."""
        for name in names:
            self.parts[name].terminate()
        for name in names:
            assert self.parts[name].wait(20) == 0, f"{name}: {self.log(name)}"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    # --- what it holds ----------------------------------------------------------------------------------------
    def query(self, sql: str, *parameters: Any) -> list[Any]:
        with psycopg.connect(self.postgres.url.replace("postgres://", "postgresql://")) as connection:
            return connection.execute(sql.encode(), parameters).fetchall()

    def leader(self) -> str:
        """Return the name of the sequencer that leads in time; empty if none does."""
        rows = self.query("SELECT holder FROM audit_treehead WHERE lease_expires_at > now()")
        names = [
            name for name in SEQUENCERS if rows and name in self.parts and f":{self.parts[name].pid}:" in rows[0][0]
        ]
        return names[0] if names else ""

    def wait(self, reached: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> float:
        """Wait until something is so, and return the seconds that it took."""
        started = time.monotonic()
        while not reached():
            if time.monotonic() - started > seconds:
                states = self.query("SELECT state, COUNT(*) FROM agents_task GROUP BY state")
                raise AssertionError(f"waited {seconds} s for {what}; tasks: {states}\n{self.tell()}")
            time.sleep(0.05)
        return time.monotonic() - started

    def tell(self) -> str:
        """Return the ends of what the parts printed."""
        return "\n".join(f"--- {name}\n{self.log(name)[-800:]}" for name in self.parts)

    # --- what is asked of it ----------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, url: str = "") -> httpx2.Client:
        """Return an API client, through the proxy unless an address is given."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx2.Client(base_url=url or self.url, headers=headers, timeout=20)

    def order(self, body: dict[str, Any], *, count: int = 1, **more: Any) -> list[str]:
        """Order tasks until all were taken, at the pace that is allowed; return their ids."""
        with self.client() as client, ThreadPoolExecutor(4) as threads:
            taken = list(threads.map(lambda _: self._order_one(client, body | more), range(count)))
        self.task_ids += taken
        return taken

    def _order_one(self, client: httpx2.Client, body: dict[str, Any]) -> str:
        key = os.urandom(8).hex()
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up_at:
            try:
                answer = client.post("/api/tasks", json=body, headers={"Idempotency-Key": key})
                if answer.status_code == 202:
                    return str(answer.json()["taskId"])
                assert answer.status_code in {429, 502, 503, 504}, answer.text
            except httpx2.TransportError:  # the process that had it was killed
                pass
            time.sleep(0.2)
        raise AssertionError("an order was not taken")

    def wait_for_end(self, task_ids: list[str], *, seconds: float = PATIENCE_SECONDS) -> float:
        ended = "SELECT COUNT(*) FROM agents_task WHERE ended_at IS NOT NULL AND id = ANY(%s)"
        return self.wait(lambda: self.query(ended, task_ids) == [(len(task_ids),)], "all tasks to end", seconds=seconds)

    def outcomes(self, task_ids: list[str]) -> Counter[str]:
        rows = self.query("SELECT state, error_code FROM agents_task WHERE id = ANY(%s)", task_ids)
        return Counter(code or state for state, code in rows)

    def shell(self, code: str) -> None:
        self.town.run("manage.py", "shell", "--verbosity", "0", "--command", code)

    # --- what must hold ---------------------------------------------------------------------------------------
    def assert_whole(self) -> None:
        """Ask the four questions of every task that was taken, and whether money adds up."""
        rows = self.query("SELECT task_id, type FROM audit_ledgerevent WHERE task_id = ANY(%s)", self.task_ids)
        endings = Counter(task_id for task_id, type_ in rows if type_ in TERMINAL)
        assert endings == dict.fromkeys(self.task_ids, 1)
        undecided = "SELECT s.id FROM agents_step s LEFT JOIN toolgate_decisionrecord d"
        undecided += " ON d.id = s.decision_id AND d.effect = 'allow' WHERE s.kind = 'skill' AND d.id IS NULL"
        assert self.query(undecided) == []
        assert "OK: the log holds" in self.town.run("manage.py", "verify_audit")
        assert self.query("SELECT * FROM violation") == []
        assert self.query("SELECT key FROM agents_budgetaccount WHERE held_micro <> 0") == []
        assert self.query("SELECT id FROM agents_reservation WHERE closed_at IS NULL") == []
        assert self.query("SELECT id FROM agents_step WHERE state = 'intent'") == []

    def assert_engine_listens(self) -> float:
        """See that messages start tasks again, well before a sweep would; return the median of seconds to a start."""
        self.wait(
            lambda: self.broker.ask().zcard(f"{DOCKET_NAME}:workers") >= len(WORKERS), "docket's workers", seconds=20
        )
        waits: list[float] = []
        for _ in range(5):
            (task_id,) = self.order(ORDER)
            self.wait_for_end([task_id])
            sql = "SELECT EXTRACT(EPOCH FROM started_at - created_at) FROM agents_task WHERE id = %s"
            waits.append(float(self.query(sql, task_id)[0][0]))
        median = sorted(waits)[len(waits) // 2]
        assert median < 0.3, waits
        return median


@contextmanager
def run_scale(folder: Path) -> Iterator[Scale]:
    """Run it all on servers that nobody else uses."""
    with ExitStack() as stack:
        ports = [free_port() for _ in WEBS]
        proxy = stack.enter_context(run_proxy(folder, ports))
        provider = stack.enter_context(run_provider(free_port()))
        postgres, broker = stack.enter_context(servers.run_restartable_postgres()), Broker(stack)
        store = stack.enter_context(servers.run_mongodb())
        environment = make_environment(folder) | {
            "DATABASE_URL": f"mongodb://127.0.0.1:{store.port}/?directConnection=true&w=majority&journal=true",
            "STATE_DATABASE_URL": postgres.url,
            "REDIS_URL": broker.url,
            "OPENAI_BASE_URL": provider.base_url,
            "MODEL_TIER_CHEAP_FALLBACK": "",
            "MAX_TASKS_PER_SECOND": str(TASKS_PER_SECOND),
            "RESERVED_SLOTS": "0",
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
        }
        town = LiveTown(environment=environment, ports=ports)
        town.run("manage.py", "prepare")
        scale = Scale(folder=folder, town=town, postgres=postgres, broker=broker, provider=provider, port=proxy)
        try:
            _start_all(scale)
            yield scale
        finally:
            for part in scale.parts.values():
                part.kill()
                part.wait(10)


def _start_all(scale: Scale) -> None:
    scale.start("sequencer 1", program=("-m", "tests.dying_server"))
    for name in (*WEBS, *WORKERS):
        scale.start(name)
    with psycopg.connect(scale.postgres.url.replace("postgres://", "postgresql://")) as connection:
        connection.execute(WATCH_POSTGRES.encode())
    scale.token = scale.town.run("manage.py", "issue_token", "scale", "--scopes", "all").split()[-1]
    for name in WEBS:
        scale.wait_for_web(name)
    scale.wait(lambda: scale.leader() == "sequencer 1", "a leader")
    scale.start("sequencer 2", program=("-m", "tests.dying_server"))
    alive = "SELECT COUNT(*) FROM agents_worker WHERE lease_expires_at > now()"
    scale.wait(lambda: scale.query(alive) == [(len(WORKERS),)], "the workers")


@contextmanager
def looking_on(scale: Scale) -> Iterator[list[Screen]]:
    """Have a screen at each web process and one behind the proxy, on a loop of their own, whatever happens."""
    ports = [*scale.town.ports, scale.port]
    screens = [Screen(port, cookie) for port, cookie in zip(ports, scale.town.make_cookies(len(ports)), strict=True)]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="screens", daemon=True)
    thread.start()
    for screen in screens:
        asyncio.run_coroutine_threadsafe(screen.follow(), loop)
    try:
        yield screens
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
