"""One worker and three, each with 3 slots, on tasks that wait 300 ms for the model: PostgreSQL, Valkey, MongoDB.

Each task is one turn and its answer. They are ordered while their agent is paused; the clock runs from the first claim
to the last end, as the tasks' rows have them. `of it` is what the slots did of what they could if nothing but the
model took time; `CPU ms a task` is that of the workers alone.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from tests import servers
from tests.bench.agent_runs import LIMITS, SUMMARISE, SUMMARY, publish_config, set_status
from tests.bench.provider import run_provider
from tests.bench.spoken import Script
from tests.live_cast import LiveTown, ending, run_live_town
from tests.running import free_port

SLOTS = 3
WAIT_SECONDS = 0.3
TASKS = 150
GIVE_UP_SECONDS = 300
_ALIVE = "SELECT COUNT(*) FROM agents_worker WHERE lease_expires_at > now()"
_ENDED = "SELECT COUNT(*) FROM agents_task WHERE ended_at IS NOT NULL"
_SPAN = """
    SELECT EXTRACT(EPOCH FROM MAX(ended_at) - MIN(started_at))::float, COUNT(*) FILTER (WHERE state = 'succeeded')
    FROM (SELECT * FROM agents_task ORDER BY created_at DESC LIMIT %s) AS those
"""


def run() -> list[dict[str, Any]]:
    """Return one row for one worker and one for three, with how much more the three do."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider = stack.enter_context(run_provider(free_port()))
        models = {"OPENAI_BASE_URL": provider.base_url, "MODEL_TIER_CHEAP_FALLBACK": ""}
        redis = stack.enter_context(servers.run_valkey())
        town = stack.enter_context(run_live_town(folder, redis=redis, **(models | LIMITS)))
        publish_config(town, SUMMARISE["agentId"], concurrent=3 * SLOTS)
        provider.play(Script(answer=SUMMARY, delay_seconds=WAIT_SECONDS))
        rows = [measure(town, workers=workers) for workers in (1, 3)]
    return [rows[0], rows[1] | {"times one": rows[1]["tasks/s"] / rows[0]["tasks/s"]}]


def measure(town: LiveTown, *, workers: int) -> dict[str, Any]:
    """Let so many workers do the tasks, and return how long they took."""
    with ExitStack() as stack:
        running = [town.start("manage.py", "worker", "--slots", str(SLOTS)) for _ in range(workers)]
        for worker in running:
            stack.enter_context(ending(worker))
        wait_for(town, _ALIVE, workers)
        do(town, tasks=SLOTS * workers)  # warms up
        before = sum(read_cpu(worker.pid) for worker in running)
        seconds = do(town, tasks=TASKS)
        cpu = sum(read_cpu(worker.pid) for worker in running) - before
    wait_for(town, _ALIVE, 0)
    most = workers * SLOTS / WAIT_SECONDS
    rate = TASKS / seconds
    return {
        "workers": workers,
        "slots each": SLOTS,
        "tasks": TASKS,
        "wall s": seconds,
        "tasks/s": rate,
        "of it": rate / most,
        "CPU ms a task": 1000 * cpu / TASKS,
    }


def do(town: LiveTown, *, tasks: int) -> float:
    """Order tasks, then let their agent go; return the seconds from the first claim to the last end."""
    (before,) = query(town, _ENDED)
    set_status(town, SUMMARISE["agentId"], "paused")
    token = town.manage("issue_token", "bench", "--scopes", "all").split()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{town.ports[0]}", headers=headers, timeout=20) as client:
        for _ in range(tasks):
            client.post("/api/tasks", json=SUMMARISE).raise_for_status()
    set_status(town, SUMMARISE["agentId"], "enabled")
    wait_for(town, _ENDED, before + tasks)
    seconds, succeeded = query(town, _SPAN, tasks)
    if succeeded != tasks:
        raise RuntimeError(f"{succeeded} of {tasks} tasks succeeded")
    return float(seconds)


def wait_for(town: LiveTown, sql: str, count: int) -> None:
    """Wait until a query counts so many."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while query(town, sql) != (count,):
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{sql} is not {count}, but {query(town, sql)}")
        time.sleep(0.1)


def query(town: LiveTown, sql: str, *parameters: object) -> tuple[Any, ...]:
    """Return the first row of an answer."""
    address = town.environment["STATE_DATABASE_URL"].replace("postgres://", "postgresql://")
    with psycopg.connect(address) as connection:
        return connection.execute(sql.encode(), parameters).fetchone() or ()


def read_cpu(pid: int) -> float:
    """Return the seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
