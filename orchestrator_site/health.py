"""Is the process up, is it ready, and how is each thing that it depends on?"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, Literal

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents import circuits, registry
from agents.breaker import CircuitState
from agents.models import Worker
from agents.providers.vendors import list_configured
from audit.status import LedgerStatus, check_store, get_ledger_status
from audit.wire import format_at
from orchestrator_site.draining import LEAVING, is_draining
from orchestrator_site.errors import answer_problem, make_problem
from toolgate.reading import WireModel, read_query

STORE_FRESH_SECONDS: Final = 2.0
REDIS_TIMEOUT_SECONDS: Final = 1.0
LATE_SECONDS: Final = 3.0  # a look that lasts longer has found no answer so far


# --- probes ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one look at a dependency found; `fault` is empty if all is well."""

    fault: str
    latency_seconds: float
    read_at: float  # monotonic


class Probe:
    """Looks at one dependency, at most once in `fresh_seconds` and never twice at a time.

    A dead store takes its time to be found dead, so those who ask meanwhile are told what was found last; of one that
    hangs, that it does not answer.
    """

    def __init__(self, check: Callable[[], str], *, fresh_seconds: float = 0.0) -> None:
        self._check = check
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._began_at = 0.0  # the newest look, by the monotonic clock
        self.last_good_at: datetime | None = None

    def read(self) -> Reading:
        """Return the newest reading, looking again if it is stale."""
        last = self._last
        if last is not None and time.monotonic() - last.read_at < self._fresh_seconds:
            return last
        if not self._lock.acquire(blocking=last is None):
            return self._tell_meanwhile(last)  # type: ignore[arg-type]  # only a first look is waited for
        try:
            return self._look()
        finally:
            self._lock.release()

    def _tell_meanwhile(self, last: Reading) -> Reading:
        waited = time.monotonic() - self._began_at
        if last.fault or waited <= LATE_SECONDS:
            return last
        return Reading(fault=f"no answer for {waited:.0f} s", latency_seconds=waited, read_at=last.read_at)

    def _look(self) -> Reading:
        self._began_at = started = time.monotonic()
        fault = self._check()
        ended = time.monotonic()
        self._last = Reading(fault=fault, latency_seconds=ended - started, read_at=ended)
        if not fault:
            self.last_good_at = datetime.now(UTC)
        return self._last


def check_state() -> str:
    """Return why the relational store does not answer, empty if it does."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        return f"the relational store does not answer ({type(error).__name__})"
    return ""


@contextmanager
def open_redis() -> Iterator[Any]:
    """Give a connection to Redis that gives each question up after a second, and asks none twice."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    patience = {"socket_timeout": REDIS_TIMEOUT_SECONDS, "socket_connect_timeout": REDIS_TIMEOUT_SECONDS}
    client = redis.Redis.from_url(settings.REDIS_URL, retry=Retry(NoBackoff(), 0), **patience)
    try:
        yield client
    finally:
        client.close()


def check_redis() -> str:
    """Return why Redis does not answer within a second, empty if it does."""
    from redis import RedisError

    try:
        with open_redis() as client:
            client.ping()
    except RedisError as error:
        return f"Redis does not answer ({type(error).__name__})"
    return ""


state_probe = Probe(check_state)
store_probe = Probe(check_store, fresh_seconds=STORE_FRESH_SECONDS)
redis_probe = Probe(check_redis)


