"""The embedded MongoDB as a child: private, durable, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from orchestrator_site.embedded import EmbeddedMongo, EmbeddedMongoFailed
from tests.audit_cast import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedMongo]:
    embedded = EmbeddedMongo(tmp_path / "mongodb", tmp_path / "run" / "mongodb.uri")
    yield embedded
    embedded.stop()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_takes_its_own_password_only(server: EmbeddedMongo, settings: Any) -> None:
    uri = server.start()
    assert server.uri_file.read_text() == uri
    with MongoClient[Any](uri) as client, MongoClient[Any]("127.0.0.1", server.port, directConnection=True) as stranger:
        client[settings.MONGODB_DATABASE].things.insert_one({"a": 1})
        with pytest.raises(OperationFailure):
            stranger[settings.MONGODB_DATABASE].things.find_one()
        with pytest.raises(OperationFailure):
            client.other.things.insert_one({"a": 1})


def test_its_files_are_private(server: EmbeddedMongo, tmp_path: Path) -> None:
    server.start()
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    command = Path(f"/proc/{server.pid}/cmdline").read_text()
    assert server.uri_file.read_text().split(":")[2].split("@")[0] not in command


def test_it_keeps_what_it_was_given_over_kill_and_restart(server: EmbeddedMongo, settings: Any) -> None:
    with MongoClient[Any](server.start(), serverSelectionTimeoutMS=5000) as client:
        things, port = client[settings.MONGODB_DATABASE].things, server.port
        for number in range(20):
            things.insert_one({"_id": number})
        server.kill()
        assert not server.is_alive()
        server.start()
        assert server.port == port
        assert things.count_documents({}) == 20
        server.restart()
        assert things.count_documents({}) == 20


def test_a_lost_password_is_made_anew(server: EmbeddedMongo, tmp_path: Path, settings: Any) -> None:
    first = server.start()
    server.stop()
    (tmp_path / "mongodb.password").unlink()
    second = server.start()
    assert first.split("@")[0] != second.split("@")[0]
    with MongoClient[Any](second) as client:
        assert client[settings.MONGODB_DATABASE].things.count_documents({}) == 0


def test_a_taken_port_is_no_obstacle(server: EmbeddedMongo) -> None:
    server.start()
    other = EmbeddedMongo(server._storage.with_name("other"), server.uri_file.with_name("other.uri"), auth=False)
    other.port = server.port
    other.start()
    try:
        assert other.port != server.port
    finally:
        other.stop()


def test_a_lock_that_lingers_is_waited_for_then_named(server: EmbeddedMongo) -> None:
    server.start()
    second = EmbeddedMongo(server._storage, server.uri_file)
    began = time.monotonic()
    with pytest.raises(EmbeddedMongoFailed, match="busy"):
        second.start()
    assert 2.5 < time.monotonic() - began < 8


def test_a_command_that_fails_is_reported(server: EmbeddedMongo, settings: Any) -> None:
    settings.EMBEDDED_MONGODB_COMMAND = "/bin/false"
    with pytest.raises(EmbeddedMongoFailed, match="did not start"):
        server.start()


_CHILD = """
import sys, time
from pathlib import Path
import django; django.setup()
from orchestrator_site.embedded import EmbeddedMongo
server = EmbeddedMongo(Path(sys.argv[1], "mongodb"), Path(sys.argv[1], "mongodb.uri"), auth=False)
import threading
starter = threading.Thread(target=server.start); starter.start(); starter.join()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_it_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(pid)  # the thread that asked for the start has ended: that must not matter
        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))
    server = EmbeddedMongo(tmp_path / "mongodb", tmp_path / "mongodb.uri", auth=False)
    server.start()
    server.stop()
