"""From a task's submission to the start of its run, one task at a time, the worker idle.

Taken from the task's own times: `createdAt` is read before its transaction, `startedAt` when it is claimed.
"""

import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bench.orders import NORMALISE
from tests.running import RunningServer

TASKS = 300
PAUSE_SECONDS = 0.02


def run() -> list[dict[str, Any]]:
    """Return one row: the quantiles in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = RunningServer(Path(folder, "var"), LOG_LEVEL="WARNING").start()
        try:
            delays = sorted(measure(server))
        finally:
            server.stop()
    quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    shown = {f"{name} ms": delays[min(len(delays) - 1, int(share * len(delays)))] for name, share in quantiles.items()}
    return [{"tasks": len(delays), **shown}]


def measure(server: RunningServer) -> list[float]:
    """Return the delay of each task in milliseconds."""
    delays = []
    with server.client() as client:
        for number in range(TASKS + 20):
            task_id = server.submit(client, **NORMALISE)
            time.sleep(PAUSE_SECONDS)
            task = client.get(f"/api/tasks/{task_id}").json()
            while task["startedAt"] is None:
                time.sleep(PAUSE_SECONDS)
                task = client.get(f"/api/tasks/{task_id}").json()
            delay = datetime.fromisoformat(task["startedAt"]) - datetime.fromisoformat(task["createdAt"])
            if number >= 20:  # the first ones warm up
                delays.append(delay.total_seconds() * 1000)
    return delays