# --- /health and /ready ---------------------------------------------------------------------------------------
@login_not_required
@require_safe
def show_health(request: HttpRequest) -> HttpResponse:
    """Answer that the process is up; touches nothing else."""
    return JsonResponse({"status": "healthy", "timestamp": format_at(datetime.now(UTC))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether orders can be taken; `lack` says in a sentence why not, empty if they can."""

    lack: str
    agents: int
    skills: int
    degraded: list[str]

    def describe(self) -> dict[str, Any]:
        """Return the members of the answer."""
        told = {"agents": self.agents, "skills": self.skills, "degraded": self.degraded}
        return {"ready": not self.lack, **told}


@login_not_required
@require_safe
def show_ready(request: HttpRequest) -> HttpResponse:
    """Answer whether orders can be taken: 200, or 503 with the same members in a problem document."""
    found = find_readiness()
    if not found.lack:
        return JsonResponse(found.describe())
    code = "draining" if found.lack == LEAVING else "not_ready"
    return answer_problem(make_problem(HTTPStatus.SERVICE_UNAVAILABLE, code, found.lack, **found.describe()))


def find_readiness() -> Readiness:
    """Say whether orders can be taken.

    Without the audit store they can, up to a limit of waiting events; without the relational store, or with no
    agent in it, they cannot. A process that is about to end answers what it is asked, and asks to be left out.
    """
    skills = len(registry.list_skills())
    try:
        status, agents = get_ledger_status(), len(registry.list_agents())
    except DatabaseError:
        lack = "The relational store does not answer."
        return Readiness(lack=lack, agents=0, skills=skills, degraded=["state_store"])
    degraded = ["audit_store"] if status.over_limit or is_store_away(status) else []
    lack = ""
    if status.over_limit:
        lack = f"{status.waiting:,} events wait for the audit store: too many to take a new task."
    elif not agents:
        lack = "There are no agents: the fleet is not seeded."
    elif is_draining():
        lack = LEAVING
    return Readiness(lack=lack, agents=agents, skills=skills, degraded=degraded)


def is_store_away(status: LedgerStatus) -> bool:
    """Say whether events do not reach the audit store, or cannot be read from it."""
    return status.is_stalled or bool(store_probe.read().fault)


# --- /api/health/deep -----------------------------------------------------------------------------------------
class DependencyWire(WireModel):
    """One thing that the orchestrator depends on. `lastGoodAt` is as far as this process knows."""

    name: Literal["state_store", "audit_store", "redis", "worker", "sequencer", "openai", "anthropic"]
    status: Literal["ok", "failing"]
    latency_ms: float | None
    last_good_at: datetime | None
    detail: str | None


class HealthWire(WireModel):
    """All dependencies; `degraded` if any fails."""

    status: Literal["ok", "degraded"]
    dependencies: list[DependencyWire]


class DeepHealth(APIView):
    """How each dependency is."""

    required_scope = "any"
    heeds_agents = True  # dependencies are no agent's

    @extend_schema(operation_id="health_deep", responses=HealthWire)
    def get(self, request: Request) -> Response:
        """Look at every dependency, within about two seconds."""
        read_query(request.query_params, ())
        found = [_from_probe("state_store", state_probe), _from_probe("audit_store", store_probe)]
        if settings.REDIS_URL:
            found.append(_from_probe("redis", redis_probe))
        if found[0]["status"] == "ok":
            found += [_look_at_worker(), _look_at_sequencer(), *_look_at_vendors()]
        is_well = all(one["status"] == "ok" for one in found)
        return Response({"status": "ok" if is_well else "degraded", "dependencies": found})


def _from_probe(name: str, probe: Probe) -> dict[str, Any]:
    reading = probe.read()
    latency = round(reading.latency_seconds * 1000, 2)
    return _dependency(name, reading.fault, last_good_at=probe.last_good_at, latency_ms=latency)


def _look_at_worker() -> dict[str, Any]:
    beats = Worker.objects.order_by("-lease_expires_at").values_list("beat_at", "lease_expires_at").first()
    if beats is None:
        return _dependency("worker", "no worker has ever registered", last_good_at=None)
    beat_at, expires_at = beats
    fault = "" if expires_at > timezone.now() else "no worker's lease is in time, so queued tasks wait"
    return _dependency("worker", fault, last_good_at=beat_at)


def _look_at_sequencer() -> dict[str, Any]:
    status = get_ledger_status()
    waiting = f"{status.waiting:,} events wait for the audit store"
    fault = status.fault
    if not fault and not status.led:
        fault = "no sequencer leads, so events are not numbered"
    found = _dependency("sequencer", fault and f"{fault}; {waiting}", last_good_at=status.shipped_at)
    return found | {"detail": found["detail"] or (waiting if status.waiting else None)}


def _look_at_vendors() -> list[dict[str, Any]]:
    """Tell of each configured vendor what its circuit says; nobody is asked for that."""
    known = {row.provider: row for row in circuits.list_circuits()}
    found = []
    for name in list_configured():
        row = known.get(name)
        is_well = row is None or row.state == CircuitState.CLOSED
        fault = "" if is_well or row is None else f"it keeps failing ({row.why}) and is left alone for a while"
        found.append(_dependency(name, fault, last_good_at=row.since if row and is_well else None))
    return found


def _dependency(
    name: str, fault: str, *, last_good_at: datetime | None, latency_ms: float | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "status": "failing" if fault else "ok",
        "latencyMs": latency_ms,
        "lastGoodAt": format_at(last_good_at) if last_good_at else None,
        "detail": fault or None,
    }
