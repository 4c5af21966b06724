"""README's commands, one after the other, in a fresh clone, against the server that its first block starts.

Comments in README, which nobody sees, say what a block is for: `run: start` is the quick start, `run: shell` goes
to one shell in the clone, and each `expect:` must be in what the block prints.
"""

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    (start,) = [block for block in BLOCKS if block.kind == "start"]
    get, go = start.commands.strip().splitlines()
    folder, port = tmp_path_factory.mktemp("clone"), free_port()
    run(["bash", "-c", get.replace("https://example.com/orchestrator.git", str(origin))], folder)
    borrow_installation(folder / "orchestrator")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PORT": str(port)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {go}"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
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
    script = "set -eu -o pipefail\n" + "\n".join(parts).replace("127.0.0.1:3000", f"127.0.0.1:{port}")
    path = os.environ["PATH"] if shutil.which("curl") else f"{os.environ['PATH']}:{lend_curl(checkout.parent)}"
    environment = {"PATH": path, "HOME": str(checkout.parent), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
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
