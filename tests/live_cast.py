"""The live view as production runs it: web processes and a sequencer beside each other, and a writer of events.

`python -m tests.live_cast write RATE COUNT SKILL` records COUNT events at RATE a second, `… users COUNT` makes users
who may read the feed and prints their sessions' cookies. Both work on the state that the environment names.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import servers
from tests.running import ROOT, START_SECONDS, free_port


@dataclass(kw_only=True)
class LiveTown:
    """Web processes and a sequencer on one state; `ports` are those of the web processes."""

    environment: dict[str, str]
    ports: list[int] = field(default_factory=list)
    webs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        """Run a program of Python on the town's state and return what it printed."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def manage(self, *arguments: str) -> str:
        """Run a `manage.py` command on the town's state and return what it printed."""
        return self.run("manage.py", *arguments)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program of Python on the town's state."""
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment | environment, stdout=subprocess.DEVNULL)

    def end_webs(self) -> None:
        """End the web processes that there are by now."""
        for web in self.webs:
            end(web)

    def make_cookies(self, count: int) -> list[str]:
        """Make users who may read the feed, and return the value of a session cookie for each."""
        return self.run("-m", "tests.live_cast", "users", str(count)).split()

    def write(self, *, rate: float, count: int, skill: str = "normalizer") -> subprocess.Popen[bytes]:
        """Start a process that records events."""
        return self.start("-m", "tests.live_cast", "write", str(rate), str(count), skill)


@contextmanager
def run_live_town(
    folder: Path,
    *,
    redis: str,
    webs: int = 1,
    program: tuple[str, ...] = ("manage.py", "serve", "--only", "web"),
    **settings: str,
) -> Iterator[LiveTown]:
    """Run `webs` web processes and a sequencer on this Redis, a PostgreSQL and an embedded MongoDB of their own."""
    with ExitStack() as stack:
        mongodb, postgres = stack.enter_context(servers.run_mongodb()), stack.enter_context(servers.run_postgres())
        environment = make_environment(folder) | {
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            "REDIS_URL": redis,
            "STATE_DATABASE_URL": postgres,
            **settings,
        }
        town = LiveTown(environment=environment, ports=[free_port() for _ in range(webs)])
        town.run("manage.py", "prepare")
        stack.enter_context(ending(town.start("manage.py", "sequencer")))
        stack.callback(town.end_webs)  # also those that a test put in their places
        for port in town.ports:
            town.webs.append(town.start(*program, PORT=str(port)))
        for port in town.ports:
            wait_for_port(port)
        yield town


def make_environment(folder: Path) -> dict[str, str]:
    """Return the environment of processes that keep their state in a folder."""
    return {
        "PATH": os.environ["PATH"],
        "ORCHESTRATOR_VAR": str(folder / "var"),
        "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings",
        "LOG_LEVEL": "WARNING",
    }


@contextmanager
def run_one_process(folder: Path, *, program: tuple[str, ...] = ("manage.py", "serve")) -> Iterator[LiveTown]:
    """Run all in one process on SQLite and an embedded MongoDB, as `make run` does."""
    town = LiveTown(environment=make_environment(folder), ports=[free_port()])
    town.run("manage.py", "prepare")
    town.webs.append(town.start(*program, PORT=str(town.ports[0])))
    with ending(town.webs[0]):
        wait_for_port(town.ports[0])
        yield town


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process when it is no longer wanted."""
    try:
        yield
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, if it has not ended, and wait until it has."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port."""
    give_up_at = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < give_up_at, f"nothing listens on {port}"
            time.sleep(0.05)


async def open_deaf(port: int, cookie: str, *, hello: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a console socket of which little more than the handshake is read, until somebody asks the reader."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1_024)
    writer.write(handshake_of(port, cookie))
    await reader.readuntil(b"\r\n\r\n")
    if hello:
        writer.write(frame_of(hello))
    return reader, writer


def handshake_of(port: int, cookie: str, *, path: str = "/ws/console/") -> bytes:
    """Return the request that opens a socket, the console's unless `path` names another."""
    lines = [
        f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}", f"Cookie: {cookie}",
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def frame_of(text: bytes) -> bytes:
    """Return a client's message of up to 125 bytes as it goes over the wire, masked with zeros."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def write_events(rate: float, count: int, skill: str) -> None:
    """Record events about a skill, `rate` a second, each in a transaction of its own; late ones are made up for."""
    from datetime import UTC, datetime

    from audit.ledger import record
    from audit.transactions import write_transaction
    from tests.audit_cast import make_event

    started = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        with write_transaction():
            record(make_event(number, at=datetime.now(UTC), skill_id=skill, body={}))


def make_users(count: int) -> None:
    """Make auditors, and print a session cookie's value of each."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    from tests.audit_cast import open_session

    group, _ = Group.objects.get_or_create(name="auditor")
    for number in range(count):
        print(open_session(f"reader-{number}"))
        get_user_model().objects.get(username=f"reader-{number}").groups.add(group)


if __name__ == "__main__":
    import django

    django.setup()
    match sys.argv[1:]:
        case ["users", count]:
            make_users(int(count))
        case ["write", rate, count, skill]:
            write_events(float(rate), int(count), skill)
