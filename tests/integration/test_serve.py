"""The process that `make run` starts: its begin, its end, and what it says when it cannot begin."""

import asyncio
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from tests.running import ROOT, RunningServer, free_port

STOP_SECONDS = 5.0
ORDER: dict[str, Any] = {
    "agentId": "normalization-agent",
    "skillId": "normalizer",
    "input": {"data": {"n": "7"}, "schema": {"n": {"type": "number"}}},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path / "var")
    yield server
    server.stop()


def find_mongodb(server: RunningServer) -> int:
    """Return the process id of the embedded MongoDB: the one child whose program is that."""
    assert server.process is not None
    threads = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    children = [int(pid) for thread in threads for pid in thread.read_text().split()]
    (pid,) = [pid for pid in children if b"secantusd" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pid


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_curl(server: RunningServer) -> tuple[str, dict[str, str], str]:
    """Return address, headers and body of the command that the server printed last."""
    pasted = server.log().rsplit("curl -sS", 1)[1].split("\n\n")[0].replace("\\\n", " ")
    words = shlex.split(pasted)
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    return words[0], headers, words[words.index("-d") + 1]


def wait_for_end(task_id: str, client: httpx2.Client) -> dict[str, object]:
    for _ in range(200):
        task: dict[str, object] = client.get(f"/api/tasks/{task_id}").json()
        if task["status"] in {"succeeded", "failed", "cancelled"}:
            return task
        time.sleep(0.05)
    raise AssertionError(task)


def test_it_prints_a_command_that_works_and_replaces_its_token_at_the_next_start(server: RunningServer) -> None:
    server.start()
    address, headers, body = read_curl(server)
    assert address == f"{server.url}/api/tasks"
    answer = httpx2.post(address, headers=headers, content=body)
    assert answer.status_code == 202, answer.text
    logins = {name: server.password_of(name) for name in ("admin", "approver")}
    assert all(f"{name:<10} {password}" in server.log() for name, password in logins.items())

    assert server.terminate() == 0
    server.start()
    assert httpx2.post(address, headers=headers, content=body).status_code == 401
    address, headers, body = read_curl(server)
    assert httpx2.post(address, headers=headers, content=body).status_code == 202
    assert {name: server.password_of(name) for name in logins} == logins


def test_its_files_are_private(server: RunningServer) -> None:
    server.start()
    copied = server.var / "workspace" / "examples"  # as open as they are in the repository
    paths = [path for path in [server.var, *server.var.rglob("*")] if copied not in path.parents]
    assert [path for path in paths if path != copied and stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


@pytest.mark.parametrize(("group", "signum"), [(False, signal.SIGTERM), (True, signal.SIGTERM), (True, signal.SIGINT)])
def test_it_stops_in_time_and_mongodb_with_it(server: RunningServer, group: bool, signum: int) -> None:
    server.start()
    mongodb = find_mongodb(server)
    with server.client() as client:
        task_ids = [server.submit(client, **ORDER) for _ in range(20)]
    started = time.monotonic()
    assert server.terminate(group=group, signum=signum) == 0, server.log()
    assert time.monotonic() - started < STOP_SECONDS
    assert not is_running(mongodb)
    server.start()
    with server.client() as client:
        assert {wait_for_end(task_id, client)["status"] for task_id in task_ids} == {"succeeded"}
    server.manage("verify_audit")


def test_it_stops_in_time_with_streams_open(server: RunningServer) -> None:
    server.start()
    with server.client() as client:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        task_id = server.submit(client, **ORDER, runAt=tomorrow.isoformat())
        with client.stream("GET", f"/api/tasks/{task_id}/events") as stream:
            assert next(stream.iter_lines())
            started = time.monotonic()
            assert server.terminate() == 0, server.log()
            assert time.monotonic() - started < STOP_SECONDS


async def test_it_stops_in_time_with_a_console_open(server: RunningServer) -> None:
    server.start()
    origin = Origin(server.url)
    cookies = {"Cookie": log_in(server)}
    async with connect(f"ws://127.0.0.1:{server.port}/ws/console/", origin=origin, additional_headers=cookies) as tab:
        await tab.send('{"op": "hello", "last": null, "filters": {}}')
        assert '"hello"' in await asyncio.wait_for(tab.recv(), 10)
        started = time.monotonic()
        assert await asyncio.to_thread(server.terminate) == 0, server.log()
        assert time.monotonic() - started < STOP_SECONDS


def log_in(server: RunningServer) -> str:
    """Return the Cookie header of an admin's session."""
    with httpx2.Client(base_url=server.url) as browser:
        browser.get("/accounts/login/")
        form = {"login": "admin", "password": server.password_of("admin")}
        token = browser.cookies["csrftoken"]
        answer = browser.post("/accounts/login/", data={**form, "csrfmiddlewaretoken": token})
        assert answer.status_code == 302, answer.text
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def test_it_leaves_nothing_in_the_way_when_it_is_killed(server: RunningServer) -> None:
    server.start()
    mongodb = find_mongodb(server)
    with server.client() as client:
        task_id = server.submit(client, **ORDER)
    server.kill()
    server.start()
    with server.client() as client:
        assert wait_for_end(task_id, client)["status"] == "succeeded"
    assert not is_running(mongodb)
    server.manage("verify_audit")


def test_two_installations_run_side_by_side(tmp_path: Path) -> None:
    servers = [RunningServer(tmp_path / name) for name in ("one", "two")]
    try:
        for server in servers:
            server.start()
        for server in servers:
            with server.client() as client:
                assert wait_for_end(server.submit(client, **ORDER), client)["status"] == "succeeded"
        other = httpx2.get(f"{servers[1].url}/api/tasks", headers={"Authorization": f"Bearer {servers[0].token}"})
        assert other.status_code == 401
    finally:
        for server in servers:
            server.stop()


def test_commands_work_beside_it(server: RunningServer) -> None:
    server.start()
    environment = {"PATH": os.environ["PATH"], "ORCHESTRATOR_VAR": str(server.var)}
    command = [sys.executable, "manage.py", "verify_audit"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "OK: the log holds" in done.stdout


def test_it_ends_quietly_when_it_is_stopped_while_it_starts(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "ORCHESTRATOR_VAR": str(tmp_path / "var"), "PORT": str(free_port())}
    for delay in (0.3, 1.2):
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert "Traceback" not in errors


# --- what it says when it cannot begin ------------------------------------------------------------------------


def refuse(*arguments: str, **environment: str) -> str:
    """Start it where it cannot start, and return the one line that it says."""
    done = subprocess.run(
        [sys.executable, "manage.py", "serve", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    (line,) = lines
    return line


def test_it_refuses_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        line = refuse(ORCHESTRATOR_VAR=str(tmp_path / "var"), PORT=port)
    assert port in line
    assert "PORT" in line


def test_it_refuses_a_folder_that_is_in_use(server: RunningServer) -> None:
    server.start()
    line = refuse(ORCHESTRATOR_VAR=str(server.var), PORT=str(free_port()))
    assert server.url in line
    assert "ORCHESTRATOR_VAR" in line


def test_it_refuses_a_folder_that_cannot_be_written() -> None:
    assert "ORCHESTRATOR_VAR" in refuse(ORCHESTRATOR_VAR="/proc/orchestrator")


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"PORT": "many"}, "PORT"),
        ({"MAX_AGENTS": "0"}, "MAX_AGENTS"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY_FILE": "/no/such/file"}, "SECRET_KEY_FILE"),
        ({"STATE_DATABASE_URL": "mysql://host/name"}, "STATE_DATABASE_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL"),
        ({"EMBEDDED_MONGODB_COMMAND": "/bin/false"}, "embedded MongoDB"),
    ],
)
def test_it_refuses_settings_that_cannot_be(tmp_path: Path, environment: dict[str, str], named: str) -> None:
    setting = {"ORCHESTRATOR_VAR": str(tmp_path / "var"), "PORT": str(free_port())}
    assert named in refuse(**setting | environment)


def test_it_refuses_to_be_a_part_without_shared_stores(tmp_path: Path) -> None:
    line = refuse("--only", "web", ORCHESTRATOR_VAR=str(tmp_path / "var"))
    assert re.search("DATABASE_URL.*STATE_DATABASE_URL.*REDIS_URL", line)
