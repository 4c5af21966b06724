"""The ledger is written with the change, or not at all."""

import threading
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from audit import bell
from audit.events import Event
from audit.ledger import MAX_BODY_BYTES, iterate_numbered, read_unnumbered, record
from audit.models import LedgerEvent, TreeHead
from audit.transactions import write_transaction
from tests.audit_cast import make_event, record_events

pytestmark = pytest.mark.django_db(transaction=True)


def record_and_fail(*events: Event) -> None:
    with write_transaction():
        record(*events)
        raise ZeroDivisionError


def change_and_record(event: Event) -> None:
    with write_transaction():
        TreeHead.objects.create(name="change")
        record(event)


def test_it_keeps_every_field_of_an_event() -> None:
    event = make_event(7, body={"text": "é\0\u2028", "big": 2**53 - 1, "deep": {"list": [None, True]}})
    with write_transaction():
        record(event)
    row = LedgerEvent.objects.get()
    assert (row.event_id, row.type, row.at, row.actor) == (event.id, event.type, event.at, event.actor)
    assert (row.task_id, row.agent_id, row.skill_id) == (event.task_id, event.agent_id, event.skill_id)
    assert (row.decision, row.reason, row.body) == (event.decision, event.reason, event.body)
    assert (row.seq, row.salt, row.private, row.hash) == (None, "", "", "")


def test_it_refuses_to_record_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="write_transaction"):
        record(make_event())
    assert not LedgerEvent.objects.exists()


def test_it_rolls_back_with_the_change() -> None:
    with pytest.raises(ZeroDivisionError):
        record_and_fail(make_event(1), make_event(2))
    assert not LedgerEvent.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"body": {"price": 0.1}},
        {"body": {"count": 2**53}},
        {"body": {"é": 1}},
        {"body": {"text": "\ud800"}},
        {"body": {"text": "x" * (MAX_BODY_BYTES + 1)}},
        {"actor": "user:\0"},
        {"actor": "x" * 201},
        {"task_id": "x" * 65},
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)
def test_a_bad_event_fails_the_change_itself(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        change_and_record(make_event(**changes))
    assert not TreeHead.objects.exists()
    assert not LedgerEvent.objects.exists()


def test_an_event_is_recorded_once() -> None:
    event = make_event()
    with write_transaction():
        record(event)
    with pytest.raises(Exception, match=r"(?i)unique"), write_transaction():
        record(event)
    assert LedgerEvent.objects.count() == 1


def test_it_rings_after_the_commit_only() -> None:
    rings: list[int] = []
    listener = lambda: rings.append(LedgerEvent.objects.count())  # noqa: E731
    bell.recorded.listen(listener)
    try:
        with write_transaction():
            record(make_event())
            assert rings == []
        assert rings == [1]
        with transaction.atomic():
            record(make_event(2))
            transaction.set_rollback(True)
        assert rings == [1]
    finally:
        bell.recorded.unlisten(listener)


def test_a_nested_write_transaction_joins_the_one_around_it() -> None:
    def nest_and_fail() -> None:
        with write_transaction():
            with write_transaction():
                record(make_event(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        nest_and_fail()
    with write_transaction():
        with pytest.raises(ZeroDivisionError):
            record_and_fail(make_event(2))
        record(make_event(3))
    assert [row.task_id for row in LedgerEvent.objects.all()] == ["t-3"]


def test_ten_writers_at_once_lose_nothing() -> None:
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            record_events(20, start=100 * number)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert LedgerEvent.objects.values("task_id").distinct().count() == 200


def test_it_reads_large_bodies_in_bounded_batches() -> None:
    events: list[Event] = [make_event(n, body={"text": "x" * 3_000_000}) for n in range(5)]
    with write_transaction():
        record(*events)
    assert [row.document["taskId"] for row in read_unnumbered(limit=500)] == ["t-0", "t-1", "t-2"]


def test_it_pages_through_more_rows_than_one_page_holds() -> None:
    with write_transaction():
        record(*(make_event(n) for n in range(150)))
    assert [row.document["taskId"] for row in read_unnumbered(limit=140)] == [f"t-{n}" for n in range(140)]
    assert list(iterate_numbered(after=0, to=150)) == []


def test_what_is_committed_while_it_reads_waits_for_the_next_read() -> None:
    """A writer's transaction whose ids are spread becomes visible in the midst: all of it is read later, not a part."""
    with write_transaction():
        record(*(make_event(n) for n in range(100)))
    spread = list(LedgerEvent.objects.filter(task_id__in=["t-3", "t-90"]))
    LedgerEvent.objects.filter(id__in=[row.id for row in spread]).delete()
    looks: list[str] = []

    def commit_meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        looks.append(sql)
        if len(looks) == 2:
            LedgerEvent.objects.bulk_create(spread)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(commit_meanwhile):
        first = [row.document["taskId"] for row in read_unnumbered(limit=500)]
    assert first == [f"t-{n}" for n in range(100) if n not in (3, 90)]
    assert len(read_unnumbered(limit=500)) == 100
