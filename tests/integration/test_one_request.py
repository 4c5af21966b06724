"""One request through web, worker and sequencer as processes: one id finds all of it, and every line is JSON."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from llmock.scenarios import Reply
from llmock.testing import LLMockServer

from tests import servers
from tests.live_cast import ending, make_environment, wait_for_port
from tests.running import ROOT, free_port

REQUEST_ID = "import-2026-11-26.0041"
ANSWER = {
    "summary": "1. Two deliveries were late.",
    "format": "key_findings",
    "metrics": {"compression": 0, "readTime": 0, "sources": 0},
    "warnings": [],
}
ORDER = {"source": {"type": "text", "content": "Two deliveries were late."}, "format": "key_findings"}


@dataclass(kw_only=True)
class Town:
    """Processes on common stores, and a file for what each prints."""

    environment: dict[str, str]
    folder: Path
    url: str = ""
    names: list[str] = field(default_factory=list)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        self.names.append(name)
        with (self.folder / name).open("wb") as output:
            command = [sys.executable, "manage.py", *arguments]
            return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=output, stderr=output)

    def run(self, name: str, *arguments: str) -> str:
        assert self.start(name, *arguments).wait(120) == 0, (self.folder / name).read_text()
        return (self.folder / name).read_text()

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return what a process printed, having seen that each line is an object with an action."""
        lines = [json.loads(line) for line in (self.folder / name).read_text().splitlines()]
        assert [line for line in lines if not line["action"] or not line["message"]] == []
        return lines


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with ExitStack() as stack:
        mongodb, models = stack.enter_context(servers.run_mongodb()), stack.enter_context(LLMockServer())
        models.state.scenarios.add(Reply(text=json.dumps(ANSWER)))
        port = free_port()
        environment = make_environment(folder) | {
            "DATABASE_URL": f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            "REDIS_URL": stack.enter_context(servers.run_valkey()),
            "STATE_DATABASE_URL": stack.enter_context(servers.run_postgres()),
            "OPENAI_API_KEY": "a-key-of-no-vendor-at-all",
            "OPENAI_BASE_URL": models.base_url("openai"),
            "LOG_LEVEL": "INFO",
            "PORT": str(port),
        }
        town = Town(environment=environment, folder=folder, url=f"http://127.0.0.1:{port}")
        town.run("prepare", "prepare")
        for name, *arguments in (("web", "serve", "--only", "web"), ("worker", "worker"), ("sequencer", "sequencer")):
            stack.enter_context(ending(town.start(name, *arguments)))
        wait_for_port(port)
        yield town


@pytest.fixture(scope="module")
def task(town: Town) -> Any:
    """A task that a model answered, with its events, once all of them have their numbers."""
    token = town.run("token", "issue_token", "test", "--scopes", "all").split()[-1]
    headers = {"Authorization": f"Bearer {token}", "X-Request-Id": REQUEST_ID}
    with httpx2.Client(base_url=town.url, headers=headers, timeout=30) as client:
        answer = client.post("/api/tasks", json={"agentId": "summarization-agent", "input": ORDER})
        assert (answer.status_code, answer.headers["X-Request-Id"]) == (202, REQUEST_ID)
        task = answer.json()
        give_up_at = time.monotonic() + 60
        while not any(event["type"] == "task.succeeded" for event in task.get("events", [])):
            assert time.monotonic() < give_up_at, client.get(f"/api/tasks/{task['taskId']}").json()
            time.sleep(0.1)
            task["events"] = client.get(f"/api/audit?taskId={task['taskId']}&limit=100").json()["results"]
    return task


def test_the_requests_id_finds_what_was_done_for_it_in_every_process(town: Town, task: Any) -> None:
    assert task["traceId"] == REQUEST_ID
    (answered,) = [line for line in town.read_lines("web") if line.get("request_id") == REQUEST_ID]
    assert (answered["action"], answered["path"], answered["status"]) == ("http.answered", "/api/tasks", 202)
    ran = [line for line in town.read_lines("worker") if line.get("trace_id") == REQUEST_ID]
    assert "run.ended" in {line["action"] for line in ran}
    assert {line["task_id"] for line in ran} == {task["taskId"]}


def test_the_requests_id_finds_the_submission_and_the_call_of_the_model_in_the_trail(task: Any) -> None:
    types = {event["type"] for event in task["events"] if event["traceId"] == REQUEST_ID}
    assert {"task.submitted", "run.started", "budget.reserved", "step.finished", "task.succeeded"} <= types
    assert {event["traceId"] for event in task["events"]} == {REQUEST_ID}


def test_every_process_prints_lines_of_json_that_name_their_action(town: Town, task: Any) -> None:
    assert {"sequencer.leads"} <= {line["action"] for line in town.read_lines("sequencer")}
    assert {name: bool(town.read_lines(name)) for name in ("web", "worker")} == {"web": True, "worker": True}
    town.read_lines("prepare")


def test_a_crash_is_a_line_of_json_too(town: Town) -> None:
    environment = town.environment | {"STATE_DATABASE_URL": "postgres://postgres@127.0.0.1:1/postgres"}
    for name in ("worker", "sequencer"):
        process = Town(environment=environment, folder=town.folder).start(f"crash-{name}", name)
        with ending(process):
            give_up_at = time.monotonic() + 30
            while process.poll() is None and not (town.folder / f"crash-{name}").stat().st_size:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)
        lines = town.read_lines(f"crash-{name}")
        assert any("exception" in line or line["level"] in {"ERROR", "CRITICAL"} for line in lines), lines
