"""The audit store slow, silent, cut off, read-only, full, away: nothing is lost, doubled or moved, and people are told.

Each fault is a real one, on a server of the test's own behind a link of the test's own, while events are recorded.
"""

import io
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings as configured
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pymongo import MongoClient

from agents.models import Task, Worker
from audit import bell, documents
from audit.events import Event
from audit.exceptions import StoreUnavailable
from audit.exploring import queries
from audit.lease import LeaseLost
from audit.ledger import record
from audit.metrics import violations
from audit.models import LedgerEvent
from audit.problems import Problem
from audit.sequencer import Sequencer
from audit.status import LedgerStatus, get_ledger_status
from audit.transactions import write_transaction
from orchestrator_site.console import read_audit_state
from orchestrator_site.embedded import EmbeddedMongo
from orchestrator_site.metrics import render_metrics
from tests import servers
from tests.audit_cast import NOW, make_event, record_events, wait_until
from tests.integration.api_cast import INPUT, ORDER, api_of, api_world, problem_of
from tests.link import Link, open_link
from tests.running import RunningServer

READ_ONLY = "the audit store does not let its user do that: it needs the right to find and to insert"
pytestmark = pytest.mark.django_db(transaction=True)


# --- the trail under test ---------------------------------------------------------------------------------------
class Trail:
    """A running sequencer, a writer beside it, and the store that they fill, over a link that can be disturbed."""

    def __init__(self, link: Link, server: EmbeddedMongo, keeper: dict[str, Any]) -> None:
        self.link, self.server, self.keeper = link, server, keeper
        self.stop = threading.Event()
        self.sequencer = Sequencer("one", poll_seconds=0.1)
        self._thread = threading.Thread(target=self.sequencer.run_forever, args=(self.stop,), daemon=True)
        self._thread.start()

    def record(self, count: int) -> None:
        """Record events, as tasks that go on would."""
        record_events(count, start=LedgerEvent.objects.count(), at=timezone.now())

    def wait(self, reached: Callable[[LedgerStatus], bool], *, seconds: float = 30) -> LedgerStatus:
        """Wait for a state of the ledger, and return it."""
        wait_until(lambda: reached(get_ledger_status()), seconds=seconds)
        return get_ledger_status()

    def wait_until_caught_up(self) -> None:
        self.wait(lambda status: status.waiting == 0 and not status.fault)

    def end(self) -> None:
        self.stop.set()
        bell.recorded.ring()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def server() -> Iterator[EmbeddedMongo]:
    """A store of the test's own."""
    with servers.run_mongodb() as running:
        yield running


@contextmanager
def run_trail(
    server: EmbeddedMongo, settings: Any, *, login: str = "", keeper: dict[str, Any] | None = None
) -> Iterator[Trail]:
    """Run a trail over a link to a server; `login` is the product's, `keeper` that of who looks into the store."""
    with open_link(server.port) as link:
        settings.MONGODB_URI = link.uri.replace("//", f"//{login}") + ("&authSource=admin" if login else "")
        documents.disconnect()
        queries.forget_head()
        trail = Trail(link, server, keeper or {})
        try:
            yield trail
        finally:
            link.heal()
            trail.end()
            documents.disconnect()
            queries.forget_head()


@pytest.fixture
def trail(server: EmbeddedMongo, settings: Any) -> Iterator[Trail]:
    """Give a trail that has caught up after its first events."""
    with run_trail(server, settings) as running:
        running.record(20)
        running.wait_until_caught_up()
        yield running


def look_into(server: EmbeddedMongo, keeper: dict[str, Any]) -> MongoClient[Any]:
    """Return a client that goes past the link."""
    return MongoClient("127.0.0.1", server.port, directConnection=True, **keeper)


def read_stored(trail: Trail) -> list[tuple[int, str]]:
    """Return numbers and ids in the store, in order."""
    with look_into(trail.server, trail.keeper) as client:
        collection = client[configured.MONGODB_DATABASE][documents.AuditEvent._get_collection_name()]
        return [(one["seq"], one["_id"]) for one in collection.find({}, {"seq": 1}).sort("seq", 1)]


