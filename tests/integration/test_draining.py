"""A process that is told to end: it says so while it answers, lets go of whoever listens, and ends in time."""

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.integration.test_serve import ORDER, log_in
from tests.running import RunningServer

DRAIN_SECONDS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path / "var", SHUTDOWN_DRAIN_SECONDS=str(DRAIN_SECONDS), MAX_TASKS_PER_SECOND="100000")
    yield server.start()
    server.stop()


def tell_to_end(server: RunningServer) -> float:
    """Send SIGTERM, wait until the server says that it is going, and return when it was sent."""
    assert server.process is not None
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    while httpx2.get(f"{server.url}/ready").status_code == 200:
        assert time.monotonic() - started < 1
    return started


def test_it_answers_on_while_it_says_that_it_is_not_ready(server: RunningServer) -> None:
    with server.client() as client:
        kept = client.get("/health")
        started = tell_to_end(server)
        ready, late = httpx2.get(f"{server.url}/ready"), client.get("/health")
        assert (ready.status_code, ready.json()["code"]) == (503, "draining")
        assert "connection" not in kept.headers
        assert late.headers["connection"] == "close"  # or the client would come back to one that is gone
        answers = 0
        while time.monotonic() - started < DRAIN_SECONDS - 0.5:
            server.submit(client, **ORDER)
            answers += 1
        assert answers > 5
    assert server.process is not None
    assert server.process.wait(10) == 0, server.log()
    assert DRAIN_SECONDS < time.monotonic() - started < DRAIN_SECONDS + 3.7


def test_a_second_signal_ends_the_waiting(server: RunningServer) -> None:
    started = tell_to_end(server)
    assert server.terminate() == 0, server.log()
    assert time.monotonic() - started < DRAIN_SECONDS - 0.5


def test_a_person_at_the_terminal_waits_for_nothing(server: RunningServer) -> None:
    started = time.monotonic()
    assert server.terminate(signum=signal.SIGINT) == 0, server.log()
    assert time.monotonic() - started < DRAIN_SECONDS - 0.5


def test_who_listens_is_told_to_come_back_and_goes_on_from_there(server: RunningServer) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    tab = connect(
        f"ws://127.0.0.1:{server.port}/ws/console/",
        origin=Origin(server.url),
        additional_headers={"Cookie": log_in(server)},
    )
    with server.client() as client, tab:
        task_id = server.submit(client, **ORDER, runAt=tomorrow.isoformat())
        with client.stream("GET", f"/api/tasks/{task_id}/events", timeout=20) as stream:
            lines = stream.iter_lines()
            last = next(line for line in lines if line.startswith("id: "))
            tell_to_end(server)
            assert not [line for line in lines if line.startswith("event: task.failed")]  # ends as a whole answer does
        with pytest.raises(ConnectionClosed):
            tab.recv(timeout=10)
        assert tab.close_code == 1012
        assert server.process is not None
        assert server.process.wait(10) == 0, server.log()
        server.start()
        client.post(f"/api/tasks/{task_id}/cancel").raise_for_status()
        headers = {"Last-Event-ID": last.removeprefix("id: ")}
        with client.stream("GET", f"/api/tasks/{task_id}/events", headers=headers, timeout=20) as stream:
            told = [line for line in stream.iter_lines() if line.startswith("event: ")]
        assert told == ["event: task.cancelled"]
