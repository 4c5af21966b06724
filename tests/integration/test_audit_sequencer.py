"""The sequencer against a real store: in order, once, by one at a time, whatever fails."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection

from audit import bell, documents, shipping
from audit.checking.verification import verify
from audit.exceptions import StoreUnavailable
from audit.exploring.queries import read_range
from audit.lease import get_head, take_lease
from audit.ledger import iterate_numbered
from audit.metrics import violations
from audit.models import LedgerEvent, TreeHead
from audit.sequencer import Sequencer
from audit.shipper import StoreState
from audit.status import check_store, get_ledger_status
from orchestrator_site.embedded import EmbeddedMongo
from tests import servers
from tests.audit_cast import NOW, record_events, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Hands:
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def drain(sequencer: Sequencer) -> None:
    while sequencer.step():
        pass


def read_store(collection: Any) -> list[dict[str, Any]]:
    return list(collection.find({}).sort("seq", 1))


def assert_store_equals_ledger(collection: Any, count: int) -> None:
    stored = read_store(collection)
    assert [document["seq"] for document in stored] == list(range(1, count + 1))
    assert stored == list(iterate_numbered(after=0, to=count))
    report = verify()
    assert report.holds, report.findings
    assert (report.ledger_checked, report.store_checked) == (count, count)


@pytest.fixture
def own_mongodb(settings: Any) -> Iterator[EmbeddedMongo]:
    """A store of the test's own, to be killed."""
    with servers.run_mongodb() as server:
        settings.MONGODB_URI = ""
        settings.MONGODB_URI_FILE = server.uri_file
        documents.disconnect()
        yield server
        documents.disconnect()


def test_it_numbers_and_ships_in_the_order_of_the_ledger(audit_store: Any) -> None:
    record_events(7)
    sequencer = Sequencer("one")
    assert sequencer.step() == 7
    assert sequencer.step() == 0
    assert_store_equals_ledger(audit_store, 7)
    assert [document["taskId"] for document in read_store(audit_store)] == [f"t-{n}" for n in range(7)]
    status = get_ledger_status()
    assert (status.waiting, status.shipped_seq, status.fault, status.led) == (0, 7, "", True)


def test_it_moves_a_backlog_in_batches(audit_store: Any) -> None:
    record_events(3)
    LedgerEvent.objects.bulk_create(
        LedgerEvent(event_id=f"e-{n}", type="task.submitted", at=NOW, actor="system", body={"n": n})
        for n in range(1100)
    )
    sequencer = Sequencer("one")
    assert [sequencer.step() for _ in range(5)] == [256, 256, 256, 256, 79]
    drain(sequencer)
    assert_store_equals_ledger(audit_store, 1103)


def test_what_was_shipped_before_the_note_of_it_counts_as_shipped(audit_store: Any) -> None:
    record_events(5)
    drain(Sequencer("one"))
    TreeHead.objects.update(shipped_seq=2)
    second = Sequencer("two", steal=True)
    drain(second)
    assert second.status().shipped_seq == 5
    record_events(2, start=5)
    drain(second)
    assert_store_equals_ledger(audit_store, 7)


def test_a_batch_that_arrived_in_part_is_completed(audit_store: Any) -> None:
    record_events(6)
    drain(Sequencer("one"))
    audit_store.delete_many({"seq": {"$in": [4, 5]}})
    TreeHead.objects.update(shipped_seq=3)
    drain(Sequencer("two", steal=True))
    assert_store_equals_ledger(audit_store, 6)


def test_with_the_store_away_it_goes_on_numbering_and_says_so(own_mongodb: EmbeddedMongo) -> None:
    record_events(2)
    sequencer = Sequencer("one")
    drain(sequencer)
    own_mongodb.stop()
    record_events(3, start=2)
    assert sequencer.step() == 3
    status = get_ledger_status()
    assert (status.numbered_seq, status.shipped_seq, status.waiting) == (5, 2, 3)
    assert status.fault == "the audit store does not answer"
    assert check_store() == status.fault
    own_mongodb.start()
    wait_until(lambda: sequencer.step() == 0 and sequencer.status().shipped_seq == 5)
    assert_store_equals_ledger(documents.get_collection(), 5)
    assert get_ledger_status().fault == ""
    assert check_store() == ""


def test_an_emptied_store_is_filled_again_at_the_start(audit_store: Any) -> None:
    record_events(30)
    drain(Sequencer("one"))
    lost = violations.labels(violation_type="missing")._value.get()
    audit_store.drop()
    drain(Sequencer("two", steal=True))
    assert_store_equals_ledger(audit_store, 30)
    assert violations.labels(violation_type="missing")._value.get() == lost + 1
    assert "seq_1" in audit_store.index_information()


