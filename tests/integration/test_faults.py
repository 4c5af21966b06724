"""What must be survived: each fault on the real server, then the same four questions.

Every accepted task ended exactly once; no skill ran without a recorded decision; the chain verifies; nothing
that was accepted is gone.
"""

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import RunningServer

TERMINAL = {"task.succeeded", "task.failed", "task.cancelled"}
ORDER = {
    "agentId": "normalization-agent",
    "skillId": "normalizer",
    "input": {"data": {"total": "$1,299.00"}, "schema": {"total": {"type": "currency"}}},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path / "var", MAX_TASKS_PER_SECOND="100000").start()
    yield running
    running.stop()


def submit_many(server: RunningServer, count: int, prefix: str) -> dict[str, str]:
    """Submit `count` tasks on a few connections; return task ids by idempotency key, of those that were answered."""
    with server.client() as client, ThreadPoolExecutor(4) as threads:

        def submit(n: int) -> tuple[str, str | None]:
            key = f"{prefix}-{n}"
            try:
                return key, server.submit(client, key=key, **ORDER)
            except httpx2.HTTPError:
                return key, None

        answered = dict(threads.map(submit, range(count)))
    return {key: task_id for key, task_id in answered.items() if task_id}


def wait_for_all(server: RunningServer, task_ids: list[str], timeout_seconds: float = 60) -> None:
    deadline = time.monotonic() + timeout_seconds
    placeholders = ", ".join("?" * len(task_ids))
    ended = f"SELECT COUNT(*) FROM agents_task WHERE ended_at IS NOT NULL AND id IN ({placeholders})"
    while time.monotonic() < deadline:
        if query(server, ended, *task_ids)[0][0] == len(task_ids):
            return
        time.sleep(0.1)
    states = query(server, "SELECT state, COUNT(*) FROM agents_task GROUP BY state")
    raise AssertionError(f"not all ended: {states}\n{server.log()}")


def query(server: RunningServer, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(server.var / "state.sqlite3", timeout=20)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def assert_whole(server: RunningServer, task_ids: list[str]) -> None:
    """Ask the four questions."""
    endings = Counter(
        task_id for task_id, type_ in query(server, "SELECT task_id, type FROM audit_ledgerevent") if type_ in TERMINAL
    )
    assert {task_id: endings[task_id] for task_id in task_ids} == dict.fromkeys(task_ids, 1)
    undecided = query(
        server,
        "SELECT s.id FROM agents_step s LEFT JOIN toolgate_decisionrecord d"
        " ON d.id = s.decision_id AND d.effect = 'allow' WHERE d.id IS NULL",
    )
    assert undecided == []
    assert "OK: the log holds" in server.manage("verify_audit")


def test_kill_in_the_midst_of_200_tasks(server: RunningServer) -> None:
    task_ids = list(submit_many(server, 200, "a").values())
    assert len(task_ids) == 200
    server.kill()
    server.start()
    wait_for_all(server, task_ids)
    assert_whole(server, task_ids)


def test_kill_between_commit_and_reply_and_the_client_repeats(server: RunningServer) -> None:
    with ThreadPoolExecutor(1) as thread:
        submitting = thread.submit(submit_many, server, 400, "b")
        time.sleep(0.3)
        server.kill()
        answered = submitting.result()
    server.start()
    repeated = submit_many(server, 400, "b")
    assert len(repeated) == 400
    assert {key: repeated[key] for key in answered} == answered
    assert query(server, "SELECT COUNT(*) FROM agents_task") == [(400,)]
    wait_for_all(server, list(repeated.values()))
    assert_whole(server, list(repeated.values()))


def test_kill_of_the_embedded_mongodb_under_load(server: RunningServer) -> None:
    first = list(submit_many(server, 100, "c").values())
    os.kill(server.find_mongodb(), signal.SIGKILL)
    second = list(submit_many(server, 100, "d").values())
    assert len(first) == len(second) == 100
    wait_for_all(server, first + second)
    wait_for_audit(server)
    assert_whole(server, first + second)


def wait_for_audit(server: RunningServer, timeout_seconds: float = 30) -> None:
    deadline = time.monotonic() + timeout_seconds
    waiting = "SELECT (SELECT COUNT(*) FROM audit_ledgerevent) - (SELECT shipped_seq FROM audit_treehead)"
    while query(server, waiting)[0][0]:
        assert time.monotonic() < deadline, f"events still wait\n{server.log()}"
        time.sleep(0.1)


@pytest.mark.parametrize("group", [False, True])
def test_sigterm_with_50_running(server: RunningServer, group: bool) -> None:
    """A slow skill: each of these test runs takes some seconds in its sandbox, so the signal finds them running."""
    slow = server.var / "workspace" / "slow"
    slow.mkdir()
    (slow / "testrunner.toml").write_text('[commands]\nunit-tests = ["python3", "-c", "import time; time.sleep(8)"]\n')
    order: dict[str, Any] = {"agentId": "skill-audit-agent", "skillId": "testRunner"}
    order["input"] = {"target": "slow", "command": "unit-tests"}
    with server.client() as client:
        slow_ids = [server.submit(client, **order) for _ in range(4)]
    task_ids = slow_ids + list(submit_many(server, 46, "e").values())
    assert server.terminate(group=group) == 0
    server.start()
    wait_for_all(server, task_ids)
    assert_whole(server, task_ids)
