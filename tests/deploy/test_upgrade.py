"""The last release and this one side by side on one state: the new one prepares it, both serve, the old one goes.

The last release is the revision that deploy/release.json names, taken from the repository's history as it was.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import httpx2
import pytest

from tests import servers
from tests.bench.orders import NORMALISE
from tests.running import ROOT, START_SECONDS, free_port

PARTS = (("serve", "--only", "web"), ("worker",), ("sequencer",))
PATIENCE_SECONDS = 60


@dataclass(kw_only=True)
class Release:
    """A version of the code, its processes, and the port of its web process."""

    code: Path
    environment: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        """Run a command of this version, and return what it printed."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=self.code, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run web, worker and sequencer of this version; each must end in order."""
        try:
            for arguments in PARTS:
                with self.log.open("ab") as log:
                    command = [sys.executable, "manage.py", *arguments]
                    environment = self.environment | {"PORT": str(self.port)}
                    process = subprocess.Popen(command, cwd=self.code, env=environment, stdout=log, stderr=log)
                self.processes.append(process)
            self._wait_until_ready()
            yield
        finally:
            for process in self.processes:
                process.terminate()
            codes = [process.wait(30) for process in self.processes]
        assert codes == [0] * len(PARTS), self.log.read_text()[-3000:]

    def _wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            with suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/ready", timeout=2).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.log.read_text()[-3000:]}")

    def client(self, token: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=20)

    def find_errors(self) -> list[str]:
        """Return what its processes logged as an error."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line[:1000] for line in lines if '"level":"ERROR"' in line or '"level":"CRITICAL"' in line]


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[Release, Release]]:
    """Give the last release and this one, on servers that nobody else uses."""
    old = tmp_path / "old"
    unpack_last_release(old)
    with servers.run_postgres() as postgres, servers.run_valkey() as valkey, servers.run_mongodb() as mongodb:
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(tmp_path / "var"),
            "STATE_DATABASE_URL": postgres,
            "REDIS_URL": valkey,
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
        }
        yield (
            Release(code=old, environment=environment, log=tmp_path / "old.log"),
            Release(code=ROOT, environment=environment, log=tmp_path / "new.log"),
        )


def unpack_last_release(folder: Path) -> None:
    revision = json.loads((ROOT / "deploy" / "release.json").read_text())["revision"]
    done = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"Not run here: the history does not hold {revision}: git fetch --unshallow")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")
    shutil.copytree(ROOT / "staticfiles", folder / "staticfiles")  # it refuses to start without any


def order(client: httpx2.Client, *, count: int) -> list[str]:
    """Order tasks; none may be refused."""
    answers = [client.post("/api/tasks", json=NORMALISE) for _ in range(count)]
    assert [answer.status_code for answer in answers] == [202] * count, answers[-1].text
    return [answer.json()["taskId"] for answer in answers]


def wait_for_success(client: httpx2.Client, task_ids: list[str]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    left = list(task_ids)
    while left:
        assert time.monotonic() < give_up_at, f"{len(left)} tasks did not end"
        ended = {task_id: client.get(f"/api/tasks/{task_id}").json()["status"] for task_id in left}
        assert set(ended.values()) <= {"queued", "running", "succeeded", "completed"}, ended
        left = [task_id for task_id, status in ended.items() if status in {"queued", "running"}]
        time.sleep(0.05)


def test_old_and_new_processes_serve_one_state_side_by_side(releases: tuple[Release, Release]) -> None:
    old, new = releases
    old.run("prepare")
    with ExitStack() as later:
        with old.running():
            token = old.run("issue_token", "upgrade", "--scopes", "all").split()[-1]
            with old.client(token) as before:
                wait_for_success(before, order(before, count=3))
                new.run("prepare")
                wait_for_success(before, order(before, count=5))  # the old code alone, on the new schema
                later.enter_context(new.running())
                after = later.enter_context(new.client(token))
                of_old, of_new = order(before, count=20), order(after, count=20)
                wait_for_success(after, of_old)
                wait_for_success(before, of_new)
                for client in (before, after):
                    assert client.get("/api/audit", params={"taskId": of_new[0]}).json()["results"]
                    assert client.get("/api/budget").status_code == client.get("/api/agents").status_code == 200
                waiting = order(before, count=10)
        wait_for_success(after, waiting)  # the old ones are gone
        assert "OK: the log holds" in new.run("verify_audit")
    assert old.find_errors() == new.find_errors() == []
