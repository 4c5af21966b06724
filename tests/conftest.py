"""Fixtures for all tests: the real servers, and an audit store that is empty at the start of each test."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from audit.events import strict_bodies
from tests import emptying, recorded, servers

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("steady", deadline=None)
hypothesis.settings.load_profile("steady")


# What takes minutes comes first: begun last, it would be waited for while the other process has nothing to do.
LONG = ("test_other_pair", "test_budget_storm", "test_crashes", "test_agent_faults", "test_audit_kills", "test_live_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: not item.path.name.startswith(LONG))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep SQLite's test database in a file: in memory, threads would share one lock and no WAL."""
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("state") / "state.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def emptied_quickly() -> Iterator[None]:
    """Empty the database quickly after each test that commits."""
    with emptying.quickly():
        yield


@pytest.fixture(autouse=True)
def everything_is_recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if the product changed state without an event; bodies are held to what is declared of them."""
    with strict_bodies(), recorded.watch() as found:
        yield
    if found and request.node.get_closest_marker("unrecorded") is None:
        pytest.fail("changed without an event in the same transaction:\n" + "\n".join(dict.fromkeys(found)))


@pytest.fixture(scope="session")
def mongodb() -> Iterator[str]:
    """Give the address of a MongoDB: the one that MONGODB_TEST_URI names, or an embedded one."""
    if uri := os.environ.get("MONGODB_TEST_URI"):
        yield uri
        return
    with servers.run_mongodb() as server:
        yield f"mongodb://127.0.0.1:{server.port}/?directConnection=true"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the address of a PostgreSQL server, as STATE_DATABASE_URL takes it."""
    with servers.run_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """Give the address of a Valkey server, as REDIS_URL takes it."""
    with servers.run_valkey() as url:
        yield url


@pytest.fixture(autouse=True)
def own_places(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test a signing key and a second place of its own: checkpoints of another test belie its log."""
    folder = tmp_path_factory.mktemp("places")
    settings.AUDIT_SIGNING_KEY = settings.AUDIT_CHECKPOINT_WEBHOOK = ""
    settings.AUDIT_KEY_FILE = folder / "keys" / "audit-signing.pem"
    settings.AUDIT_CHECKPOINT_DIR = folder / "checkpoints"


@pytest.fixture
def audit_store(mongodb: str, settings: Any, tmp_path: Path) -> Iterator[Any]:
    """Point the audit store at a database of its own, and give its collection of events."""
    from pymongo import MongoClient

    from audit import documents
    from audit.exploring import queries

    settings.MONGODB_URI = mongodb
    settings.MONGODB_DATABASE = f"test_{secrets.token_hex(6)}"
    settings.AUDIT_CHECKPOINT_DIR = tmp_path / "checkpoints"
    settings.AUDIT_ARCHIVE_DIR = tmp_path / "archives"
    documents.disconnect()
    queries.forget_head()
    documents.ensure_indexes()
    database = settings.MONGODB_DATABASE
    yield documents.get_collection()
    documents.disconnect()
    queries.forget_head()
    with MongoClient[Any](mongodb) as client:
        client.drop_database(database)
