"""What is installed: locked by hash, from wherever the installer is told to look."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = (
    "requirements.lock", "requirements-dev.lock", "requirements-demo.lock", "requirements-embedded.lock",
    "requirements-tracing.lock",
)  # fmt: skip


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock by normalised name."""
    lines = (ROOT / name).read_text().splitlines()
    pins = [re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", line) for line in lines]
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[2] for pin in pins if pin}


def declared(group: str | None = None) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["optional-dependencies"][group] if group else project["dependencies"]
    return {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", line)[0]).lower() for line in requirements}  # type: ignore[index]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    assert " @ " not in text


@pytest.mark.parametrize("name", LOCKS)
def test_each_requirement_of_a_lock_has_a_hash(name: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / name).read_text())
    assert blocks
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_the_locks_hold_what_is_declared() -> None:
    assert declared() - locked("requirements.lock").keys() == set()
    assert declared("dev") - locked("requirements-dev.lock").keys() == set()
    assert declared("demo") - locked("requirements-demo.lock").keys() == set()
    assert declared("embedded") - locked("requirements-embedded.lock").keys() == set()


def test_development_and_production_install_the_same_versions() -> None:
    development = locked("requirements-dev.lock")
    assert {name: pin for name, pin in locked("requirements.lock").items() if development.get(name) != pin} == {}


def test_production_does_not_install_the_embedded_mongodb() -> None:
    """It is GPL-2.0-only: started as a program on a machine that chose it, never part of an image."""
    assert "secantusdb" not in locked("requirements.lock")
    assert "secantusdb" not in locked("requirements-tracing.lock")


def test_the_image_installs_what_production_does_and_traces() -> None:
    image = locked("requirements-tracing.lock")
    assert {name: pin for name, pin in locked("requirements.lock").items() if image.get(name) != pin} == {}
    assert declared("tracing") - image.keys() == set()


def test_what_the_image_compiles_ahead_is_in_its_lock() -> None:
    """Its build imports these by name, and would fail for one that is no longer installed."""
    names = run_path(str(ROOT / "deploy" / "image" / "finish.py"))["ON_FIRST_USE"]
    owners, locks = packages_distributions(), locked("requirements-tracing.lock")
    held = {package for package, names in owners.items() if any(normalise(name) in locks for name in names)}
    assert {name for name in names if name.partition(".")[0] not in held} == set()


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
