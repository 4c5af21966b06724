"""The parts as processes of their own, as in production: on PostgreSQL, Redis and a MongoDB that they share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests import servers
from tests.running import ROOT, START_SECONDS, free_port

ORDER = {
    "agentId": "normalization-agent",
    "skillId": "normalizer",
    "input": {"data": {"n": "7"}, "schema": {"n": {"type": "number"}}},
}
PARTS = (["serve", "--only", "web"], ["worker"], ["sequencer"])


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Name servers that nobody else uses."""
    with servers.run_postgres() as postgres, servers.run_valkey() as valkey, servers.run_mongodb() as mongodb:
        yield {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(tmp_path / "var"),
            "PORT": str(free_port()),
            "STATE_DATABASE_URL": postgres,
            "REDIS_URL": valkey,
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counters"),
        }


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def run_part(environment: dict[str, str], arguments: list[str], log: Path) -> Iterator[None]:
    """Run a part, and see that it ends in time and without an error when it is told to."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, f"{arguments}: {log.read_text()[-3000:]}"
        assert time.monotonic() - started < 5
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_ready(url: str) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        try:
            if httpx2.get(f"{url}/ready", timeout=2).json()["degraded"] == []:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise AssertionError("not ready")


def test_web_worker_and_sequencer_do_a_task_together(environment: dict[str, str], tmp_path: Path) -> None:
    early = manage(environment, "serve", "--only", "web")
    assert early.returncode == 1
    *_, line = early.stderr.splitlines()  # after what is warned of
    assert "manage.py prepare" in line
    for _ in range(2):  # the second time there is nothing to do
        prepared = manage(environment, "prepare")
        assert prepared.returncode == 0, prepared.stderr
    token = manage(environment, "issue_token", "test", "--scopes", "all").stdout.strip()
    url = f"http://127.0.0.1:{environment['PORT']}"
    with ExitStack() as stack:
        for arguments in PARTS:
            stack.enter_context(run_part(environment, arguments, tmp_path / f"{arguments[0]}.log"))
        wait_until_ready(url)
        client = stack.enter_context(httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}))
        task_id = client.post("/api/tasks", json=ORDER).json()["taskId"]
        with client.stream("GET", f"/api/tasks/{task_id}/events", timeout=20) as events:
            assert "event: task.succeeded" in "".join(events.iter_text())
        counted = 'skill_access_allowed_total{agent="normalization-agent",skill="normalizer"} 1.0'
        assert counted in client.get("/metrics").text  # counted by the worker, told by the web
        verified = manage(environment, "verify_audit")
        assert verified.returncode == 0, verified.stdout