def assert_whole(trail: Trail) -> None:
    """See that the store holds the ledger, each event once and in order, that nothing waits, and that it verifies."""
    trail.wait_until_caught_up()
    recorded = list(LedgerEvent.objects.order_by("id").values_list("event_id", flat=True))
    assert read_stored(trail) == list(enumerate(recorded, 1))
    assert gauge("audit_ledger_lag_events") == 0
    assert gauge("audit_ledger_lag_seconds") == 0
    assert not read_audit_state().is_behind
    said = io.StringIO()
    call_command("verify_audit", stdout=said)
    assert "OK" in said.getvalue()


def gauge(name: str) -> float:
    text = render_metrics().decode()
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def assert_told(trail: Trail, *, why: str, waiting: int) -> None:
    """See that pages and metrics say that so many wait, since when, and why."""
    trail.wait(lambda status: status.fault != "" and status.unnumbered == 0)
    state = read_audit_state()
    assert state.why == why
    assert (state.is_behind, state.is_full, state.waiting) == (True, False, waiting)
    assert state.since is not None
    assert timedelta() <= timezone.now() - state.since < timedelta(minutes=1)
    assert gauge("audit_ledger_lag_events") == waiting == LedgerEvent.objects.count() - len(read_stored(trail))
    assert gauge("audit_ledger_lag_seconds") > 0


# --- slow, silent, cut ------------------------------------------------------------------------------------------
def test_a_slow_store_takes_everything_in_the_end_and_holds_up_no_numbering(trail: Trail) -> None:
    trail.link.delay_seconds = 2.0
    for _ in range(4):
        trail.record(10)
        trail.wait(lambda status: status.unnumbered == 0, seconds=1.5)
    trail.link.delay_seconds = 0.0
    assert_whole(trail)


def test_a_silent_store_holds_up_no_numbering_and_is_told_of(trail: Trail) -> None:
    trail.link.is_silent = True
    began = time.monotonic()
    while time.monotonic() - began < 12:  # longer than a socket is waited for, and than the lease is long
        trail.record(5)
        trail.wait(lambda status: status.unnumbered == 0, seconds=1.5)
        time.sleep(0.2)
    assert trail.sequencer.status().leading
    waiting = get_ledger_status().waiting
    trail.wait(lambda status: status.fault != "", seconds=25)
    state = read_audit_state()
    assert (state.why, state.waiting) == ("the audit store does not answer", waiting)
    assert state.since is not None
    assert timezone.now() - state.since > timedelta(seconds=10)
    trail.link.is_silent = False
    assert_whole(trail)


def test_a_store_that_is_only_slow_is_told_of_as_slow(trail: Trail) -> None:
    trail.link.is_silent = True
    record_events(5, start=20, at=timezone.now() - timedelta(seconds=11))
    trail.wait(lambda status: status.unnumbered == 0)
    state = read_audit_state()
    assert (state.why, state.is_away) == ("the audit store takes them slowly", False)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_an_acknowledgement_that_is_lost_doubles_nothing(trail: Trail, times: int) -> None:
    for cut in range(1, times + 1):
        trail.link.lose_reply = True
        trail.record(40)
        wait_until(lambda cut=cut: trail.link.cuts == cut)  # type: ignore[misc]
    trail.record(1)
    assert_whole(trail)


@pytest.mark.parametrize("after", [1, 300, 5_000])
def test_a_connection_that_is_cut_in_the_midst_of_an_insert_loses_nothing(trail: Trail, after: int) -> None:
    trail.link.cut_after = after
    trail.record(60)
    wait_until(lambda: trail.link.cuts == 1)
    assert_whole(trail)


# --- read-only, full --------------------------------------------------------------------------------------------
def make_users(server: EmbeddedMongo, database: str, **roles: str) -> dict[str, Any]:
    """Make users, password "p", have the server ask for a login from now on, and return the keeper's."""
    with MongoClient[Any]("127.0.0.1", server.port, directConnection=True) as client:
        privileges = [{"resource": {"db": database, "collection": ""}, "actions": ["find", "insert"]}]
        client.admin.command("createRole", "appends", privileges=privileges, roles=[])
        for name, role in roles.items():
            granted = {"role": role, "db": "admin" if role in {"appends", "root"} else database}
            client.admin.command("createUser", name, pwd="p", roles=[granted])
    server._auth = True
    server._password_file.write_text("nobody's")
    server.restart()
    return {"username": "keeper", "password": "p", "authSource": "admin"}


