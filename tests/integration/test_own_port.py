"""METRICS_PORT: each process answers there for itself, whatever its loop and its stores do."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from orchestrator_site.observing import port
from orchestrator_site.observing.standing import Standing
from orchestrator_site.parts import running
from orchestrator_site.preflight import listen
from tests import servers
from tests.running import ROOT, START_SECONDS, RunningServer, free_port

ROLES = (["serve", "--only", "web"], ["worker"], ["sequencer"])


@contextmanager
def run_role(environment: dict[str, str], arguments: list[str]) -> Iterator[str]:
    """Run a role with an own port, and give the port's address."""
    port = free_port()
    named = environment | {"PORT": str(free_port()), "METRICS_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=named)
    try:
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def get(url: str) -> httpx2.Response | None:
    try:
        return httpx2.get(url, timeout=5)
    except httpx2.HTTPError:
        return None


def wait_for(url: str, status: int) -> httpx2.Response:
    give_up_at = time.monotonic() + START_SECONDS
    found = get(url)
    while found is None or found.status_code != status:
        assert time.monotonic() < give_up_at, f"{url}: {found and found.text}"
        time.sleep(0.1)
        found = get(url)
    return found


def read_samples(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_every_role_answers_on_its_own_port_and_outlives_its_stores(tmp_path: Path) -> None:
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.run_postgres())
        valkey = stack.enter_context(servers.run_valkey())
        mongodb = stack.enter_context(servers.run_mongodb())
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(tmp_path / "var"),
            "STATE_DATABASE_URL": postgres,
            "REDIS_URL": valkey,
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
        }
        subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=environment, check=True, timeout=60)
        web, worker, sequencer = [stack.enter_context(run_role(environment, role)) for role in ROLES]
        for url in (web, worker, sequencer):
            assert wait_for(f"{url}/ready", 200).json() == {"ready": True, "lack": None}
            assert wait_for(f"{url}/health", 200).json() == {"status": "healthy", "faults": []}
        samples = read_samples(wait_for(f"{sequencer}/metrics", 200).text)
        assert samples["workers_alive"] == 1
        assert samples["worker_slots"] == 40
        assert samples["sequencer_leads"] == 1
        assert samples['dependency_up{dependency="redis"}'] == 1
        assert samples['dependency_up{dependency="audit_store"}'] == 1
        mongodb.kill()
        assert "does not answer" in wait_for(f"{sequencer}/ready", 503).text
        assert get(f"{sequencer}/health").status_code == 200
        assert get(f"{worker}/ready").status_code == 200
        samples = read_samples(wait_for(f"{worker}/metrics", 200).text)
        assert samples['dependency_up{dependency="audit_store"}'] == 0
        assert samples['dependency_up{dependency="state_store"}'] == 1


def test_one_process_answers_for_all_its_parts(tmp_path: Path) -> None:
    port = free_port()
    server = RunningServer(tmp_path / "var", METRICS_PORT=str(port)).start()
    try:
        url = f"http://127.0.0.1:{port}"
        assert wait_for(f"{url}/ready", 200).json()["ready"] is True
        assert get(f"{url}/health").json() == {"status": "healthy", "faults": []}
        assert read_samples(get(f"{url}/metrics").text)["workers_alive"] == 1
        assert get(f"{url}/api/tasks").status_code == 404
    finally:
        server.stop()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role[0])
def test_a_port_that_is_taken_is_one_line(role: list[str], tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(tmp_path / "var"),
            "PORT": str(free_port()),
            "METRICS_PORT": str(other.getsockname()[1]),
            "SECRET_KEY": "k" * 64,
            "LOG_LEVEL": "ERROR",
            "STATE_DATABASE_URL": "postgres://o@127.0.0.1:1/o",
            "REDIS_URL": "redis://127.0.0.1:1",
            "DATABASE_URL": "mongodb://127.0.0.1:1/?w=majority&journal=true",
        }
        command = [sys.executable, "manage.py", *role]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot be used (Address already in use): free it, or set METRICS_PORT" in done.stderr


def test_a_scrape_that_fails_by_the_system_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bytes:
        raise OSError("too many open files")

    monkeypatch.setattr(port, "render_metrics", fail)
    part = port.PortPart(listen("127.0.0.1", number := free_port()), Standing(find_faults=list, find_lack=str))
    with running(part):
        assert get(f"http://127.0.0.1:{number}/metrics") is None
        assert get(f"http://127.0.0.1:{number}/health").status_code == 200
    assert [vars(record)["action"] for record in caplog.records if record.levelname == "ERROR"] == ["metrics.failed"]
