"""A web process, a worker and a sequencer that do a day's work in a few seconds, and a Prometheus that watches."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests import servers
from tests.bench.agent_runs import SUMMARISE, SUMMARY
from tests.bench.provider import Provider, run_provider
from tests.bench.spoken import Script
from tests.integration.test_parts import manage, wait_until_ready
from tests.live_cast import ending
from tests.running import ROOT, free_port

USERS = ("admin", "approver")
PREPARE = """
from django.core.management import call_command
call_command("prepare")
for user in ("admin", "approver"):
    call_command("issue_token", user, scopes="all", user=user)
"""  # in one process: each start of Python and Django takes a second or two
PARTS = {"web": ["serve", "--only", "web"], "worker": ["worker"], "sequencer": ["sequencer"]}

NORMALISE = {"data": {"n": "7"}, "schema": {"n": {"type": "number"}}}
NO_FILE = {"filePath": "there-is-no-such-file.csv", "format": "csv"}
PATIENCE_SECONDS = 30
ENDED = {"succeeded", "failed", "cancelled"}


@dataclass(kw_only=True)
class Done:
    """What was done, as the answers of the API say: the tasks that ended and those that wait for a person."""

    tasks: list[dict[str, Any]] = field(default_factory=list)
    pending: int = 0

    def count(self, status: str) -> dict[str, int]:
        """Return how many tasks of each agent have this status."""
        agents = [task["agentId"] for task in self.tasks if task["status"] == status]
        return {agent: agents.count(agent) for agent in sorted(set(agents))}

    def cost_usd(self) -> float:
        """Return what all of them cost."""
        return float(sum(task["costMicro"] for task in self.tasks)) / 1e6


@dataclass(frozen=True, kw_only=True)
class Town:
    """The parts as processes of their own; `ports` are those of their metrics, by the name of Prometheus's job."""

    url: str
    tokens: dict[str, str]
    provider: Provider
    ports: dict[str, int]

    def open_client(self, user: str) -> httpx2.Client:
        """Return a client of the API that may do all that this user may."""
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30)

    def scrape_configs(self) -> list[dict[str, Any]]:
        """Return what Prometheus is to watch, each part under the name that it has in production."""
        return [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for job, port in self.ports.items()
        ]


@contextmanager
def run_town(folder: Path) -> Iterator[Town]:
    """Run the parts on servers that nobody else uses; their models are a stand-in."""
    ports = {f"orchestrator-{name}": free_port() for name in PARTS}
    with ExitStack() as stack:
        postgres, valkey = stack.enter_context(servers.run_postgres()), stack.enter_context(servers.run_valkey())
        mongodb, provider = stack.enter_context(servers.run_mongodb()), stack.enter_context(run_provider(free_port()))
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_VAR": str(folder / "var"),
            "PORT": str(free_port()),
            "STATE_DATABASE_URL": postgres,
            "REDIS_URL": valkey,
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            "OPENAI_BASE_URL": provider.base_url,
            "MODEL_TIER_CHEAP_FALLBACK": "",
            "LOG_LEVEL": "WARNING",
        }
        prepared = manage(environment, "shell", "--no-imports", "--verbosity", "0", "--command", PREPARE)
        assert prepared.returncode == 0, prepared.stderr
        for name, arguments in PARTS.items():
            own = environment | {"METRICS_PORT": str(ports[f"orchestrator-{name}"])}
            stack.enter_context(_run_part(own, arguments, folder / f"{name}.log"))
        url = f"http://127.0.0.1:{environment['PORT']}"
        wait_until_ready(url)
        tokens = dict(zip(USERS, prepared.stdout.split()[-2:], strict=True))
        yield Town(url=url, tokens=tokens, provider=provider, ports=ports)


