"""500 agent runs at once that each wait one second for the provider, in one process on SQLite.

Each run is one turn and its answer. They are submitted while their agent is paused; the clock runs from the first
claim to the last end, as the tasks' rows have them. The governed rate is that of the same 500 runs, in the same
process just before, with a provider that answers at once. Memory is that of the whole `serve` process: web server,
worker, sequencer and hub; the embedded MongoDB is a process of its own.
"""

import sqlite3
import time
from datetime import datetime
from typing import Any

from tests.bench.agent_runs import SUMMARISE, SUMMARY, publish_config, read_rss, run_against_standin, set_status
from tests.bench.provider import Provider
from tests.bench.spoken import Script
from tests.running import RunningServer

RUNS = 500
WAIT_SECONDS = 1.0
SLACK = 1.25
GIVE_UP_SECONDS = 180
_ENDED = "SELECT COUNT(*) FROM agents_task WHERE ended_at IS NOT NULL"
_SPAN = """
    SELECT MIN(started_at), MAX(ended_at), SUM(state = 'succeeded')
    FROM (SELECT * FROM agents_task ORDER BY created_at DESC LIMIT ?)
"""


def run() -> list[dict[str, Any]]:
    """Return one row for the runs that wait and one for those that do not, with what was asked of them."""
    with run_against_standin(MAX_AGENTS=str(RUNS)) as (server, provider):
        publish_config(server, SUMMARISE["agentId"], concurrent=RUNS)
        measure(server, provider, runs=20, delay_seconds=0.0)  # warms up
        idle = _read(server)
        at_once = measure(server, provider, runs=RUNS, delay_seconds=0.0)
        waiting = measure(server, provider, runs=RUNS, delay_seconds=WAIT_SECONDS)
        bound = WAIT_SECONDS + SLACK * RUNS / at_once["runs/s"]
        return [at_once | {"idle MB": idle}, waiting | {"at most s": bound, "of it": waiting["wall s"] / bound}]


def measure(server: RunningServer, provider: Provider, *, runs: int, delay_seconds: float) -> dict[str, Any]:
    """Let `runs` tasks go at once and return how long they took, and the most memory seen meanwhile."""
    provider.play(Script(answer=SUMMARY, delay_seconds=delay_seconds))
    before = _query(server, _ENDED)[0]
    set_status(server, SUMMARISE["agentId"], "paused")
    with server.client() as client:
        for _ in range(runs):
            server.submit(client, **SUMMARISE)
    set_status(server, SUMMARISE["agentId"], "enabled")
    peak = _wait(server, until=before + runs)
    started, ended, succeeded = _query(server, _SPAN, runs)
    if succeeded != runs:
        raise RuntimeError(f"{succeeded} of {runs} runs succeeded")
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    return {
        "provider waits s": delay_seconds,
        "runs": runs,
        "wall s": seconds,
        "runs/s": runs / seconds,
        "most asked at once": count_overlap(provider),
        "peak MB": peak,
    }


def count_overlap(provider: Provider) -> int:
    """Return how many requests the stand-in had before it at once, at most."""
    moments = sorted(moment for seen in provider.seen() for moment in ((seen.at, 1), (seen.ended_at, -1)))
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def _wait(server: RunningServer, *, until: int) -> float:
    peak, give_up_at = 0.0, time.monotonic() + GIVE_UP_SECONDS
    while _query(server, _ENDED)[0] < until:
        peak = max(peak, _read(server))
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"the runs did not end in time:\n{server.log()}")
        time.sleep(0.1)
    return peak


def _read(server: RunningServer) -> float:
    assert server.process is not None
    return read_rss(server.process.pid)


def _query(server: RunningServer, sql: str, *parameters: object) -> tuple[Any, ...]:
    connection = sqlite3.connect(f"file:{server.var / 'state.sqlite3'}?mode=ro", uri=True, timeout=20)
    try:
        row: tuple[Any, ...] = connection.execute(sql, parameters).fetchone()
        return row
    finally:
        connection.close()
