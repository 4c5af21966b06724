"""A scrape of a web process with every series there can be, over a store of 1,000 and of 100,000 tasks, in SQLite.

`CPU` is the process's own for one scrape, as the kernel counts it; `wall` from the request to its last byte. `health`
is what one client sees on the web port, whose loop a scrape must not hold: alone, and with scrapes without a pause.
`python -m tests.bench.scrape PORT` is that process; the bound is 50 ms of CPU.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import httpx2

from tests import servers
from tests.bench.load import Result, put_load_for
from tests.running import ROOT, free_port

SIZES = (1_000, 100_000)
SCRAPES = 50
HEALTH_SECONDS = 4.0
HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def run() -> list[dict[str, Any]]:
    """Return a row for each size of the store."""
    return [measure(size) for size in SIZES]


def measure(size: int) -> dict[str, Any]:
    """Scrape a server over so many tasks, and look at its health meanwhile."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, servers.run_mongodb() as mongodb:
        var = Path(folder)
        _make_store(var / "state.sqlite3", size)
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(var),
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings",
            "METRICS_PORT": str(free_port()),
            "LOG_LEVEL": "WARNING",
            "OPENAI_API_KEY": "bench",
            "ANTHROPIC_API_KEY": "bench",
        }
        port = free_port()
        with _run_server(port, environment) as pid:
            return {"tasks": f"{size:,}"} | _measure(
                pid, port, f"http://127.0.0.1:{environment['METRICS_PORT']}/metrics"
            )


def _measure(pid: int, port: int, address: str) -> dict[str, Any]:
    text = httpx2.get(address, timeout=30).text
    before, walls = _cpu_ms(pid), [_time_scrape(address) for _ in range(SCRAPES)]
    cpu = (_cpu_ms(pid) - before) / SCRAPES
    alone = put_load_for(port, HEALTH, connections=1, seconds=HEALTH_SECONDS)
    with _scraping(address):
        meanwhile = put_load_for(port, HEALTH, connections=1, seconds=HEALTH_SECONDS)
    return {
        "series": sum(not line.startswith("#") for line in text.splitlines()),
        "KB": len(text) / 1000,
        "CPU ms": cpu,
        "wall p50 ms": sorted(walls)[SCRAPES // 2],
        "wall max ms": max(walls),
        **_health(alone, "alone"),
        **_health(meanwhile, "meanwhile"),
        "x of p50": meanwhile.latency_ms(0.5) / alone.latency_ms(0.5),
    }


def _health(result: Result, name: str) -> dict[str, float]:
    assert set(result.statuses) == {200}, result.statuses
    return {f"health {name}: p50 ms": result.latency_ms(0.5), "p99 ms " + name: result.latency_ms(0.99)}


def _time_scrape(address: str) -> float:
    started = time.perf_counter()
    httpx2.get(address, timeout=30).raise_for_status()
    return (time.perf_counter() - started) * 1000


def _cpu_ms(pid: int) -> float:
    """Return what a process has used, with all its threads, in milliseconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


@contextmanager
def _scraping(address: str) -> Iterator[None]:
    """Scrape again and again, without a pause."""
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            _time_scrape(address)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _make_store(path: Path, size: int) -> None:
    from django.db import connections

    from tests.bench.pages import fill_store

    before = connections["default"].settings_dict["NAME"]
    connections.close_all()
    connections["default"].settings_dict["NAME"] = str(path)
    try:
        fill_store(size)
    finally:
        connections.close_all()
        connections["default"].settings_dict["NAME"] = before


@contextmanager
def _run_server(port: int, environment: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.scrape", str(port)], cwd=ROOT, env=environment)
    try:
        while not _is_healthy(port):
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _is_healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


# --- the process that is measured -----------------------------------------------------------------------------
def serve(port: int) -> None:
    """Serve web and metrics as a web process does, with every series that its labels allow."""
    import uvicorn
    import uvloop

    from orchestrator_site.asgi import application
    from orchestrator_site.observing.port import open_port
    from orchestrator_site.observing.standing import Standing, find_lack_of_web
    from orchestrator_site.serve import web_config

    count_everything()
    for part in open_port(Standing(find_faults=list, find_lack=find_lack_of_web)):
        part.start()
    config = web_config(application)
    config.port = port
    asyncio.run(uvicorn.Server(config).serve(), loop_factory=uvloop.new_event_loop)


def count_everything() -> None:
    """Count each thing that can be counted once, of every agent, skill and reason."""
    from django.conf import settings

    from agents import metrics as work
    from agents.registry import list_agents, list_skills
    from toolgate import metrics as gate
    from toolgate.types import Reason

    agents, skills = list_agents(), [*(skill.id for skill in list_skills()), gate.UNKNOWN]
    names = [*(agent.id for agent in agents), work.UNKNOWN]
    for agent in agents:
        work.DURATION.labels(agent=agent.id, task_type=agent.config.task_type).observe(1)
        gate.QUESTIONS.labels(task_type=agent.config.task_type).inc()
        for model in (settings.MODEL_TIERS[agent.config.tier], work.NO_MODEL):
            work.STARTED.labels(agent=agent.id, model=model).inc()
            work.COMPLETED.labels(agent=agent.id, model=model).inc()
    for name, code in product(names, (*work.ERROR_TYPES, "other")):
        work.FAILED.labels(agent=name, error_type=code).inc()
    for skill, name in product(skills, names):
        gate.ALLOWED.labels(skill=skill, agent=name).inc()
        for reason in Reason:
            gate.DENIED.labels(skill=skill, agent=name, reason=reason.value).inc()
    for name in names:
        gate.ESCALATIONS.labels(agent=name).inc()
    for result in ("approved", "refused", "expired", "superseded"):
        gate.RESPONSE_SECONDS.labels(approval_result=result).observe(1)
    gate.AUTO_ESCALATIONS.labels(escalation_reason="sla").inc()


if __name__ == "__main__":
    import django

    django.setup()
    serve(int(sys.argv[1]))
