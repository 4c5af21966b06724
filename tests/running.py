"""A real server process on a state folder of its own, as `make run` starts it, for tests that kill and restart it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60  # a loaded machine; what a start really takes is the bench's matter


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RunningServer:
    """`manage.py serve` with its own `var`; `environment` adds to what the test runner has.

    `program` is what Python is given in the place of `manage.py`.
    """

    def __init__(self, var: Path, *, program: tuple[str, ...] = ("manage.py",), **environment: str) -> None:
        self.var = var
        self._program = program
        self.port = free_port()
        self.output = var.parent / f"{var.name}.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}},
            "ORCHESTRATOR_VAR": str(var),
            "PORT": str(self.port),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.token = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "RunningServer":
        """Start the process and wait until it is ready."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._program, "serve"],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._wait_until_ready()
        if not self.token:
            self.token = self.manage("issue_token", "test", "--scopes", "all").split()[-1]
        return self

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log()}")
            try:
                if httpx2.get(f"{self.url}/ready", timeout=2).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready after {START_SECONDS} s:\n{self.log()}")

    def log(self) -> str:
        """Return what the process printed last."""
        return self.output.read_text(errors="replace")[-4000:]

    def manage(self, *arguments: str, check: bool = True) -> str:
        """Run a `manage.py` command beside the server and return what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def password_of(self, user: str) -> str:
        """Return the generated password of a first user."""
        found = re.search(rf"^{user}\s+(\S+)", (self.var / "run" / "logins.txt").read_text(), re.MULTILINE)
        assert found is not None, f"no login of {user}"
        return found.group(1)

    def client(self) -> httpx2.Client:
        """Return an HTTP client with the token."""
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)

    def submit(self, client: httpx2.Client, key: str = "", **body: Any) -> str:
        """Submit a task and return its id."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = client.post("/api/tasks", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["taskId"]
        return task_id

    def find_mongodb(self) -> int:
        """Return the process id of the server's embedded MongoDB."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if (
                command.startswith(b"/")
                and b"secantusd" in command.split(b"\0")[0]
                and str(self.var).encode() in command
            ):
                return int(process.name)
        raise AssertionError(f"no embedded MongoDB of {self.var} runs")

    def kill(self) -> None:
        """End the process as a power cut would: no handler runs."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def terminate(self, *, group: bool = False, signum: int = signal.SIGTERM, timeout_seconds: float = 20) -> int:
        """Ask the process (or its whole group) to stop and return its exit code."""
        assert self.process is not None
        (os.killpg if group else os.kill)(self.process.pid, signum)
        return self.process.wait(timeout_seconds)

    def stop(self) -> None:
        """Stop the process if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
