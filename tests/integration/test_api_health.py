"""Health: the process, its readiness, its dependencies."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Agent, ProviderCircuit, Worker
from audit.lease import HEAD
from audit.models import TreeHead
from audit.status import LedgerStatus
from orchestrator_site import health
from orchestrator_site.health import HealthWire, Probe
from tests.integration.api_cast import Api, api_of, forget_all, problem_of, world

__all__ = ["world"]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for the audit store: it answers with the fault that the test sets."""

    class Store:
        fault = ""

    monkeypatch.setattr(health, "store_probe", Probe(lambda: Store.fault))
    return Store


def ledger(**columns: Any) -> LedgerStatus:
    values: dict[str, Any] = {"unnumbered": 0, "numbered_seq": 0, "shipped_seq": 0, "shipped_at": None}
    values |= {"holder": "x", "led": True, "fault": ""}
    return LedgerStatus(**(values | columns))


@pytest.fixture
def caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequencer that has shipped everything."""
    monkeypatch.setattr(health, "get_ledger_status", ledger)


@pytest.fixture
def anybody(world: None) -> Api:
    """Nobody in particular."""
    return Api(None)


def test_health_touches_nothing_but_the_process(anybody: Api) -> None:
    with CaptureQueriesContext(connection) as captured:
        answer = anybody.get("/health")
    assert answer.status_code == 200
    assert set(answer.json()) == {"status", "timestamp"}
    assert answer.json()["status"] == "healthy"
    assert len(captured) == 0
    assert "sessionid" not in answer.cookies


def test_ready_counts(anybody: Api, caught_up: None) -> None:
    answer = anybody.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "agents": 11, "skills": 5, "degraded": []})


def test_without_the_audit_store_it_is_ready_but_degraded(anybody: Api, caught_up: None, store: Any) -> None:
    store.fault = "the audit store does not answer"
    answer = anybody.get("/ready")
    assert (answer.status_code, answer.json()["ready"], answer.json()["degraded"]) == (200, True, ["audit_store"])
    store.fault = ""
    assert anybody.get("/ready").json()["degraded"] == []


def test_events_that_nobody_numbers_degrade_too(anybody: Api) -> None:
    assert anybody.get("/ready").json()["degraded"] == ["audit_store"]  # the seeding left events


def test_what_the_sequencer_found_degrades_too(anybody: Api) -> None:
    TreeHead.objects.create(name=HEAD, store_fault="the audit store refused the login")
    assert anybody.get("/ready").json()["degraded"] == ["audit_store"]


def test_too_many_waiting_events_end_readiness(anybody: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "get_ledger_status", lambda: ledger(unnumbered=100_000))
    assert anybody.get("/ready").status_code == 200
    monkeypatch.setattr(health, "get_ledger_status", lambda: ledger(unnumbered=100_001))
    problem = problem_of(anybody.get("/ready"), 503, "not_ready")
    assert (problem["ready"], problem["agents"], problem["degraded"]) == (False, 11, ["audit_store"])


def test_without_the_relational_store_it_is_not_ready(anybody: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> LedgerStatus:
        raise OperationalError("gone")

    monkeypatch.setattr(health, "get_ledger_status", fail)
    problem = problem_of(anybody.get("/ready"), 503, "not_ready")
    assert (problem["ready"], problem["degraded"]) == (False, ["state_store"])


def test_without_agents_it_is_not_ready(anybody: Api) -> None:
    Agent.objects.all().update(current_version=1)
    for agent in Agent.objects.all():
        agent.versions.all().delete()
        agent.delete()
    forget_all()
    assert problem_of(anybody.get("/ready"), 503, "not_ready")["agents"] == 0


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_are_only_read(anybody: Api, path: str) -> None:
    assert anybody.send("POST", path).status_code == 405
    assert anybody.send("HEAD", path).status_code == 200


# --- /api/health/deep -----------------------------------------------------------------------------------------
def by_name(answer: Any) -> dict[str, Any]:
    HealthWire.model_validate_json(answer.content)
    return {one["name"]: one for one in answer.json()["dependencies"]}


def make_worker(*, seconds: int) -> None:
    now = timezone.now()
    lease = now + timedelta(seconds=seconds)
    Worker.objects.create(id="w1", host="h", pid=1, started_at=now, beat_at=now, lease_expires_at=lease)


def test_each_dependency_says_how_it_is(anybody: Api, store: Any) -> None:
    make_worker(seconds=20)
    until = timezone.now() + timedelta(seconds=10)
    TreeHead.objects.create(name=HEAD, holder="me", lease_expires_at=until, shipped_at=timezone.now())
    answer = api_of("vera", "tasks:read").get("health/deep")
    found = by_name(answer)
    assert set(found) == {"state_store", "audit_store", "worker", "sequencer"}
    assert {one["status"] for one in found.values()} == {"ok"}
    assert answer.json()["status"] == "ok"
    assert found["state_store"]["latencyMs"] >= 0
    assert all(one["lastGoodAt"] for one in found.values())


def test_each_fault_is_told_with_the_last_good_time(anybody: Api, store: Any) -> None:
    vera = api_of("vera", "tasks:read")
    vera.get("health/deep")
    store.fault = "the audit store does not answer"
    make_worker(seconds=-5)
    answer = vera.get("health/deep")
    found = by_name(answer)
    assert answer.json()["status"] == "degraded"
    assert found["audit_store"]["detail"] == "the audit store does not answer"
    assert found["audit_store"]["lastGoodAt"] is not None  # from before
    assert (found["worker"]["status"], found["sequencer"]["status"]) == ("failing", "failing")
    assert "events wait" in found["sequencer"]["detail"]


def test_a_redis_that_is_away_is_told_without_its_address(anybody: Api, settings: Any) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"
    answer = api_of("vera", "tasks:read").get("health/deep")
    assert by_name(answer)["redis"]["status"] == "failing"
    assert b"hunter2" not in answer.content


def test_a_redis_that_answers_is_well(anybody: Api, settings: Any, valkey: str) -> None:
    settings.REDIS_URL = valkey
    assert by_name(api_of("vera", "tasks:read").get("health/deep"))["redis"]["status"] == "ok"


def test_a_vendor_whose_circuit_is_open_is_told(anybody: Api, settings: Any) -> None:
    settings.OPENAI_API_KEY = "k"
    settings.ANTHROPIC_BASE_URL = "http://127.0.0.1:1"
    ProviderCircuit.objects.create(provider="openai", state="open", since=timezone.now(), why="provider_overloaded")
    found = by_name(api_of("vera", "tasks:read").get("health/deep"))
    assert (found["openai"]["status"], found["anthropic"]["status"]) == ("failing", "ok")
    assert "provider_overloaded" in found["openai"]["detail"]


def test_it_needs_a_token(anybody: Api) -> None:
    problem_of(anybody.get("health/deep"), 401, "unauthenticated")


# --- probes ---------------------------------------------------------------------------------------------------
def test_a_probe_looks_no_oftener_than_it_should() -> None:
    looks: list[int] = []

    def look() -> str:
        looks.append(1)
        return ""

    probe = Probe(look, fresh_seconds=60.0)
    for _ in range(3):
        assert probe.read().fault == ""
    assert len(looks) == 1


def test_who_asks_while_another_looks_is_told_what_was_found_last() -> None:
    inner: list[str] = []

    def look() -> str:
        if inner:
            return ""
        inner.append("x")
        return "first"

    probe = Probe(look)
    assert probe.read().fault == "first"
    probe._lock.acquire()
    try:
        assert probe.read().fault == "first"
    finally:
        probe._lock.release()
    assert probe.read().fault == ""


def test_a_look_that_hangs_is_no_longer_what_was_found_last(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, answering = threading.Event(), threading.Event()

    def look() -> str:
        if probe.last_good_at is not None:
            hanging.set()
            answering.wait(10)
        return ""

    probe = Probe(look)
    assert probe.read().fault == ""
    thread = threading.Thread(target=probe.read)
    thread.start()
    assert hanging.wait(5)
    assert probe.read().fault == ""  # a moment is no fault
    monkeypatch.setattr(health, "LATE_SECONDS", 0.0)
    assert probe.read().fault.startswith("no answer for")
    answering.set()
    thread.join()
    assert probe.read().fault == ""
