"""Alive is about the process: a sequencer that waits for its store is not started anew for that."""

import socket
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from audit.sequencer import Sequencer
from orchestrator_site.env import parse_database_url
from orchestrator_site.observing.standing import standing_of_sequencer


def test_a_sequencer_whose_store_hangs_is_alive_but_not_ready() -> None:
    sequencer = Sequencer("one")
    sequencer.stepped_at = time.monotonic() - 60
    standing = standing_of_sequencer(sequencer)
    assert standing.find_faults() == []
    assert standing.find_lack() == "the sequencer has not moved for 60 s"
    sequencer.stepped_at = time.monotonic() - 301
    assert standing.find_faults() == ["the sequencer has not moved for 301 s"]


def test_a_postgresql_that_takes_connections_and_is_mute_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        entry: dict[str, Any] = parse_database_url(
            f"postgres://o@127.0.0.1:{mute.getsockname()[1]}/o", default_path=Path("unused")
        )
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host=entry["HOST"], port=entry["PORT"], user=entry["USER"], **entry.get("OPTIONS", {}))
        assert time.monotonic() - started < 10
