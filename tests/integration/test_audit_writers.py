"""Each connection counts its events without gaps, whatever is rolled back; so a gap is a loss."""

import threading
import time
from collections import defaultdict
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from audit import writers
from audit.ledger import record
from audit.models import LedgerEvent
from audit.transactions import write_transaction
from tests.audit_cast import make_event, record_events

pytestmark = pytest.mark.django_db(transaction=True)


class ChangedMind(Exception):
    pass


@pytest.fixture(autouse=True)
def new_writer() -> None:
    writers.forget_writer()


def read_counts() -> dict[str, list[int]]:
    """Return what each writer counted, in the order of the ledger; the first writer first."""
    counts: dict[str, list[int]] = defaultdict(list)
    for name, number in LedgerEvent.objects.order_by("id").values_list("writer", "writer_seq"):
        counts[name].append(number or 0)
    return counts


def assert_no_gaps(*lengths: int) -> None:
    """See that each writer counted 1, 2, 3, …, and the writers so many events, in the order that they came."""
    counts = list(read_counts().values())
    assert counts == [list(range(1, len(count) + 1)) for count in counts]
    assert tuple(map(len, counts)) == lengths


def roll_back(*, events: int = 2) -> None:
    with suppress(ChangedMind), write_transaction():
        record(*(make_event() for _ in range(events)))
        raise ChangedMind


def test_one_connection_counts_on_over_its_transactions() -> None:
    record_events(3)
    with write_transaction():
        record(make_event(), make_event())
        record(make_event())
    record_events(1)
    assert_no_gaps(7)


def test_what_is_rolled_back_leaves_no_gap() -> None:
    record_events(2)
    roll_back()
    record_events(2)
    roll_back(events=1)
    roll_back(events=3)
    record_events(1)
    assert_no_gaps(2, 2, 1)


def test_what_is_rolled_back_to_a_savepoint_leaves_no_gap() -> None:
    with write_transaction():
        record(make_event())
        with transaction.atomic():
            record(make_event())
            roll_back()
            record(make_event())
        with suppress(ChangedMind), transaction.atomic():
            with transaction.atomic():
                record(make_event())
            raise ChangedMind
        record(make_event())
    assert_no_gaps(2, 1, 1)


def test_an_event_that_the_database_refuses_leaves_no_gap() -> None:
    """On SQLite, whoever catches the refusal may go on in the same transaction, elsewhere from a savepoint."""
    event = make_event()
    savepoint = nullcontext if connection.vendor == "sqlite" else transaction.atomic
    with write_transaction():
        record(event)
        with suppress(DatabaseError), savepoint():
            record(make_event(), event)
        record(make_event())
    counts = read_counts().values()
    assert all(count == list(range(1, len(count) + 1)) for count in counts)
    assert LedgerEvent.objects.count() >= 2


def test_a_hook_that_fails_after_the_commit_leaves_no_gap_and_no_double() -> None:
    def fail() -> None:
        raise ChangedMind

    with pytest.raises(ChangedMind), write_transaction():  # noqa: PT012
        transaction.on_commit(fail)  # those after it are not called
        record(make_event())
    record_events(2)
    assert_no_gaps(1, 2)


def test_a_new_connection_is_a_new_writer() -> None:
    record_events(2)
    connection.close()
    record_events(3)
    assert_no_gaps(2, 3)


def test_a_writer_takes_another_name_after_six_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    record_events(2)
    later = time.monotonic() + 6 * 3_600
    monkeypatch.setattr("audit.writers.time.monotonic", lambda: later)
    record_events(1)
    assert_no_gaps(2, 1)


def test_threads_are_writers_of_their_own() -> None:
    def write(number: int) -> None:
        try:
            record_events(20, start=100 * number)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_no_gaps(*[20] * 5)


def test_the_newest_events_cannot_be_cut_before_they_are_numbered_without_a_gap() -> None:
    """The count is not read from the ledger: who deletes a writer's last row does not turn it back."""
    record_events(3)
    LedgerEvent.objects.filter(writer_seq=3).delete()
    record_events(1)
    assert list(read_counts().values()) == [[1, 2, 4]]


def test_each_numbered_event_bears_its_writer_and_number(audit_store: Any) -> None:
    from audit.sequencer import Sequencer

    record_events(3)
    while (sequencer := Sequencer("one")).step():
        sequencer.release()
    assert [document["writerSeq"] for document in audit_store.find().sort("seq", 1)] == [1, 2, 3]
    assert len({document["writer"] for document in audit_store.find()}) == 1
