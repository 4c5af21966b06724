"""What the orchestrator depends on: how quickly each store answers, its version, and what its clock says."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from django.db import connection

from agents import circuits
from agents.breaker import CircuitState
from agents.providers.vendors import list_configured
from audit.documents import open_store
from orchestrator_site.exceptions import FigureUnread
from orchestrator_site.health import open_redis

SKEWED: Final = timedelta(seconds=1)  # from here on leases and signatures are judged by a wrong clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a store answered. `skew` is its clock's lead over this process's, None where both have the same."""

    kind: str
    version: str
    latency_seconds: float
    skew: timedelta | None = None

    @property
    def is_skewed(self) -> bool:
        """Say whether the clocks differ by more than they should."""
        return self.skew is not None and abs(self.skew) >= SKEWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A model's vendor as the workers last found it."""

    name: str
    state: str  # agents.breaker.CircuitState
    since: datetime | None  # None: it never changed
    why: str

    @property
    def is_asked(self) -> bool:
        """Say whether calls go to it."""
        return self.state == CircuitState.CLOSED


def _time[T](ask: Callable[[], T]) -> tuple[T, float]:
    started = monotonic()
    return ask(), monotonic() - started


def _measure_skew(tell_time: Callable[[], datetime]) -> timedelta:
    """Return how far a clock is ahead of ours, to within half of the way there and back."""
    before = datetime.now(UTC)
    theirs = tell_time()
    return theirs - (before + (datetime.now(UTC) - before) / 2)


def read_state_store() -> Answer:
    """Ask the relational store. Raises: DatabaseError."""
    _, latency = _time(lambda: _ask_state_store("SELECT 1"))
    if connection.vendor != "postgresql":
        return Answer(kind="SQLite", version=sqlite3.sqlite_version, latency_seconds=latency)
    skew = _measure_skew(lambda: _ask_state_store("SELECT clock_timestamp()"))
    return Answer(
        kind="PostgreSQL", version=_ask_state_store("SHOW server_version"), latency_seconds=latency, skew=skew
    )


def _ask_state_store(question: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def read_audit_store() -> Answer:
    """Ask the audit store; a read, because a server with a full disk still answers a ping. Raises: StoreUnavailable."""
    with open_store() as collection:
        _, latency = _time(lambda: collection.find_one({"seq": 1}, {"seq": 1}))
        client = collection.database.client
        skew = _measure_skew(lambda: client.admin.command("hello")["localTime"].replace(tzinfo=UTC))
        version = str(client.server_info()["version"])
    return Answer(kind="MongoDB", version=version, latency_seconds=latency, skew=skew)


def read_redis() -> Answer:
    """Ask Redis. Raises: FigureUnread."""
    from redis import RedisError

    try:
        with open_redis() as client:
            _, latency = _time(client.ping)
            skew = _measure_skew(lambda: _read_redis_time(client.time()))
            told = client.info("server")
    except RedisError as error:
        raise FigureUnread("Redis does not answer") from error
    kind = "Valkey" if "valkey_version" in told else "Redis"
    version = str(told.get("valkey_version") or told["redis_version"])
    return Answer(kind=kind, version=version, latency_seconds=latency, skew=skew)


def _read_redis_time(told: tuple[int, int]) -> datetime:
    seconds, micros = told
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=micros)


def read_vendors() -> list[Vendor]:
    """Return each configured vendor with what its circuit says; nobody is asked for that. Raises: DatabaseError."""
    known = {row.provider: row for row in circuits.list_circuits()}
    return [
        Vendor(name=name, state=row.state, since=row.since, why=row.why)
        if (row := known.get(name))
        else Vendor(name=name, state=CircuitState.CLOSED, since=None, why="")
        for name in list_configured()
    ]