@contextmanager
def _run_part(environment: dict[str, str], arguments: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    with ending(process):
        yield


def work(town: Town) -> Done:
    """Have tasks succeed and fail, calls refused, people asked, and a model paid."""
    town.provider.play(Script(answer=SUMMARY))
    done = Done()
    with town.open_client("admin") as client, town.open_client("approver") as approver:
        ids = [_submit(client, order) for order in _orders()]
        asked = [_submit(client, _patch(number)) for number in range(3)]
        for task_id, decision in zip(asked, ("approve", "refuse", ""), strict=True):
            question = _wait(lambda task_id=task_id: _find_question(approver, task_id), "a person to be asked")
            if decision:
                body = {"decision": decision, "digest": question["digest"], "note": "a test"}
                answer = approver.post(f"/api/approvals/{question['approvalId']}/decision", json=body)
                assert answer.status_code == 200, answer.text
                ids.append(task_id)
            else:
                done.pending += 1
        done.tasks = [_wait(lambda task_id=task_id: _find_ended(client, task_id), "a task to end") for task_id in ids]
    return done


def _submit(client: httpx2.Client, order: dict[str, Any]) -> str:
    answer = client.post("/api/tasks", json=order)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["taskId"])


def _orders() -> Iterator[dict[str, Any]]:
    for _ in range(6):
        yield {"agentId": "normalization-agent", "skillId": "normalizer", "input": NORMALISE}
    for _ in range(2):
        yield {"agentId": "security-agent", "skillId": "documentParser", "input": NO_FILE}
    for _ in range(3):
        yield {"agentId": "content-agent", "skillId": "normalizer", "input": NORMALISE}  # the policy has no such rule
        yield SUMMARISE


def _patch(number: int) -> dict[str, Any]:
    changes = [{"type": "append", "newText": "as asked\n"}]
    order = {"filePath": f"note-{number}.txt", "changes": changes, "dryRun": False}
    return {"agentId": "build-refactor-agent", "skillId": "workspacePatch", "input": order}


def _find_question(approver: httpx2.Client, task_id: str) -> dict[str, Any] | None:
    waiting = approver.get("/api/approvals", params={"status": "pending"}).json()["results"]
    return next((one for one in waiting if one["taskId"] == task_id), None)


def _find_ended(client: httpx2.Client, task_id: str) -> dict[str, Any] | None:
    task = client.get(f"/api/tasks/{task_id}").json()
    return task if task["status"] in ENDED else None


def _wait(find: Any, what: str) -> Any:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not (found := find()):
        assert time.monotonic() < give_up_at, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.1)
    return found


class Prometheus:
    """A Prometheus that runs, as Grafana asks it."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=20)

    def ask(self, expr: str, *, at: float) -> list[dict[str, Any]]:
        """Return the series of an expression at one time."""
        return self._get("query", query=expr, time=at)

    def ask_range(self, expr: str, *, start: float, end: float, step: int) -> list[dict[str, Any]]:
        """Return the series of an expression over a time."""
        return self._get("query_range", query=expr, start=start, end=end, step=step)

    def wait_for_scrapes(self, since: float) -> None:
        """Wait until every target was scraped, whole, after a time."""
        _wait(lambda: self._are_scraped(since), "Prometheus to scrape")

    def _are_scraped(self, since: float) -> bool:
        found = self.ask("timestamp(up == 1)", at=time.time())
        return bool(found) and all(float(one["value"][1]) > since for one in found)

    def _get(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self._client.post(f"/api/v1/{path}", data={key: str(value) for key, value in parameters.items()})
        assert answer.status_code == 200, f"{parameters['query']}\n{answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


def find_program(name: str) -> str:
    """Return where Debian's Prometheus or what comes with it is."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed: apt-get install prometheus")
    return program


@contextmanager
def run_prometheus(folder: Path, *, scrape: list[dict[str, Any]]) -> Iterator[Prometheus]:
    """Run Debian's Prometheus over these `scrape_configs`, once a second."""
    program, config, port = find_program("prometheus"), folder / "prometheus.yml", free_port()
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": scrape}))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, cwd=folder
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(lambda: process.poll() is None and _is_ready(url), "Prometheus to be ready")
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/-/ready", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False
