"""Kill -9 of the sequencer and of writers while ten of them write: the log verifies, and nothing is lost or twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # at most; it ends with the last kill
KILLS = 3


class Storm:
    """Programs on one pair of stores."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def run(self, *command: str, text: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT, env=self._environment, input=text, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def sequencing(self, *, end: signal.Signals) -> Iterator[None]:
        with self._start("-m", "tests.integration.log_storm", "sequence") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "leads\n"
            yield
            process.send_signal(end)

    @contextmanager
    def writing(self) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
        """Write while inside; give the process, and the ids that fill up."""
        ids: list[str] = []
        with self._start("-m", "tests.integration.log_storm", "write", f"{SECONDS}") as process:
            reader = threading.Thread(target=lambda: ids.extend(line.strip() for line in process.stdout or ()))
            reader.start()
            yield process, ids
            reader.join()

    @contextmanager
    def _start(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
            process.wait(30)
        finally:
            process.kill()


@pytest.fixture(params=["sqlite", "postgresql"])
def storm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storm]:
    with servers.run_mongodb() as store:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "ORCHESTRATOR_VAR": str(tmp_path / "var"),
            "LOG_LEVEL": "ERROR",
            "DATABASE_URL": f"mongodb://127.0.0.1:{store.port}/?directConnection=true",
        }
        if request.param == "postgresql":
            environment["STATE_DATABASE_URL"] = request.getfixturevalue("postgres")
        yield Storm(environment)


def kill_a_writer(process: subprocess.Popen[str]) -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)


def test_nothing_is_lost_or_twice_after_kills_of_the_sequencer_and_of_writers(storm: Storm) -> None:
    storm.run("manage.py", "migrate", "--verbosity", "0")
    with storm.writing() as (writers, ids):
        for _ in range(KILLS):
            with storm.sequencing(end=signal.SIGKILL):
                time.sleep(1)
            assert writers.poll() is None, "nobody writes any more"
            kill_a_writer(writers)
        os.killpg(writers.pid, signal.SIGTERM)
    assert len(ids) > 100
    with storm.sequencing(end=signal.SIGTERM):
        assert storm.run("-m", "tests.integration.log_storm", "check", text="\n".join(ids)).strip() == ""
        storm.run("manage.py", "verify_audit")
