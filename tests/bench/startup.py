"""Seconds from the command to the first answer of /ready, and from SIGTERM to the end of the process."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.running import ROOT, free_port

STARTS = 4


def run() -> list[dict[str, Any]]:
    """Return a row for the first start on an empty folder, and one for the mean of later ones."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        times = [measure(Path(folder, "var")) for _ in range(STARTS)]
    later = [sum(column) / (STARTS - 1) for column in zip(*times[1:], strict=True)]
    rows = {"first, on an empty folder": list(times[0]), "later (mean)": later}
    return [{"start": name, "ready after s": row[0], "stopped after s": row[1]} for name, row in rows.items()]


def measure(var: Path) -> tuple[float, float]:
    """Start it, wait until it is ready, stop it."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "ORCHESTRATOR_VAR": str(var), "PORT": str(port)}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not _is_ready(port):
        time.sleep(0.01)
    ready = time.perf_counter() - started
    started = time.perf_counter()
    process.terminate()
    process.wait(20)
    return ready, time.perf_counter() - started


def _is_ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/ready", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False
