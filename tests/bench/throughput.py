"""Normalizer tasks a second, end to end: posted over HTTP, gated, run, audited, and the audit verified.

The limits on admission are raised; the agent runs 20 at once, as seeded. The clock runs from the first POST to the end
of the last task. On SQLite everything is one process; on PostgreSQL and Redis, web, worker and sequencer are three.
Beside it: how many tasks that do nothing docket itself runs on the same Redis, with as many slots.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson

from tests import servers
from tests.bench.load import post_bytes, put_load
from tests.bench.orders import NORMALISE
from tests.bench.post_tasks import wait_for_port
from tests.running import ROOT, RunningServer

TASKS = 2_000
WARM_UP = 100
CONNECTIONS = 4
NO_OPS = 3_000
SLOTS = 40
GIVE_UP_SECONDS = 180
ENVIRONMENT = {"MAX_TASKS_PER_SECOND": "1000000", "LOG_LEVEL": "WARNING"}
COUNT = "SELECT count(*) FROM agents_task WHERE state = 'succeeded'"
EVENTS = "SELECT count(*) FROM audit_ledgerevent WHERE type = 'task.succeeded'"

Count = Callable[[str], int]


def run() -> list[dict[str, Any]]:
    """Return a row for each pair of stores, and one for docket alone."""
    return [on_sqlite(), *on_postgres_and_redis()]


def on_sqlite() -> dict[str, Any]:
    """Measure the one process of a fresh machine."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = RunningServer(Path(folder, "var"), **ENVIRONMENT).start()
        try:
            row = measure("SQLite, one process", server, lambda query: count_sqlite(server.var, query))
            return row | {"audit": verify(server)}
        finally:
            server.stop()


def on_postgres_and_redis() -> list[dict[str, Any]]:
    """Measure three processes on real servers, and docket alone on the same Redis."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        postgres, redis = stack.enter_context(servers.run_postgres()), stack.enter_context(servers.run_valkey())
        mongodb = stack.enter_context(servers.run_mongodb())
        stores = {
            "STATE_DATABASE_URL": postgres,
            "REDIS_URL": redis,
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true",
        }
        server = RunningServer(Path(folder, "var"), **ENVIRONMENT, **stores)
        named = {"ORCHESTRATOR_VAR": str(server.var), "PORT": str(server.port), "PATH": os.environ["PATH"]}
        environment = named | ENVIRONMENT | stores
        server.manage("prepare")
        server.token = server.manage("issue_token", "bench", "--scopes", "all").split()[-1]
        for command in (["serve", "--only", "web"], ["worker"], ["sequencer"]):
            stack.enter_context(run_process(command, environment))
        wait_for_port(server.port)
        row = measure("PostgreSQL + docket, three processes", server, lambda query: count_postgres(postgres, query))
        row |= {"audit": verify(server)}
        return [row, {"engine": "docket alone, tasks that do nothing", "tasks": NO_OPS, "tasks/s": no_op_rate(redis)}]


@contextmanager
def run_process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """Run one of the production commands."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def measure(name: str, server: RunningServer, count: Count) -> dict[str, Any]:
    """Post tasks as fast as they are taken, wait until all have succeeded, and return the row."""
    request = post_bytes("/api/tasks", port=server.port, token=server.token, body=orjson.dumps(NORMALISE))
    put_load(server.port, itertools.repeat(request, WARM_UP), connections=CONNECTIONS)
    wait_until(lambda: count(COUNT) == WARM_UP)
    started = time.perf_counter()
    posted = put_load(server.port, itertools.repeat(request, TASKS), connections=CONNECTIONS)
    if posted.statuses != {202: TASKS}:
        raise RuntimeError(f"POST /api/tasks answered {posted.statuses}")
    wait_until(lambda: count(COUNT) == WARM_UP + TASKS)
    seconds = time.perf_counter() - started
    return {
        "engine": name,
        "tasks": TASKS,
        "tasks/s": TASKS / seconds,
        "posted/s": posted.per_second,
        "lost": WARM_UP + TASKS - count(EVENTS),
    }


def verify(server: RunningServer) -> str:
    """Return how `verify_audit` ends, once the sequencer has caught up."""
    time.sleep(3)
    return server.manage("verify_audit").strip().splitlines()[-1].split(",")[0]


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll `condition` four times a second."""
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        if time.monotonic() > give_up_at:
            raise RuntimeError("the tasks did not end in time")
        time.sleep(0.25)


def count_sqlite(var: Path, query: str) -> int:
    """Count rows in the state of a running server."""
    import sqlite3

    connection = sqlite3.connect(f"file:{var / 'state.sqlite3'}?mode=ro", uri=True)
    try:
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()


def count_postgres(url: str, query: str) -> int:
    """Count rows in PostgreSQL."""
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0


def no_op_rate(redis: str) -> float:
    """Return how many tasks that do nothing docket runs a second, with as many slots as our worker has."""
    return asyncio.run(_no_op_rate(redis))


async def _no_op_rate(redis: str) -> float:
    from datetime import timedelta

    from docket import Docket, Worker

    async def nothing(number: int) -> None:
        pass

    async with Docket(name="bench", url=f"{redis}?max_connections={4 * SLOTS}", execution_ttl=timedelta(0)) as docket:
        docket.register(nothing)
        for number in range(NO_OPS):
            await docket.add(nothing, key=f"nothing:{number}")(number)
        worker = Worker(docket, concurrency=SLOTS, minimum_check_interval=timedelta(milliseconds=20))
        async with worker:
            started = time.perf_counter()
            await worker.run_until_finished()
            return NO_OPS / (time.perf_counter() - started)
