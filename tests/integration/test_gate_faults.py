"""A call is changed and approved, and the process dies on its way: it runs exactly once, or a person is asked.

The real server dies at each point between the answer and the outcome, and is started again.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import dying_server
from tests.integration.test_faults import assert_whole, query, wait_for_audit
from tests.running import RunningServer

AGENT, SKILL = "build-refactor-agent", "workspacePatch"
PATIENCE_SECONDS = 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("dying") / "var", program=("-m", "tests.dying_server")).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def approver(server: RunningServer) -> Iterator[httpx2.Client]:
    """A client of the API in the name of another person than who submits the tasks."""
    token = server.manage("issue_token", "approver", "--scopes", "all", "--user", "approver").split()[-1]
    with httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client


def order(server: RunningServer, name: str) -> str:
    patch = {"filePath": name, "changes": [{"type": "append", "newText": "as asked\n"}], "dryRun": False}
    with server.client() as client:
        return server.submit(client, agentId=AGENT, skillId=SKILL, input=patch)


def wait_for_question(approver: httpx2.Client, task_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        waiting = approver.get("/api/approvals", params={"status": "pending"}).json()["results"]
        mine = [one for one in waiting if one["taskId"] == task_id]
        if mine:
            return dict(mine[0])
        time.sleep(0.05)
    raise AssertionError("nobody is asked")


def wait_for_end(server: RunningServer, task_id: str) -> str:
    """Wait until the task has ended or waits for a person, and return which."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        [(state,)] = query(server, "SELECT state FROM agents_task WHERE id = ?", task_id)
        if state not in {"queued", "running"}:
            return str(state)
        time.sleep(0.05)
    raise AssertionError(f"it is still {state}\n{server.log()}")


def approve_and_die(server: RunningServer, approver: httpx2.Client, question: dict[str, Any], point: str) -> None:
    """Approve the call with another text; the process dies at `point`, and is started again."""
    assert server.process is not None
    trap = server.var / "die-at"
    trap.write_text(point)
    changed = question["arguments"] | {"changes": [{"type": "append", "newText": "as changed\n"}]}
    body = {"decision": "approve", "digest": question["digest"], "input": changed}
    try:
        answer = approver.post(f"/api/approvals/{question['approvalId']}/decision", json=body)
        assert answer.status_code == 200, answer.text
    except httpx2.HTTPError:
        pass  # it died before it could say so
    assert server.process.wait(PATIENCE_SECONDS) == -9
    trap.unlink()
    server.start()


def list_events(server: RunningServer, task_id: str, prefix: str) -> list[str]:
    sql = "SELECT type FROM audit_ledgerevent WHERE task_id = ? AND type LIKE ? ORDER BY id"
    return [type_ for (type_,) in query(server, sql, task_id, f"{prefix}.%")]


def read(server: RunningServer, name: str) -> str:
    file: Path = server.var / "workspace" / name
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize("point", [dying_server.GRANTED, dying_server.CLAIMED])
def test_a_death_before_the_gate_and_it_runs_once(point: str, server: RunningServer, approver: httpx2.Client) -> None:
    task_id = order(server, f"{point}.txt")
    approve_and_die(server, approver, wait_for_question(approver, task_id), point)
    assert wait_for_end(server, task_id) == "succeeded"
    assert read(server, f"{point}.txt") == "as changed\n"
    told = [f"approval.{act}" for act in ("asked", "edited", "granted", "used")]
    assert list_events(server, task_id, "approval") == told
    see_whole(server, task_id)


def test_a_death_before_the_skill_and_it_runs_once_a_person_has_looked(
    server: RunningServer, approver: httpx2.Client
) -> None:
    point = dying_server.PASSED
    task_id = order(server, f"{point}.txt")
    approve_and_die(server, approver, wait_for_question(approver, task_id), point)
    assert wait_for_end(server, task_id) == "awaiting_approval"
    question = wait_for_question(approver, task_id)
    assert (question["kind"], question["arguments"]["changes"][0]["newText"]) == ("step_unknown", "as changed\n")
    assert read(server, f"{point}.txt") == ""
    answer(approver, question, "approve")
    assert wait_for_end(server, task_id) == "succeeded"
    assert read(server, f"{point}.txt") == "as changed\n"
    see_whole(server, task_id)


@pytest.mark.parametrize("point", [dying_server.WRITTEN, dying_server.FINISHED])
def test_a_death_after_the_effect_and_it_is_not_repeated(
    point: str, server: RunningServer, approver: httpx2.Client
) -> None:
    task_id = order(server, f"{point}.txt")
    approve_and_die(server, approver, wait_for_question(approver, task_id), point)
    assert wait_for_end(server, task_id) == "awaiting_approval"
    question = wait_for_question(approver, task_id)
    assert question["kind"] == "step_unknown"
    assert read(server, f"{point}.txt") == "as changed\n"
    answer(approver, question, "refuse")
    assert wait_for_end(server, task_id) == "failed"
    assert read(server, f"{point}.txt") == "as changed\n"
    see_whole(server, task_id)


def answer(approver: httpx2.Client, question: dict[str, Any], decision: str) -> None:
    body = {"decision": decision, "digest": question["digest"], "note": "looked"}
    answered = approver.post(f"/api/approvals/{question['approvalId']}/decision", json=body)
    assert answered.status_code == 200, answered.text


def see_whole(server: RunningServer, task_id: str) -> None:
    """No leave was used twice, the task ended once, and the chain holds."""
    states = [state for (state,) in query(server, "SELECT state FROM toolgate_approval WHERE task_id = ?", task_id)]
    assert set(states) <= {"used", "refused"}
    assert list_events(server, task_id, "approval").count("approval.used") == states.count("used")
    wait_for_audit(server)
    assert_whole(server, [task_id])
