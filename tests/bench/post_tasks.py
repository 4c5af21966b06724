"""POST /api/tasks, the worker idle: requests a second over 8 connections, against a bare view with two inserts.

The ratio in question is the one under `serve`, where worker and sequencer share the process. The other rows serve
the views alone: through the WSGI bridge, and through Django's own ASGI handler.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from tests.bench.load import Result, post_bytes, put_load_for
from tests.running import ROOT, RunningServer, free_port

CONNECTIONS = 8
SECONDS = 4.0
ROUNDS = 3
PATHS = {"bare view": "/bench/bare", "POST /api/tasks": "/api/tasks"}
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
    "MAX_TASKS_PER_SECOND": "1000000",
    "LOG_LEVEL": "WARNING",
}


def run() -> list[dict[str, Any]]:
    """Return one row a server and view."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = RunningServer(Path(folder, "var"), **ENVIRONMENT).start()
        try:
            rows = measure("serve", server.port, server.token)
        finally:
            server.stop()
        for handler in ("wsgi", "asgi"):
            with serve_views(handler, server) as port:
                rows += measure(f"views alone, {handler}", port, server.token)
    return rows


def measure(name: str, port: int, token: str) -> list[dict[str, Any]]:
    """Load both views in turns, so that what drifts hits both, and return a row each."""
    results: dict[str, list[Result]] = {view: [] for view in PATHS}
    for number in range(ROUNDS + 1):
        for view, path in PATHS.items():
            request = post_bytes(path, port=port, token=token, body=make_body())
            seconds = SECONDS if number else 1.0
            result = put_load_for(port, request, connections=CONNECTIONS, seconds=seconds)
            if set(result.statuses) != {202}:
                raise RuntimeError(f"{path} answered {result.statuses}")
            if number:  # the first round is for warming up
                results[view].append(result)
            time.sleep(0.5)
    rates = {view: sum(result.per_second for result in done) / ROUNDS for view, done in results.items()}
    return [_row(name, view, done, rates) for view, done in results.items()]


def _row(name: str, view: str, done: list[Result], rates: dict[str, float]) -> dict[str, Any]:
    latencies = Result(latencies=[latency for result in done for latency in result.latencies])
    return {
        "server": name,
        "view": view,
        "requests/s": rates[view],
        "p50 ms": latencies.latency_ms(0.5),
        "p99 ms": latencies.latency_ms(0.99),
        "of bare": rates[view] / rates["bare view"],
    }


def make_body() -> bytes:
    """Return an order for tomorrow, so that the worker stays idle."""
    body = {
        "agentId": "normalization-agent",
        "skillId": "normalizer",
        "input": {"data": {"amount": "$12.50"}, "schema": {"amount": {"type": "currency"}}},
        "runAt": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }
    return orjson.dumps(body)


@contextmanager
def serve_views(handler: str, server: RunningServer) -> Iterator[int]:
    """Serve the views alone, on the state that `server` has left."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.front", handler, str(port)]
    environment = {"ORCHESTRATOR_VAR": str(server.var), "PATH": "/usr/bin:/bin", **ENVIRONMENT}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int) -> None:
    """Wait until something listens."""
    import socket

    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the views were not served")
