"""README's commands, one after the other, in a fresh clone, against the server that its first block starts.

Comments in README, which nobody sees, say what a block is for: `run: start` is the quick start, `run: shell` goes
to one shell in the clone, and each `expect:` must be in what the block prints. `run: demo` and `run: own_server` start
servers of their own. `run: engine` needs what is not here: tests/unit/test_documented_commands.py parses it.
"""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.running import ROOT, START_SECONDS, free_port

BLOCK = re.compile(r"((?:<!-- (?:run|expect): .*? -->\n)*)```sh\n(.*?)```", re.DOTALL)
MARK = "=== block"


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    expected: list[str]
    commands: str


def read_blocks() -> list[Block]:
    blocks = []
    for comments, commands in BLOCK.findall((ROOT / "README.md").read_text()):
        kind = re.search(r"run: (\w+)", comments)
        assert kind is not None, f"README has a block that no test runs:\n{commands}"
        expected = [html.unescape(text) for text in re.findall(r"expect: (.*) -->", comments)]
        blocks.append(Block(kind[1], expected, commands))
    return blocks


BLOCKS = read_blocks()
SHELL = [block for block in BLOCKS if block.kind == "shell"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what would be committed now."""
    repository = tmp_path_factory.mktemp("origin") / "orchestrator"
    names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, repository / name)
    run(["git", "init", "-q"], repository)
    run(["git", "add", "-A"], repository)
    run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "now"], repository)
    return repository


def run(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def clone(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The quick start: clone, and `make run` with what was installed here."""
    go = find_block("start").commands.strip().splitlines()[1]
    with started(go, origin, tmp_path_factory.mktemp("clone")) as found:
        yield found


def find_block(kind: str) -> Block:
    (block,) = [block for block in BLOCKS if block.kind == kind]
    return block


@contextmanager
def started(go: str, origin: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    """Clone as the quick start does, and run `go` until the block is left."""
    port = free_port()
    get = find_block("start").commands.strip().splitlines()[0]
    run(["bash", "-c", get.replace("https://example.com/orchestrator.git", str(origin))], folder)
    borrow_installation(folder / "orchestrator")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PORT": str(port)}
    *settings, last = go.strip().splitlines()
    script = "\n".join([*settings, f"exec {last}"])
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_ready(server, port, folder / "log")
        yield folder / "orchestrator", port
    finally:
        os.killpg(server.pid, signal.SIGINT)  # what Ctrl-C does
        server.wait(20)


def borrow_installation(checkout: Path) -> None:
    """Give a clone the packages and static files of this checkout, and make them look newer than its files."""
    long_ago = time.time() - 10 * 365 * 86400
    for path in checkout.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    shutil.copytree(ROOT / "staticfiles", checkout / "staticfiles")


def wait_until_ready(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and server.poll() is None:
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def outputs(clone: tuple[Path, int]) -> list[str]:
    """What each block of the walk-through printed."""
    checkout, port = clone
    parts = [f'echo "{MARK}"\n{block.commands}' for block in SHELL]
    script = "set -eu -o pipefail\n" + "\n".join(parts)
    script = script.replace("127.0.0.1:3000", f"127.0.0.1:{port}").replace("localhost:3000", f"localhost:{port}")
    path = os.environ["PATH"] if shutil.which("curl") else f"{os.environ['PATH']}:{lend_curl(checkout.parent)}"
    environment = {"PATH": path, "HOME": str(checkout.parent), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout.split(MARK)[1:]


def lend_curl(folder: Path) -> Path:
    """Make a program `curl`, for a machine that has only Python, git and make, and return its folder."""
    program = folder / "bin" / "curl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "tests" / "curl.py"} "$@"\n')
    program.chmod(0o755)
    return program.parent


def test_the_quick_start_starts_a_server(clone: tuple[Path, int]) -> None:
    checkout, port = clone
    welcome = (checkout.parent / "log").read_text()
    assert f"http://127.0.0.1:{port}" in welcome
    assert (checkout / "var" / "run" / "logins.txt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", range(len(SHELL)), ids=lambda number: SHELL[number].commands.split()[0])
def test_a_block_prints_what_readme_promises(outputs: list[str], number: int) -> None:
    missing = [text for text in SHELL[number].expected if text not in outputs[number]]
    assert missing == [], outputs[number]


def ask(checkout: Path, port: int, path: str, *, body: dict[str, Any] | None = None) -> Any:
    """Ask a started server with the token that it printed."""
    token = re.findall(r"Bearer (orc_[\w-]+)", (checkout.parent / "log").read_text())[-1]
    headers, url = {"Authorization": f"Bearer {token}"}, f"http://127.0.0.1:{port}{path}"
    answer = httpx2.get(url, headers=headers) if body is None else httpx2.post(url, headers=headers, json=body)
    return answer.json()


def wait_for_tasks(checkout: Path, port: int, wanted: dict[str, str]) -> None:
    states: dict[str, str] = {}
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at and states != wanted:
        time.sleep(0.2)
        states = {task["agentId"]: task["status"] for task in ask(checkout, port, "/api/tasks")["results"]}
    assert states == wanted


def test_the_demo_runs_its_three_agents_and_asks_for_an_approval(
    origin: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with started(find_block("demo").commands, origin, tmp_path_factory.mktemp("demo")) as (checkout, port):
        wanted = {
            "summarization-agent": "succeeded",
            "data-extraction-agent": "succeeded",
            "build-refactor-agent": "awaiting_approval",
        }
        wait_for_tasks(checkout, port, wanted)
        assert "This is a demo." in httpx2.get(f"http://127.0.0.1:{port}/accounts/login/").text
        assert (checkout / "var" / "demo" / "state.sqlite3").exists()


def test_an_agent_runs_on_a_server_of_ones_own(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from llmock.scenarios import Reply, ToolCall
    from llmock.testing import LLMockServer

    notes = {"filePath": "examples/meeting-notes.md", "format": "markdown"}
    metrics = {"compression": 0, "readTime": 0, "sources": 0}
    summary = "1. Two deliveries were late."
    answer = {"summary": summary, "format": "key_findings", "metrics": metrics, "warnings": []}
    order = {"source": {"type": "file", "content": notes["filePath"]}, "format": "key_findings"}
    with LLMockServer() as server:
        server.state.scenarios.add(Reply(tool_calls=(ToolCall("documentParser", notes),)))
        server.state.scenarios.add(Reply(text=json.dumps(answer)))
        commands = find_block("own_server").commands.replace("http://127.0.0.1:11434/v1", server.base_url("openai"))
        with started(commands, origin, tmp_path_factory.mktemp("own")) as (checkout, port):
            task = ask(checkout, port, "/api/tasks", body={"agentId": "summarization-agent", "input": order})
            assert "taskId" in task, task
            wait_for_tasks(checkout, port, {"summarization-agent": "succeeded"})
            assert {record.model for record in server.state.journal.records()} == {"llama3.2"}


def test_readme_names_every_setting() -> None:
    """A setting that the code reads and README does not name would never be found."""
    readme = (ROOT / "README.md").read_text()
    read = re.compile(r"(?:read_\w+|environ\.get)\(\s*\"([A-Z_]+)\"")
    sources = [
        path
        for package in ("orchestrator_site", "agents", "audit", "toolgate")
        for path in (ROOT / package).rglob("*.py")
    ]
    named = {name for path in sources for name in read.findall(path.read_text())}
    internal = {"EMBEDDED_MONGODB_COMMAND", "DJANGO_SETTINGS_MODULE"}
    assert {name for name in named - internal if f"`{name}`" not in readme} == set()


def test_readme_links_to_what_is_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
