"""What make says on a machine that lacks something, and what it lists."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and programs that pose as the system's."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "requirements-embedded.lock", "requirements-demo.lock", "requirements-dev.lock"):
        (tmp_path / name).write_text("")
    for package in ("audit", "toolgate", "agents", "orchestrator_site", "bin"):
        (tmp_path / package).mkdir()
    return tmp_path


def pose(checkout: Path, name: str, script: str) -> None:
    program = checkout / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{checkout / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    return subprocess.run(
        ["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on stderr that is not make's own."""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    return line


def test_it_refuses_another_python_in_one_line(checkout: Path) -> None:
    pose(checkout, "python3.13", "exit 127")
    pose(checkout, "python3", 'case "$1" in --version) echo Python 3.11.2;; *) exit 1;; esac')
    done = make(checkout, "run")
    assert done.returncode != 0
    assert "Python 3.13 is needed, and python3 is Python 3.11.2" in complaint(done)
    assert not (checkout / ".venv").exists()


def test_it_refuses_another_platform_in_one_line(checkout: Path) -> None:
    pose(checkout, "uname", "echo Darwin")
    done = make(checkout, "run")
    assert done.returncode != 0
    assert "Linux" in complaint(done)


def test_it_takes_the_python_that_is_named(checkout: Path) -> None:
    pose(checkout, "python3.13", "exit 127")
    pose(checkout, "python3", "exit 1")
    pose(checkout, "mine", 'case "$*" in *venv*) mkdir -p .venv/bin; echo "$*" > .venv/bin/python;; *) exit 0;; esac')
    assert make(checkout, ".venv/bin/python", f"PYTHON={checkout}/bin/mine").returncode == 0
    assert (checkout / ".venv/bin/python").read_text().split() == ["-m", "venv", "--clear", ".venv"]


def test_help_lists_every_target(checkout: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    listed = set(re.findall(r"^  make (\S+) ", make(checkout, "help").stdout, re.MULTILINE))
    assert listed == set(phony[1].split())
