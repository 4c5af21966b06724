"""What is run a second time, and what is not."""

import json
from pathlib import Path

import pytest

from tests import again


@pytest.fixture
def first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a test that passes and one that fails, and no run so far."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_them.py").write_text("def test_good(): pass\ndef test_bad(): assert 0\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "no_skips.py").write_text("")
    (tmp_path / ".pytest_cache/v/cache").mkdir(parents=True)
    return tmp_path


def record(folder: Path, code: int, *failed: str) -> None:
    (folder / ".pytest_cache/exit").write_text(f"{code}\n")
    (folder / ".pytest_cache/v/cache/lastfailed").write_text(json.dumps(dict.fromkeys(failed, True)))


def test_what_passes_alone_has_passed_and_is_named(first_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record(first_run, 1, "test_them.py::test_good")
    assert again.main() == 0
    said = capfd.readouterr().out
    assert "FAILED ONCE" in said
    assert said.index("test_them.py::test_good") < said.index("1 passed")


def test_what_fails_twice_has_failed(first_run: Path) -> None:
    record(first_run, 1, "test_them.py::test_good", "test_them.py::test_bad")
    assert again.main() == 1


@pytest.mark.parametrize(("code", "count"), [(1, 0), (1, 6), (2, 1), (3, 1)])
def test_nothing_else_is_run_again(first_run: Path, code: int, count: int) -> None:
    record(first_run, code, *(f"test_them.py::test_good[{number}]" for number in range(count)))
    assert str(again.main()).startswith("test-again: ")