def test_a_user_who_may_not_write_is_told_of_and_loses_nothing(server: EmbeddedMongo, settings: Any) -> None:
    keeper = make_users(server, settings.MONGODB_DATABASE, reader="read", keeper="root")
    with run_trail(server, settings, login="reader:p@", keeper=keeper) as trail:
        trail.record(7)
        assert_told(trail, why=READ_ONLY, waiting=7)
        with look_into(server, keeper) as root:
            granted = [{"role": "readWrite", "db": settings.MONGODB_DATABASE}]
            root.admin.command("updateUser", "reader", roles=granted)
        server.restart()  # the embedded server looks at rights when a connection logs in
        trail.link.target_port = server.port
        trail.record(3)
        assert_whole(trail)


def test_a_user_who_may_find_and_insert_only_is_enough(server: EmbeddedMongo, settings: Any) -> None:
    keeper = make_users(server, settings.MONGODB_DATABASE, app="appends", keeper="root")
    with run_trail(server, settings, login="app:p@", keeper=keeper) as trail:
        trail.record(300)
        assert_whole(trail)
        with pytest.raises(StoreUnavailable, match="find and to insert"), documents.open_store() as collection:
            collection.delete_many({})


def limit_files(pid: int | None, size_bytes: int) -> None:
    """Let no file of a process grow past `size_bytes`: to the process as good as a full disk."""
    assert pid is not None
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def test_a_store_without_space_loses_nothing_even_of_what_it_acknowledged(trail: Trail) -> None:
    limit_files(trail.server.pid, 400_000)
    recorded = 20
    while not get_ledger_status().fault:
        record_events(10, start=recorded, at=timezone.now(), body={"pad": "x" * 4000})
        recorded += 10
        assert recorded < 5_000
    trail.record(5)
    trail.wait(lambda status: status.unnumbered == 0)
    state = read_audit_state()
    assert (state.is_behind, state.why) == (True, "the audit store failed (InternalError)")
    assert state.waiting >= 5
    assert gauge("audit_ledger_lag_events") == state.waiting
    trail.server.restart()  # as its keeper does when it fails every call
    assert_whole(trail)


# --- away -------------------------------------------------------------------------------------------------------
def test_a_store_that_is_killed_and_away_for_long_misses_nothing(trail: Trail) -> None:
    trail.server.kill()
    record_events(1, start=20, at=timezone.now() - timedelta(hours=7))
    trail.record(1_399)  # more batches than are kept in memory
    trail.wait(lambda status: status.unnumbered == 0 and status.fault != "")
    state = read_audit_state()
    assert (state.why, state.waiting) == ("the audit store does not answer", 1_400)
    assert gauge("audit_ledger_lag_events") == 1_400
    assert gauge("audit_ledger_lag_seconds") == pytest.approx(7 * 3600, abs=60)
    assert state.since is not None
    assert timezone.now() - state.since > timedelta(hours=7)
    trail.server.start()
    trail.link.target_port = trail.server.port
    assert_whole(trail)


def test_a_store_that_is_killed_again_and_again_is_whole_in_the_end(trail: Trail) -> None:
    for _ in range(3):
        trail.record(30)
        trail.server.kill()
        trail.record(30)
        trail.server.start()
        trail.link.target_port = trail.server.port
    assert_whole(trail)


def test_a_silent_store_does_not_keep_the_sequencer_from_ending(trail: Trail) -> None:
    trail.link.is_silent = True
    trail.record(5)
    trail.wait(lambda status: status.unnumbered == 0)
    began = time.monotonic()
    trail.end()
    assert time.monotonic() - began < 5
    status = get_ledger_status()
    assert (status.holder, status.waiting) == ("", 5)
    trail.link.heal()
    wait_until(lambda: Sequencer("two").step() == 0)
    assert [number for number, _ in read_stored(trail)] == list(range(1, 26))