def test_an_emptied_store_is_noticed_while_running(audit_store: Any) -> None:
    seconds = 0.0
    sequencer = Sequencer("one", monotonic=lambda: seconds, lease_seconds=1e6)
    record_events(5)
    drain(sequencer)
    audit_store.drop()
    record_events(1, start=5)
    drain(sequencer)
    seconds = 61.0
    drain(sequencer)
    assert_store_equals_ledger(audit_store, 6)


def test_another_event_under_a_number_stops_shipping_loudly(audit_store: Any, caplog: Any) -> None:
    record_events(3)
    sequencer = Sequencer("one")
    drain(sequencer)
    replaced = violations.labels(violation_type="replaced")._value.get()
    audit_store.insert_one({"_id": "forged", "seq": 4, "hash": "f" * 64})
    record_events(2, start=3)
    drain(sequencer)
    assert sequencer.status().store is StoreState.DIVERGED
    assert "event 4" in get_ledger_status().fault
    assert "rebuild_audit" in caplog.text
    assert violations.labels(violation_type="replaced")._value.get() == replaced + 1
    assert get_ledger_status().waiting == 2
    assert audit_store.count_documents({"seq": 5}) <= 1
    assert audit_store.find_one({"seq": 4})["_id"] == "forged"


def test_a_store_that_is_ahead_of_the_ledger_stops_shipping(audit_store: Any) -> None:
    record_events(2)
    drain(Sequencer("one"))
    audit_store.insert_one({"_id": "from-another-ledger", "seq": 9, "hash": "f" * 64})
    record_events(1, start=2)
    second = Sequencer("two", steal=True)
    second.step()
    assert second.status().store is StoreState.DIVERGED
    assert get_ledger_status().waiting == 1


def test_only_one_of_two_leads_until_it_lets_go(audit_store: Any) -> None:
    record_events(4)
    first, second = Sequencer("one"), Sequencer("two")
    assert first.step() == 4
    record_events(4, start=4)
    assert second.step() == 0
    assert not second.status().leading
    first.release()
    assert second.step() == 4
    assert first.step() == 0
    assert_store_equals_ledger(audit_store, 8)


def test_a_lease_ends_by_the_clock(audit_store: Any) -> None:
    hands = Hands()
    first, second = Sequencer("one", hands), Sequencer("two", hands)
    first.step()
    hands.now += timedelta(seconds=9)
    second.step()
    assert not second.status().leading
    hands.now += timedelta(seconds=2)
    second.step()
    assert second.status().leading


def test_a_clock_set_back_an_hour_neither_stalls_nor_doubles(audit_store: Any) -> None:
    hands = Hands()
    first, second = Sequencer("one", hands), Sequencer("two", hands)
    record_events(2)
    assert first.step() == 2
    hands.now -= timedelta(hours=1)
    record_events(2, start=2)
    assert second.step() == 2  # the old lease seems to end in an hour: it is not waited for
    record_events(2, start=4)
    assert first.step() == 0  # fenced off
    assert second.step() == 2
    drain(second)
    assert_store_equals_ledger(audit_store, 6)


def test_a_holder_goes_on_over_a_clock_set_back(audit_store: Any) -> None:
    hands = Hands()
    seconds = 0.0
    sequencer = Sequencer("one", hands, monotonic=lambda: seconds)
    record_events(1)
    sequencer.step()
    hands.now -= timedelta(hours=1)
    seconds += 5.0
    record_events(1, start=1)
    assert sequencer.step() == 1
    assert TreeHead.objects.get().lease_expires_at == hands.now + timedelta(seconds=10)


def test_one_that_slept_past_its_lease_writes_nothing(audit_store: Any) -> None:
    first = Sequencer("one")
    record_events(3)
    first.step()
    take_lease("two", now=NOW, length=timedelta(seconds=10), steal=True)
    record_events(3, start=3)
    assert first._lease is not None  # it does not know yet
    assert first.step() == 0
    assert LedgerEvent.objects.filter(seq__isnull=True).count() == 3
    assert get_head().seq == 3


def test_the_owner_of_the_state_takes_over_at_once_after_a_kill(audit_store: Any) -> None:
    record_events(1)
    Sequencer("killed").step()
    record_events(1, start=1)
    assert Sequencer("restarted", steal=True).step() == 1


