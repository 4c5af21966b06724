"""The sequencer as a process of its own, as production runs it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from audit.models import TreeHead
from audit.status import get_ledger_status
from tests.audit_cast import record_events, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]


def database_url() -> str:
    """Return the test database as STATE_DATABASE_URL takes it."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite://{values['NAME']}"
    return f"postgres://{values['USER']}@{values['HOST']}:{values['PORT']}/{values['NAME']}"


class Processes:
    """Sequencer processes over the test's databases."""

    def __init__(self, mongodb: str, database: str, var: Path) -> None:
        uri = mongodb.replace("/?", f"/{database}?")
        self._environment = os.environ | {
            "STATE_DATABASE_URL": database_url(),
            "DATABASE_URL": uri,
            "ORCHESTRATOR_VAR": str(var),
        }
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "manage.py", "sequencer"]
        process = subprocess.Popen(command, cwd=ROOT, env=self._environment)
        self.running.append(process)
        return process


@pytest.fixture
def processes(audit_store: Any, mongodb: str, settings: Any, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(mongodb, settings.MONGODB_DATABASE, tmp_path)
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def test_sequencers_take_turns_and_end_cleanly(processes: Processes, audit_store: Any) -> None:
    record_events(20)
    first = processes.start()
    wait_until(lambda: get_ledger_status().shipped_seq == 20)
    leader = TreeHead.objects.get().holder
    assert f":{first.pid}:" in leader
    second = processes.start()
    record_events(20, start=20)
    wait_until(lambda: get_ledger_status().shipped_seq == 40)
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    record_events(20, start=40)
    wait_until(lambda: get_ledger_status().shipped_seq == 60)
    assert f":{second.pid}:" in TreeHead.objects.get().holder
    second.send_signal(signal.SIGINT)
    assert second.wait(30) == 0
    assert TreeHead.objects.get().holder == ""
    assert [document["seq"] for document in audit_store.find({}).sort("seq", 1)] == list(range(1, 61))
