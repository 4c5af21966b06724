"""What agents' own runs must survive, on the real server with a provider that is a process of its own.

The provider's memory of what it was asked is held against the step ledger: what is done is never asked for again,
and what was asked is paid for.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.bench.agent_runs import publish_config, read_rss, run_against_standin
from tests.bench.provider import Provider
from tests.bench.spoken import Script
from tests.integration.test_faults import TERMINAL, query, wait_for_all, wait_for_audit
from tests.running import RunningServer

RUNS = 200
MOST_MB = 300
CANCEL_SECONDS = 1.0
AGENT = "content-agent"
# One turn with a skill call, then the answer.
READING = Script(
    turns=1,
    tool="documentParser",
    arguments={"filePath": "examples/invoices.csv", "format": "csv", "extractEntities": False},
    answer=orjson.dumps({"content": "Fourteen invoices.", "metrics": {"wordCount": 0, "sections": 0}}).decode(),
    delay_seconds=0.1,
)
HELD = replace(READING, hold=True)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[RunningServer, Provider]]:
    """Run a server that runs 200 of one agent's tasks at once."""
    with run_against_standin(MAX_AGENTS=str(RUNS)) as (server, provider):
        publish_config(server, AGENT, concurrent=RUNS)
        yield server, provider


def submit(server: RunningServer, count: int) -> dict[int, str]:
    """Submit tasks that the provider can tell apart, and return their ids by number."""
    with server.client() as client:
        return {
            number: server.submit(client, agentId=AGENT, input={"type": "blog_post", "source": f"marker-{number}"})
            for number in range(count)
        }


def wait_until(condition: Callable[[], Any], what: str, timeout_seconds: float = 60) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_seconds} s for: {what}"
        time.sleep(0.02)


def assert_paid(server: RunningServer) -> None:
    """Nothing is held any more, every reservation is closed, and the accounts are the sum of what was charged."""
    assert query(server, "SELECT COUNT(*) FROM agents_reservation WHERE closed_at IS NULL") == [(0,)]
    assert query(server, "SELECT COALESCE(SUM(held_micro), 0) FROM agents_budgetaccount") == [(0,)]
    charged = query(server, "SELECT SUM(actual_micro) FROM agents_reservation")
    assert query(server, "SELECT spent_micro FROM agents_budgetaccount WHERE key LIKE 'fleet:%'") == charged
    assert query(server, "SELECT SUM(cost_micro) FROM agents_task") == charged
    assert query(server, "SELECT SUM(cost_micro) FROM agents_step") == charged


def assert_little_memory(server: RunningServer) -> None:
    assert server.process is not None
    resident = read_rss(server.process.pid)
    print(f"{RUNS} runs wait in one process of {resident:.0f} MB")
    assert resident <= MOST_MB


def assert_ended_once(server: RunningServer, task_ids: list[str]) -> None:
    endings = Counter(
        task_id for task_id, type_ in query(server, "SELECT task_id, type FROM audit_ledgerevent") if type_ in TERMINAL
    )
    assert {task_id: endings[task_id] for task_id in task_ids} == dict.fromkeys(task_ids, 1)
    states = dict(query(server, "SELECT id, state FROM agents_task"))
    assert {states[task_id] for task_id in task_ids} == {"succeeded"}


def assert_nothing_repeated(server: RunningServer, provider: Provider, tasks: dict[int, str]) -> None:
    """Each turn and each call is done once, as the last of its tries; no request was made without a step."""
    asked = Counter((seen.marker, seen.turn) for seen in provider.seen())
    for number, task_id in tasks.items():
        tries: dict[tuple[str, int], list[str]] = {}
        for step, state in read_tries(server, task_id):
            tries.setdefault(step, []).append(state)
        assert list(tries) == [("model", 0), ("skill", 0), ("model", 1)], (task_id, tries)
        for (kind, turn), states in tries.items():
            assert states == ["unknown"] * (len(states) - 1) + ["done"], (task_id, kind, turn)
            assert kind == "skill" or 1 <= asked[number, turn] <= len(states), (task_id, turn, states)


def read_tries(server: RunningServer, task_id: str) -> Iterator[tuple[tuple[str, int], str]]:
    """Give kind, turn and state of a task's steps, in order; a turn is over with a call that is done."""
    turn = 0
    steps = "SELECT kind, state FROM agents_step WHERE task_id = ? ORDER BY fence, ordinal"
    for kind, state in query(server, steps, task_id):
        yield (kind, turn), state
        turn += kind == "skill" and state == "done"


def test_a_cancellation_closes_the_call_in_flight(running: tuple[RunningServer, Provider]) -> None:
    server, provider = running
    provider.play(HELD)
    (task_id,) = submit(server, 1).values()
    wait_until(provider.seen, "the model to be asked")
    with server.client() as client:
        cancelled_at = time.time()
        assert client.post(f"/api/tasks/{task_id}/cancel").status_code == 202
    wait_for_all(server, [task_id])
    (seen,) = provider.seen()
    assert seen.outcome == "abandoned"
    assert seen.ended_at - cancelled_at < CANCEL_SECONDS
    assert query(server, "SELECT state FROM agents_task WHERE id = ?", task_id) == [("cancelled",)]
    # The vendor may have worked on it, so it is charged at its bound.
    (reservation,) = query(server, "SELECT state, is_estimate, actual_micro = worst_micro FROM agents_reservation")
    assert reservation == ("settled", 1, 1)
    assert_paid(server)


def test_two_hundred_waiting_runs_survive_a_kill(running: tuple[RunningServer, Provider]) -> None:
    server, provider = running
    provider.play(HELD)
    tasks = submit(server, RUNS)
    wait_until(lambda: len(provider.seen()) == RUNS, "all of them to wait for the model at once")
    assert {seen.outcome for seen in provider.seen()} == {"waiting"}
    assert_little_memory(server)

    provider.change(READING)  # what was held is let go: some are answered, some call their skill, some ask again
    wait_until(lambda: sum(seen.turn == 1 for seen in provider.seen()) > RUNS // 4, "second turns")
    server.kill()
    before = query(server, "SELECT state, COUNT(*) FROM agents_step GROUP BY state")
    assert {state for state, _ in before} >= {"intent", "done"}, "the kill was to find them in the midst"
    server.start()
    wait_for_all(server, list(tasks.values()))

    assert_ended_once(server, list(tasks.values()))
    assert_nothing_repeated(server, provider, tasks)
    assert_paid(server)
    wait_for_audit(server)
    assert "OK: the log holds" in server.manage("verify_audit")
