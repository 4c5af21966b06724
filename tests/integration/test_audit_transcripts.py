"""Transcripts on their way into a real store: once each, in order, behind the events, whatever fails."""

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from audit import bell, documents, transcript_shipping
from audit.checking.rebuilding import rebuild
from audit.documents import TranscriptDocument
from audit.exceptions import StoreUnavailable
from audit.models import LedgerEvent, TranscriptEntry
from audit.sequencer import Sequencer
from audit.transactions import write_transaction
from audit.transcript_reading import read_transcript
from audit.transcripts import MAX_BODY_BYTES, Entry, Kind, record_entries
from orchestrator_site.embedded import EmbeddedMongo
from tests.audit_cast import NOW, record_events, wait_until
from tests.integration.test_audit_sequencer import own_mongodb

__all__ = ["own_mongodb"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def transcripts(audit_store: Any) -> Any:
    """The collection of transcripts."""
    return documents.get_collection(TranscriptDocument)


def make_entry(number: int = 0, *, task_id: str = "t-1", kind: str = Kind.REPLY, **body: Any) -> Entry:
    return Entry(task_id=task_id, kind=kind, at=NOW, body={"text": f"turn {number}"} | body)


def write_entries(count: int, *, start: int = 0, **changes: Any) -> None:
    for number in range(start, start + count):
        with write_transaction():
            record_entries(make_entry(number, **changes))


def drain(sequencer: Sequencer) -> None:
    while sequencer.step():
        pass


def texts_of(collection: Any, task_id: str = "t-1") -> list[str]:
    found = collection.find({"taskId": task_id}).sort("n", 1)
    return [orjson.loads(document["body"])["text"] for document in found]


def turns(count: int) -> list[str]:
    return [f"turn {number}" for number in range(count)]


def assert_whole(collection: Any, count: int) -> None:
    assert texts_of(collection) == turns(count)
    assert not TranscriptEntry.objects.filter(shipped=False).exists()


# --- the outbox -----------------------------------------------------------------------------------------------
def test_an_entry_stands_and_falls_with_the_transaction_around_it() -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        record_entries(make_entry())
    with write_transaction():
        record_entries(make_entry())
        transaction.set_rollback(True)
    assert not TranscriptEntry.objects.exists()
    with write_transaction():
        record_entries(make_entry(), make_entry(1, kind=Kind.CALL))
    assert [(entry.kind, entry.shipped) for entry in TranscriptEntry.objects.order_by("id")] == [
        ("reply", False),
        ("call", False),
    ]


@pytest.mark.parametrize("changes", [{"kind": "chat"}, {"at": datetime(2026, 11, 23)}])  # noqa: DTZ001
def test_an_entry_of_no_kind_or_no_zone_is_refused(changes: Any) -> None:
    values = {"task_id": "t", "kind": "reply", "at": NOW, "body": {}} | changes
    with pytest.raises(ValueError, match=r"zone|kind|Kind"), write_transaction():
        record_entries(Entry(**values))


def test_a_large_body_is_cut_and_says_so() -> None:
    with write_transaction():
        record_entries(
            make_entry(content="é" * 2_000_000, short="kept"),
            make_entry(content=[{"text": "x" * 300}] * 40_000),
            make_entry(content=[1] * 2_000_000),
        )
    text, many, numbers = (entry.body for entry in TranscriptEntry.objects.order_by("id"))
    assert text["content"].startswith("é" * 1000)
    assert text["content"].endswith("[cut: 2,000,000 characters in all]")
    assert (text["short"], text["cutFromBytes"]) == ("kept", 4_000_045)
    assert many["cutFromBytes"] > MAX_BODY_BYTES
    assert numbers["cut"].startswith('{"text":"turn 0"')
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM audit_transcriptentry")
        assert max(len(body.encode()) for (body,) in cursor.fetchall()) <= MAX_BODY_BYTES


def test_what_json_cannot_hold_becomes_text() -> None:
    deep: Any = "bottom"
    for _ in range(400):
        deep = [deep]
    with write_transaction():
        record_entries(make_entry(large=2**80, odd="\ud800", nul="\0", deep=deep, none=None, at=NOW))
    body = TranscriptEntry.objects.get().body
    assert (body["large"], body["odd"], body["nul"], body["none"]) == (str(2**80), "?", "\0", None)
    assert "nested too deeply" in orjson.dumps(body["deep"]).decode()


# --- on the way -----------------------------------------------------------------------------------------------
def test_it_ships_in_order_with_what_a_reader_needs(transcripts: Any) -> None:
    write_entries(3)
    write_entries(2, task_id="t-2")
    record_events(2)
    sequencer = Sequencer("one")
    drain(sequencer)
    assert_whole(transcripts, 3)
    found = read_transcript("t-1")
    assert [entry["body"] for entry in found.entries] == [{"text": text} for text in turns(3)]
    assert found.next_after is None
    row = TranscriptEntry.objects.order_by("id")[0]
    assert found.entries[0] == {
        "n": row.pk, "id": row.entry_id, "at": "2026-11-23T12:00:00.000000Z", "kind": "reply", "body": row.body,
    }  # fmt: skip
    assert sequencer.status().shipped_seq == 2


def test_a_reader_pages_by_number_and_by_size(transcripts: Any) -> None:
    write_entries(7, filler="x" * 1000)
    drain(Sequencer("one"))
    seen: list[str] = []
    after: int | None = 0
    sizes = []
    while after is not None:
        page = read_transcript("t-1", after=after, limit=3)
        sizes.append(len(page.entries))
        seen += [entry["body"]["text"] for entry in page.entries]
        after = page.next_after
    assert (sizes, seen) == ([3, 3, 1], turns(7))
    assert len(read_transcript("t-1", max_bytes=2_500).entries) == 2
    assert len(read_transcript("t-1", max_bytes=1).entries) == 1
    assert read_transcript("t-9").entries == []


def test_a_backlog_of_events_goes_first(transcripts: Any) -> None:
    write_entries(1)
    LedgerEvent.objects.bulk_create(
        LedgerEvent(event_id=f"e-{n}", type="task.submitted", at=NOW, actor="system", body={}) for n in range(1100)
    )
    sequencer = Sequencer("one")
    counts = []
    for _ in range(5):
        sequencer.step()
        counts.append((sequencer.status().shipped_seq, transcripts.count_documents({})))
    assert counts == [(256, 0), (512, 0), (768, 0), (1024, 0), (1100, 1)]


def test_large_entries_are_shipped_a_few_at_a_time(transcripts: Any) -> None:
    with write_transaction():
        record_entries(*(make_entry(n, filler="x" * 600_000) for n in range(5)))
    sequencer = Sequencer("one")
    assert [sequencer.step() for _ in range(4)] == [2, 2, 1, 0]
    assert_whole(transcripts, 5)


def test_what_was_written_before_it_was_marked_counts_as_shipped(
    transcripts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entries(4)

    class Killed(BaseException):
        pass

    def die(*args: Any, **named: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("audit.transcripts.mark", die)
        with pytest.raises(Killed):
            Sequencer("killed").step()
    assert transcripts.count_documents({}) == 4
    assert TranscriptEntry.objects.filter(shipped=False).count() == 4
    write_entries(2, start=4)
    drain(Sequencer("restarted", steal=True))
    assert_whole(transcripts, 6)


def test_a_batch_that_arrived_in_part_is_completed(transcripts: Any) -> None:
    write_entries(5)
    drain(Sequencer("one"))
    transcripts.delete_many({"n": {"$in": list(TranscriptEntry.objects.values_list("id", flat=True)[1:3])}})
    TranscriptEntry.objects.update(shipped=False)
    drain(Sequencer("two", steal=True))
    assert_whole(transcripts, 5)


def test_with_the_store_away_they_wait_and_then_arrive(own_mongodb: EmbeddedMongo) -> None:
    write_entries(2)
    sequencer = Sequencer("one")
    drain(sequencer)
    own_mongodb.stop()
    write_entries(3, start=2)
    sequencer.step()
    with pytest.raises(StoreUnavailable):
        read_transcript("t-1")
    assert TranscriptEntry.objects.filter(shipped=False).count() == 3
    own_mongodb.start()
    wait_until(lambda: sequencer.step() == 0 and not TranscriptEntry.objects.filter(shipped=False).exists())
    assert_whole(documents.get_collection(TranscriptDocument), 5)


def test_the_store_killed_under_load_loses_and_doubles_nothing(own_mongodb: EmbeddedMongo) -> None:
    stop = threading.Event()
    written: list[int] = []
    sequencer = Sequencer("one")
    thread = threading.Thread(target=sequencer.run_forever, args=(stop,))
    thread.start()

    def write() -> None:
        while not stop.is_set():
            write_entries(5, start=len(written) * 5)
            record_events(1)
            written.append(5)
            time.sleep(0.005)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            seen = TranscriptEntry.objects.filter(shipped=True).count()
            wait_until(lambda seen=seen: TranscriptEntry.objects.filter(shipped=True).count() > seen + 30)  # type: ignore[misc]
            own_mongodb.kill()
            time.sleep(0.1)
            own_mongodb.start()
    finally:
        stop.set()
        bell.recorded.ring()
        writer.join()
        thread.join()
    drain(Sequencer("two"))
    assert_whole(documents.get_collection(TranscriptDocument), len(written) * 5)


def test_an_emptied_store_is_filled_again_at_the_start(transcripts: Any) -> None:
    write_entries(30)
    drain(Sequencer("one"))
    transcripts.drop()
    drain(Sequencer("two", steal=True))
    assert_whole(transcripts, 30)
    assert {"n_1", "taskId_1_n_1"} <= set(transcripts.index_information())


def test_what_is_lacking_is_noticed_while_running(transcripts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript_shipping, "_WINDOW", 4)  # several windows, one a step
    seconds = 0.0
    sequencer = Sequencer("one", monotonic=lambda: seconds, lease_seconds=1e6)
    write_entries(11)
    drain(sequencer)
    transcripts.delete_many({"n": {"$gt": TranscriptEntry.objects.order_by("id")[5].pk}})
    seconds = 61.0
    drain(sequencer)
    assert_whole(transcripts, 11)


# --- made again -----------------------------------------------------------------------------------------------
def test_a_rebuild_mends_what_was_lost_changed_or_put_there(transcripts: Any, tmp_path: Path) -> None:
    write_entries(6)
    drain(Sequencer("one"))
    rows = list(TranscriptEntry.objects.order_by("id"))
    transcripts.delete_one({"_id": rows[0].entry_id})
    transcripts.update_one({"_id": rows[1].entry_id}, {"$set": {"body": '{"text":"forged"}'}})
    transcripts.update_one({"_id": rows[2].entry_id}, {"$set": {"n": rows[2].pk + 1000}})
    transcripts.insert_one({"_id": "foreign", "n": rows[3].pk, "taskId": "t-1", "body": '{"text":"foreign"}'})
    transcripts.insert_one({"_id": "beyond", "n": 10**9, "taskId": "t-1", "body": '{"text":"beyond"}'})
    done = rebuild(removed_file=tmp_path / "removed.jsonl")
    assert (done.entries_kept, done.entries_sent, done.removed) == (3, 3, 4)
    assert_whole(transcripts, 6)
    kept = (tmp_path / "removed.jsonl").read_text()
    assert all(word in kept for word in ("forged", "foreign", "beyond"))
    again = rebuild(removed_file=tmp_path / "again.jsonl")
    assert (again.entries_kept, again.entries_sent, again.removed) == (6, 0, 0)


def test_the_command_fills_an_emptied_store(transcripts: Any, capsys: Any, settings: Any, tmp_path: Path) -> None:
    settings.VAR = tmp_path
    write_entries(3)
    record_events(1)
    drain(Sequencer("one"))
    transcripts.drop()
    call_command("rebuild_audit")
    assert "Of the transcripts' entries 0 were right, 3 were sent." in capsys.readouterr().out
    assert_whole(transcripts, 3)
