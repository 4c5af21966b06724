"""How long a stop switch takes, turned in one process, until the last run in two others has ended.

Two workers on PostgreSQL and docket hold agents' runs whose model does not answer, and a long call of a skill on
threads; the web process writes the switch. `felt` is the time from the request to the end of the last task, as its
row has it; `hung up` until the provider saw the last call closed. Each is the worst of its rounds.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import psycopg

from tests import servers
from tests.bench.agent_runs import SUMMARISE, SUMMARY
from tests.bench.provider import Provider, run_provider
from tests.bench.spoken import Script
from tests.integration.test_parts import manage, run_part, wait_until_ready
from tests.running import free_port

ROUNDS = 5
RUNS = 10  # the agent's slots
WORKERS = 2
GIVE_UP_SECONDS = 30.0
TEST = {"agentId": "qa-verification-agent", "skillId": "testRunner"}
TEST_INPUT = {"target": "slow", "command": "unit-tests", "timeoutMs": 60_000}
MAPPING = '[commands]\nunit-tests = ["python", "-c", "import time; time.sleep(60)"]\n'
PARTS = (["serve", "--only", "web"], ["sequencer"], *([["worker", "--slots", str(RUNS // WORKERS)]] * WORKERS))


class Everywhere:
    """Web and workers as processes of their own, and a provider that holds what it is asked."""

    def __init__(self, client: httpx2.Client, provider: Provider, store: psycopg.Connection[Any]) -> None:
        self.client, self.provider, self._store = client, provider, store

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the state store."""
        return self._store.execute(sql, parameters).fetchall()

    def submit(self, count: int, **order: Any) -> list[str]:
        """Submit the same order `count` times."""
        answers = [self.client.post("/api/tasks", json=order) for _ in range(count)]
        return [str(answer.json()["taskId"]) for answer in answers]

    def think(self) -> list[str]:
        """Submit runs whose model does not answer, and wait until all of them have asked it."""
        self.provider.play(Script(answer=SUMMARY, hold=True))
        tasks = self.submit(RUNS, **SUMMARISE)
        self.wait(lambda: len(self.provider.seen()) == RUNS, "all runs to ask")
        held = self.query("SELECT COUNT(DISTINCT worker_id) FROM agents_task WHERE state = 'running'")
        if held != [(WORKERS,)]:
            raise RuntimeError(f"the runs are held by {held} of {WORKERS} workers")
        return tasks

    def test(self) -> list[str]:
        """Submit calls of a skill that take a minute, and wait until they are under way."""
        tasks = self.submit(1, **TEST, input=TEST_INPUT)
        self.wait(lambda: self.query("SELECT 1 FROM agents_step WHERE state = 'intent'"), "the skill to be called")
        time.sleep(0.5)
        return tasks

    def turn(self, path: str, **body: Any) -> float:
        """Turn a switch and return when it was asked for."""
        at = time.time()
        answer = self.client.post(f"/api/{path}", json={"reason": "a measurement"} | body)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        return at

    def time_until(self, state: str, tasks: list[str], *, since: float) -> float:
        """Return the seconds until all these tasks are in `state`."""
        count = "SELECT COUNT(*) FROM agents_task WHERE id = ANY(%s) AND state = %s"
        self.wait(lambda: self.query(count, tasks, state) == [(len(tasks),)], f"all to be {state}", pause_seconds=0.005)
        return time.time() - since

    def wait(self, condition: Callable[[], Any], what: str, *, pause_seconds: float = 0.02) -> None:
        """Wait until something is so."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while not condition():
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"waited {GIVE_UP_SECONDS} s for: {what}")
            time.sleep(pause_seconds)

    def time_until_hung_up(self, *, since: float) -> float:
        """Return the seconds until the provider saw its last call closed."""
        self.wait(lambda: all(seen.outcome == "abandoned" for seen in self.provider.seen()), "the calls to close")
        return max(seen.ended_at for seen in self.provider.seen()) - since


@contextmanager
def run_everywhere() -> Iterator[Everywhere]:
    """Run it all on servers that nobody else uses."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        provider = stack.enter_context(run_provider(free_port()))
        postgres, valkey = stack.enter_context(servers.run_postgres()), stack.enter_context(servers.run_valkey())
        mongodb, port = stack.enter_context(servers.run_mongodb()), free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(folder / "var"),
            "PORT": str(port),
            "STATE_DATABASE_URL": postgres,
            "REDIS_URL": valkey,
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            "OPENAI_BASE_URL": provider.base_url,
            "MODEL_TIER_CHEAP_FALLBACK": "",
            "COST_BUDGET_CAP": "100000",
            "RESERVED_SLOTS": "0",
            "LOG_LEVEL": "WARNING",
        }
        prepared = manage(environment, "prepare")
        if prepared.returncode:
            raise RuntimeError(prepared.stderr)
        target = folder / "var" / "workspace" / "slow"
        target.mkdir(parents=True)
        (target / "testrunner.toml").write_text(MAPPING)
        token = manage(environment, "issue_token", "bench", "--scopes", "all").stdout.strip()
        for number, part in enumerate(PARTS):
            stack.enter_context(run_part(environment, part, folder / f"{number}.log"))
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url)
        headers = {"Authorization": f"Bearer {token}"}
        client = stack.enter_context(httpx2.Client(base_url=url, headers=headers, timeout=30))
        store = stack.enter_context(psycopg.connect(postgres.replace("postgres://", "postgresql://"), autocommit=True))
        yield Everywhere(client, provider, store)


def run() -> list[dict[str, Any]]:
    """Return one row a switch."""
    with run_everywhere() as everywhere:
        rounds = [measure(everywhere) for _ in range(ROUNDS)]
    names = rounds[0].keys()
    return [{"switch": name, **_worst([one[name] for one in rounds])} for name in names]


def _worst(measured: list[dict[str, float]]) -> dict[str, Any]:
    return {column: max(one[column] for one in measured) for column in measured[0]} | {"rounds": len(measured)}


def measure(everywhere: Everywhere) -> dict[str, dict[str, float]]:
    """Turn each switch once, each with runs under way, and turn it back; return the seconds that each took."""
    return {
        "fleet stop": _measure_stop(everywhere),
        "agent quarantine": _measure_agent(everywhere),
        "skill quarantine": _measure_skill(everywhere),
    }


def _measure_stop(everywhere: Everywhere) -> dict[str, float]:
    tasks = everywhere.think()
    at = everywhere.turn("fleet", state="stopped")
    felt = everywhere.time_until("queued", tasks, since=at)
    hung_up = everywhere.time_until_hung_up(since=at)
    everywhere.provider.play(Script(answer=SUMMARY))
    everywhere.turn("fleet", state="running")
    everywhere.time_until("succeeded", tasks, since=at)
    return {"felt s": felt, "hung up s": hung_up}


def _measure_agent(everywhere: Everywhere) -> dict[str, float]:
    tasks, path = everywhere.think(), f"agents/{SUMMARISE['agentId']}/status"
    at = everywhere.turn(path, status="quarantined")
    felt = everywhere.time_until("failed", tasks, since=at)
    hung_up = everywhere.time_until_hung_up(since=at)
    everywhere.turn(path, status="enabled")
    return {"felt s": felt, "hung up s": hung_up}


def _measure_skill(everywhere: Everywhere) -> dict[str, float]:
    tasks = everywhere.test()
    at = everywhere.turn("skills/testRunner/status", status="quarantined")
    felt = everywhere.time_until("failed", tasks, since=at)
    everywhere.turn("skills/testRunner/status", status="enabled")
    return {"felt s": felt}
