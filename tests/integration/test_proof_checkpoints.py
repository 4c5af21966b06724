"""Checkpoints are signed in time, of the log as it was, whoever leads; and a long silence is told of."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from audit import bell, documents
from audit.models import Checkpoint, LedgerEvent, TreeHead
from audit.proof.keys import load_key, load_verifier
from audit.proof.log import find_checkpoint, latest_checkpoint, prove_event, prove_growth
from audit.proof.merkle import is_consistent, root_from_inclusion
from audit.proof.notes import open_note
from audit.sequencer import Sequencer
from audit.status import get_checkpoint_status
from tests.audit_cast import NOW, record_events, wait_until
from tests.integration.proof_cast import Hand, list_sizes, read_filed, record_many, set_places

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path) -> None:
    set_places(settings, tmp_path)


@pytest.fixture
def sequencer(audit_store: Any) -> Hand:
    return Hand()


def test_one_is_signed_each_second_in_which_there_was_anything(sequencer: Hand) -> None:
    record_many(1)
    sequencer.drain()
    record_many(2)
    sequencer.drain(after=0.9)
    assert list_sizes() == [1]
    sequencer.drain(after=0.2)
    assert list_sizes() == [1, 3]
    sequencer.drain(after=100)
    assert list_sizes() == [1, 3]


def test_one_is_signed_at_each_256_events_whatever_the_batches(sequencer: Hand) -> None:
    for count in (1, 200, 300, 30, 700):
        record_many(count)
        sequencer.drain()
    sequencer.drain(after=1)
    assert list_sizes() == [1, 256, 512, 768, 1024, 1231]


def test_each_is_of_the_log_as_it_was_and_they_are_consistent(sequencer: Hand) -> None:
    for count in (3, 300, 5):
        record_many(count)
        sequencer.drain(after=1)
    signed = [open_note(row.note, load_verifier()) for row in Checkpoint.objects.order_by("size")]
    assert [checkpoint.size for checkpoint in signed] == [3, 256, 308]
    for old, new in pairwise(signed):
        assert is_consistent(old.size, old.root, new.size, new.root, prove_growth(old.size, new.size))
        for seq in (old.size, new.size):
            leaf = bytes.fromhex(LedgerEvent.objects.get(seq=seq).hash)
            assert root_from_inclusion(leaf, seq - 1, new.size, prove_event(seq, size=new.size)) == new.root
    newest = latest_checkpoint()
    assert newest is not None
    assert (newest.size, newest.root) == (308, TreeHead.objects.get().root)
    found = find_checkpoint(257)
    assert found is not None
    assert found.size == 308
    assert find_checkpoint(309) is None


def test_who_takes_over_signs_what_is_not_signed_yet_and_nothing_twice(sequencer: Hand) -> None:
    record_many(2)
    sequencer.drain()
    record_many(2)
    sequencer.drain(after=0.1)
    second = Hand("two", steal=True)
    second.drain()
    assert list_sizes() == [2, 4]
    third = Hand("three", steal=True)
    third.drain(after=5)
    assert list_sizes() == [2, 4]


def test_a_checkpoint_that_somebody_put_there_stops_neither_numbers_nor_signatures(sequencer: Hand) -> None:
    load_key()
    record_many(2)
    for size in (2, 10**12):
        Checkpoint.objects.create(size=size, root="f" * 64, at=NOW, note="forged")
    sequencer.drain()
    record_many(2)
    sequencer.drain(after=1)
    Hand("two", steal=True).drain()
    assert list_sizes() == [2, 4, 10**12]
    assert Checkpoint.objects.get(size=2).note == "forged"  # left for who verifies
    assert open_note(Checkpoint.objects.get(size=4).note, load_verifier()).size == 4


def test_what_is_left_at_the_end_is_signed_and_filed_before_it_stops(audit_store: Any, settings: Any) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=Sequencer("one").run_forever, args=(stop,))
    thread.start()
    record_many(1)
    wait_until(lambda: list_sizes() == [1])
    record_many(3)
    stop.set()
    bell.recorded.ring()
    thread.join(10)
    assert list_sizes()[-1] == 4
    assert read_filed(settings.AUDIT_CHECKPOINT_DIR) == [row.note for row in Checkpoint.objects.order_by("size")]
    assert get_checkpoint_status().unfiled_since is None


def count_beats() -> int:
    return LedgerEvent.objects.filter(type="sequencer.beat").count()


def test_a_long_silence_is_told_of_once_each_time(sequencer: Hand, settings: Any) -> None:
    assert settings.AUDIT_HEARTBEAT_SECONDS == 300
    record_events(1)
    sequencer.drain()
    sequencer.drain(after=299)
    assert count_beats() == 0
    sequencer.drain(after=2)
    assert count_beats() == 1
    beat = LedgerEvent.objects.get(type="sequencer.beat")
    assert (beat.seq, beat.actor) == (2, "system")
    sequencer.drain(after=200)
    record_events(1)
    sequencer.drain()
    sequencer.drain(after=200)
    assert count_beats() == 1
    sequencer.drain(after=101)
    assert count_beats() == 2


def test_no_beats_are_heaped_up_where_more_wait_than_may(sequencer: Hand, settings: Any) -> None:
    settings.AUDIT_BACKLOG_LIMIT = 3
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=50"
    documents.disconnect()
    record_many(2)
    for _ in range(4):
        sequencer.drain(after=301)
    assert count_beats() == 2  # then four wait