def test_a_shipper_that_slept_while_another_led_raises_no_false_alarm(audit_store: Any) -> None:
    inserted = violations.labels(violation_type=Problem.INSERTED.value)._value.get()
    first, second = Sequencer("one"), Sequencer("two", steal=True)
    record_events(3)
    first.step()
    record_events(3, start=3)
    second.step()
    assert audit_store.count_documents({}) == 6  # more than the first knows of
    first._shipper._reconciled_at = None
    with pytest.raises(LeaseLost):
        first._shipper.step()
    assert violations.labels(violation_type=Problem.INSERTED.value)._value.get() == inserted
    assert get_ledger_status().fault == ""


# --- the whole product, up to the limit and back ----------------------------------------------------------------
def metric(client: httpx2.Client, name: str) -> float:
    text = client.get("/metrics").text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


def test_tasks_go_on_until_the_limit_then_new_ones_are_refused_until_it_has_caught_up(
    server: EmbeddedMongo, tmp_path: Path
) -> None:
    environment = {"AUDIT_BACKLOG_LIMIT": "60", "MAX_TASKS_PER_SECOND": "1000"}
    uri = f"mongodb://127.0.0.1:{server.port}/?directConnection=true"
    product = RunningServer(tmp_path / "var", DATABASE_URL=uri, **environment).start()
    try:
        with product.client() as client:
            server.kill()
            taken: list[str] = []
            while (answer := client.post("/api/tasks", json=ORDER)).status_code == 202:
                taken.append(answer.json()["taskId"])
            assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
            assert answer.headers["Retry-After"] == "10"
            assert len(taken) > 5
            wait_until(lambda: {state_of(client, one) for one in taken} == {"succeeded"}, seconds=60)
            assert client.get("/ready").json()["degraded"] == ["audit_store"]
            assert client.get("/ready").status_code == 503
            assert metric(client, "audit_ledger_lag_events") > metric(client, "audit_ledger_limit_events") == 60
            assert client.post(f"/api/tasks/{taken[0]}/cancel").status_code == 409  # asked, and answered as ever
            server.start()
            wait_until(lambda: client.get("/ready").json().get("degraded") == [], seconds=60)
            wait_until(lambda: client.post("/api/tasks", json=ORDER).status_code == 202)
            wait_until(lambda: metric(client, "audit_ledger_lag_events") == 0, seconds=60)
        assert "OK: " in product.manage("verify_audit")
    finally:
        product.stop()


def state_of(client: httpx2.Client, task_id: str) -> str:
    state: str = client.get(f"/api/tasks/{task_id}").json()["status"]
    return state


# --- the ledger itself ------------------------------------------------------------------------------------------
@contextmanager
def without_space() -> Iterator[None]:
    """Let SQLite's file grow no further: what it says of it is what it says of a full disk."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what other tests left free would be taken first
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")
        yield
        cursor.execute("PRAGMA max_page_count = 1073741823")


def register_worker_with(event: Event) -> None:
    with write_transaction():
        Worker.objects.create(id="w", host="h", pid=1, started_at=NOW, beat_at=NOW, lease_expires_at=NOW)
        record(event)


def test_a_ledger_without_space_takes_neither_the_change_nor_its_event() -> None:
    record_events(3)
    with without_space(), pytest.raises(OperationalError, match="full"):
        register_worker_with(make_event(3, body={"pad": "x" * 3_000_000}))
    assert (Worker.objects.count(), LedgerEvent.objects.count()) == (0, 3)
    record_events(2, start=3)
    numbers: dict[str, list[int]] = {}
    for writer, number in LedgerEvent.objects.order_by("id").values_list("writer", "writer_seq"):
        numbers.setdefault(writer, []).append(number)
    # What was rolled back leaves no gap.
    assert list(numbers.values()) == [list(range(1, len(given) + 1)) for given in numbers.values()]


def test_an_order_to_a_ledger_without_space_is_refused_whole() -> None:
    with api_world():
        olga = api_of("olga")
        before = LedgerEvent.objects.count()
        with without_space():
            order = ORDER | {"input": INPUT | {"data": {"note": "x" * 900_000}}}
            problem_of(olga.post("tasks", order), 503, "state_unavailable")
        assert (Task.objects.count(), LedgerEvent.objects.count()) == (0, before)
        assert olga.post("tasks", ORDER).status_code == 202
