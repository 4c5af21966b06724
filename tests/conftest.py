"""Fixtures for all tests: the real servers, and an audit store that is empty at the start of each test."""

import os
import secrets
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from tests import servers

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("steady", deadline=None)
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep SQLite's test database in a file: in memory, threads would share one lock and no WAL."""
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("state") / "state.sqlite3")


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


@pytest.fixture
def audit_store(mongodb: str, settings: Any) -> Iterator[Any]:
    """Point the audit store at a database of its own, and give its collection of events."""
    from pymongo import MongoClient

    from audit import documents, queries

    settings.MONGODB_URI = mongodb
    settings.MONGODB_DATABASE = f"test_{secrets.token_hex(6)}"
    documents.disconnect()
    queries.forget_head()
    documents.ensure_indexes()
    database = settings.MONGODB_DATABASE
    yield documents.get_collection()
    documents.disconnect()
    queries.forget_head()
    with MongoClient[Any](mongodb) as client:
        client.drop_database(database)
