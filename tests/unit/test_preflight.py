"""What a server that cannot start says: one line, and what to do."""

import os
import socket
import sys
from pathlib import Path

import pytest

from orchestrator_site import preflight
from orchestrator_site.preflight import PreflightError


def test_it_refuses_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    with pytest.raises(PreflightError, match=r"Python 3\.13 is needed"):
        preflight.check_platform()


def test_it_refuses_another_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(PreflightError, match="Linux"):
        preflight.check_platform()


def test_it_makes_a_private_folder(tmp_path: Path) -> None:
    preflight.prepare_folder(tmp_path / "deep" / "var")
    assert (tmp_path / "deep" / "var").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "deep" / "var" / "run").iterdir()) == []


def test_it_refuses_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="ORCHESTRATOR_VAR"):
        preflight.prepare_folder(tmp_path / "file" / "var")


def test_it_locks_a_folder_once_and_names_the_holder(tmp_path: Path) -> None:
    preflight.prepare_folder(tmp_path)
    first = preflight.lock_folder(tmp_path)
    os.pwrite(first, b"process 7 at http://127.0.0.1:3000", 0)
    with pytest.raises(PreflightError, match=r"process 7 at http://127\.0\.0\.1:3000"):
        preflight.lock_folder(tmp_path)
    os.close(first)
    os.close(preflight.lock_folder(tmp_path))


def test_it_refuses_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PreflightError, match="set PORT"):
            preflight.listen("127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no-such-host.invalid", 0)])
def test_it_refuses_an_address_that_does_not_exist(host: str, port: int) -> None:
    with pytest.raises(PreflightError, match="cannot be used"):
        preflight.listen(host, port)


def test_web_only_needs_shared_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in preflight.NEEDED_FOR_WEB_ONLY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1/0")
    with pytest.raises(PreflightError, match=r"set DATABASE_URL, STATE_DATABASE_URL$"):
        preflight.claim(host="127.0.0.1", web_only=True)


def test_without_the_embedded_mongodb_it_says_so_before_it_touches_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path / "packages"))  # as in the image
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("ORCHESTRATOR_VAR", str(tmp_path / "var"))
    with pytest.raises(PreflightError, match="DATABASE_URL"):
        preflight.claim(host="127.0.0.1", web_only=False)
    assert not (tmp_path / "var").exists()