def test_two_at_once_fighting_for_the_lease_make_one_chain(audit_store: Any) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def fight(holder: str) -> None:
        try:
            while not stop.is_set():
                Sequencer(holder, steal=True).step()  # each round with a new fence
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=fight, args=(f"fighter-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    record_events(150)
    wait_until(lambda: not LedgerEvent.objects.filter(seq__isnull=True).exists())
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    drain(Sequencer("last", steal=True))
    assert_store_equals_ledger(audit_store, 150)


def test_the_store_killed_under_load_loses_and_doubles_nothing(own_mongodb: EmbeddedMongo) -> None:
    stop = threading.Event()
    sequencer = Sequencer("one")
    thread = threading.Thread(target=sequencer.run_forever, args=(stop,))
    thread.start()
    recorded: list[int] = []

    def write() -> None:
        while not stop.is_set():
            record_events(5, start=len(recorded) * 5)
            recorded.append(5)
            time.sleep(0.005)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(4):
            seen = get_ledger_status().shipped_seq
            wait_until(lambda seen=seen: get_ledger_status().shipped_seq > seen + 50)  # type: ignore[misc]
            own_mongodb.kill()
            time.sleep(0.1)
            own_mongodb.start()
    finally:
        stop.set()
        bell.recorded.ring()
        writer.join()
        thread.join()
    drain(Sequencer("two"))
    assert len(recorded) * 5 > 200
    assert_store_equals_ledger(documents.get_collection(), len(recorded) * 5)


def is_stopped(pid: int | None) -> bool:
    """Say whether every thread of a process has stopped."""
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def test_a_store_that_hangs_is_given_up(own_mongodb: EmbeddedMongo) -> None:
    record_events(1)
    sequencer = Sequencer("one")
    drain(sequencer)
    assert own_mongodb.pid is not None
    os.kill(own_mongodb.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(own_mongodb.pid))  # the signal reaches each thread in its own time
    try:
        began = time.monotonic()
        assert check_store() != ""
        with pytest.raises(StoreUnavailable):
            read_range(after=0, to=10)
        assert time.monotonic() - began < 6
    finally:
        os.kill(own_mongodb.pid, signal.SIGCONT)
    wait_until(lambda: check_store() == "")


def test_it_ends_cleanly_and_hands_the_lease_back(audit_store: Any) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=Sequencer("one").run_forever, args=(stop,))
    thread.start()
    record_events(5)
    wait_until(lambda: get_ledger_status().shipped_seq == 5)
    stop.set()
    bell.recorded.ring()
    thread.join(5)
    assert not thread.is_alive()
    assert TreeHead.objects.get().holder == ""
    assert_store_equals_ledger(audit_store, 5)


def test_it_survives_a_step_that_fails(audit_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit import ledger

    calls: list[int] = []
    write_numbers = ledger.write_numbers

    def fail_once(rows: Any) -> None:
        write_numbers(rows)
        calls.append(len(rows))
        if len(calls) == 1:
            raise RuntimeError("after the writes, before the commit")

    monkeypatch.setattr("audit.sequencer.ledger.write_numbers", fail_once)
    record_events(3)
    sequencer = Sequencer("one")
    with pytest.raises(RuntimeError):
        sequencer.step()
    assert get_head().seq == 0
    drain(sequencer)
    assert_store_equals_ledger(audit_store, 3)


def test_what_is_shipped_outlasts_a_power_cut_before_it_is_shipped(
    audit_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the store would know events that the ledger lost, and whose numbers it gives away once more."""
    done: list[str] = []
    ship = shipping.ship

    def note_and_ship(documents: Any) -> None:
        done.append("shipped")
        ship(documents)

    monkeypatch.setattr("audit.shipper.make_durable", lambda: done.append("durable"))
    monkeypatch.setattr(shipping, "ship", note_and_ship)
    record_events(3)
    drain(Sequencer("one"))
    assert done == ["durable", "shipped"]


def test_a_ledger_that_is_away_is_asked_once_a_second_and_not_at_each_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def refuse(*_: Any, **__: Any) -> None:
        tries.append(time.monotonic())
        raise OperationalError("away")

    monkeypatch.setattr("audit.sequencer.take_lease", refuse)
    bell.recorded.wait(0)  # a ring that another test left
    stop = threading.Event()
    thread = threading.Thread(target=Sequencer("one", poll_seconds=0.01).run_forever, args=(stop,))
    thread.start()
    time.sleep(0.8)
    told = len(tries)
    stop.set()
    bell.recorded.ring()
    thread.join(10)
    assert not thread.is_alive()
    assert told == 1
