"""Whatever is done to the trail is found and named; and the store can be made anew from the ledger."""

import itertools
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.management import CommandError, call_command

from audit.chain import Problem
from audit.ledger import iterate_numbered
from audit.models import ChainHead, LedgerEvent
from audit.sequencer import Sequencer
from audit.verification import Place, verify
from audit.wire import seal
from tests.audit_cast import record_events

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 12


@pytest.fixture
def shipped(audit_store: Any) -> Any:
    """A store with twelve events."""
    record_events(COUNT)
    sequencer = Sequencer("one")
    while sequencer.step():
        pass
    sequencer.release()
    return audit_store


def run_verify() -> tuple[int, str]:
    """Return the exit code and the output of the command."""
    out = StringIO()
    try:
        call_command("verify_audit", stdout=out, stderr=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def swap(store: Any) -> None:
    two = list(store.find({"seq": {"$gte": 5, "$lte": 6}}).sort("seq", 1))
    store.delete_many({"seq": {"$in": [5, 6]}})
    store.insert_many([two[0] | {"seq": 6}, two[1] | {"seq": 5}])


def reseal_from(store: Any, seq: int) -> None:
    """Edit an event, and make its hash and all after it anew, as one who knows the format would."""
    chain = list(store.find({"seq": {"$gte": seq - 1}}).sort("seq", 1))
    chain[1]["actor"] = "user:mallory"
    for before, document in itertools.pairwise(chain):
        seal(document, seq=document["seq"], prev_hash=before["hash"])
        store.replace_one({"seq": document["seq"]}, document)


STORE_TAMPERINGS: dict[str, tuple[Callable[[Any], Any], int, Problem]] = {
    "edit": (lambda s: s.update_one({"seq": 4}, {"$set": {"decision": "deny"}}), 4, Problem.EDITED),
    "edit the body": (lambda s: s.update_one({"seq": 4}, {"$set": {"body": '{"number": 3}'}}), 4, Problem.EDITED),
    "edit into another type": (lambda s: s.update_one({"seq": 4}, {"$set": {"body": {"a": 1.5}}}), 4, Problem.EDITED),
    "remove a field": (lambda s: s.update_one({"seq": 4}, {"$unset": {"hash": 1}}), 4, Problem.EDITED),
    "delete": (lambda s: s.delete_one({"seq": 5}), 5, Problem.MISSING),
    "delete the first": (lambda s: s.delete_one({"seq": 1}), 1, Problem.MISSING),
    "truncate": (lambda s: s.delete_many({"seq": {"$gt": 9}}), 10, Problem.MISSING),
    "wipe": (lambda s: s.delete_many({}), 1, Problem.MISSING),
    "swap": (swap, 5, Problem.EDITED),
    "insert at the end": (lambda s: s.insert_one({"_id": "x", "seq": COUNT + 1}), COUNT + 1, Problem.INSERTED),
    "insert before the start": (lambda s: s.insert_one({"_id": "x", "seq": 0}), 0, Problem.INSERTED),
    "insert without a number": (lambda s: s.insert_one({"_id": "x", "seq": "four"}), 0, Problem.INSERTED),
    "rewrite the tail": (lambda s: reseal_from(s, 7), COUNT, Problem.HEAD),
}


def test_a_sound_trail_verifies(shipped: Any) -> None:
    code, output = run_verify()
    assert code == 0
    assert f"OK: the chain holds up to event {COUNT}" in output
    assert "on their way: 0 " in output


@pytest.mark.parametrize("name", STORE_TAMPERINGS)
def test_tampering_with_the_store_is_found_and_mended(name: str, shipped: Any, settings: Any, tmp_path: Path) -> None:
    tamper, seq, problem = STORE_TAMPERINGS[name]
    tamper(shipped)
    code, output = run_verify()
    assert code == 1
    assert re.search(rf"BROKEN: store: event {seq} .*\({problem}\)", output), output
    assert "OK:" not in output
    settings.VAR = tmp_path
    call_command("rebuild_audit", stdout=StringIO())
    assert list(shipped.find({}).sort("seq", 1)) == list(iterate_numbered(after=0, to=COUNT))
    assert run_verify()[0] == 0


def test_an_insertion_between_two_is_found(shipped: Any) -> None:
    shipped.drop_index("seq_1")
    shipped.insert_one(shipped.find_one({"seq": 5}) | {"_id": "forged"})
    finding = verify().findings[0]
    assert (finding.place, finding.problem, finding.seq) == (Place.STORE, Problem.ORDER, 5)


def test_a_tail_rewritten_with_its_head_still_differs_from_the_ledger(shipped: Any) -> None:
    reseal_from(shipped, 7)
    ChainHead.objects.update(hash=shipped.find_one({"seq": COUNT})["hash"])
    places = {(finding.place, finding.problem) for finding in verify().findings}
    assert (Place.LEDGER, Problem.HEAD) in places


def test_a_replaced_middle_is_named(shipped: Any) -> None:
    record_events(1, start=COUNT)
    reseal_from(shipped, 7)
    sequencer = Sequencer("two")
    sequencer._reconciled_at = 0.0  # numbers, and does not reach the store
    sequencer._store_retry_at = float("inf")
    sequencer.step()
    finding = verify().findings[0]
    assert (finding.place, finding.problem, finding.seq) == (Place.STORE, Problem.REPLACED, 7)


@pytest.mark.parametrize(
    ("tamper", "seq", "problem"),
    [
        (lambda: LedgerEvent.objects.filter(seq=4).update(actor="user:mallory"), 4, Problem.EDITED),
        (lambda: LedgerEvent.objects.filter(seq=4).delete(), 4, Problem.MISSING),
        (lambda: LedgerEvent.objects.filter(seq__gt=9).delete(), 10, Problem.MISSING),
        (lambda: ChainHead.objects.update(hash="f" * 64), COUNT, Problem.HEAD),
    ],
)
def test_tampering_with_the_ledger_is_found(
    tamper: Callable[[], Any], seq: int, problem: Problem, shipped: Any
) -> None:
    tamper()
    code, output = run_verify()
    assert code == 1
    assert re.search(rf"BROKEN: ledger: event {seq} .*\({problem}\)", output), output


def test_nothing_is_rebuilt_from_a_broken_ledger(shipped: Any) -> None:
    LedgerEvent.objects.filter(seq=4).update(actor="user:mallory")
    with pytest.raises(CommandError, match="event 4"):
        call_command("rebuild_audit")
    assert shipped.find_one({"seq": 4})["actor"] != "user:mallory"


def test_events_on_their_way_are_no_fault(shipped: Any) -> None:
    record_events(3, start=COUNT)
    code, output = run_verify()
    assert code == 0
    assert "on their way: 3 (3 not numbered yet, 0 not in the store yet)" in output


def test_numbered_events_that_were_not_shipped_are_no_fault(shipped: Any) -> None:
    record_events(3, start=COUNT)
    sequencer = Sequencer("two")
    sequencer._store_retry_at = float("inf")
    sequencer.step()
    shipped.insert_one(next(iterate_numbered(after=COUNT + 1, to=COUNT + 2)))  # a batch, visible in part
    code, output = run_verify()
    assert code == 0
    assert "on their way: 3 (0 not numbered yet, 3 not in the store yet)" in output


def test_a_store_that_is_away_is_not_called_sound(shipped: Any, settings: Any) -> None:
    from audit import documents

    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true"
    documents.disconnect()
    code, output = run_verify()
    assert code == 2
    assert "Not verified" in output
    with pytest.raises(CommandError, match="run it again"):
        call_command("rebuild_audit")


def test_a_rebuild_is_idempotent_and_keeps_what_it_removes(shipped: Any, settings: Any, tmp_path: Path) -> None:
    settings.VAR = tmp_path
    shipped.update_one({"seq": 4}, {"$set": {"actor": "user:mallory"}})
    shipped.delete_one({"seq": 9})
    shipped.insert_one({"_id": "forged", "seq": 99})
    out = StringIO()
    call_command("rebuild_audit", stdout=out)
    assert "10 were right, 2 were sent, 2 were removed" in out.getvalue()
    (kept,) = tmp_path.glob("audit-removed-*.jsonl")
    assert kept.stat().st_mode & 0o777 == 0o600
    removed = [orjson.loads(line) for line in kept.read_text().splitlines()]
    assert {document["_id"] for document in removed} == {"forged", shipped.find_one({"seq": 4})["_id"]}
    out = StringIO()
    call_command("rebuild_audit", stdout=out)
    assert f"{COUNT} were right, 0 were sent, 0 were removed" in out.getvalue()


def test_shipping_goes_on_after_a_rebuild(shipped: Any, settings: Any, tmp_path: Path) -> None:
    settings.VAR = tmp_path
    shipped.insert_one({"_id": "forged", "seq": COUNT + 1, "hash": "f" * 64})
    record_events(2, start=COUNT)
    seconds = 0.0
    sequencer = Sequencer("two", monotonic=lambda: seconds, lease_seconds=1e6)
    sequencer.step()
    assert "event 13" in ChainHead.objects.get().store_fault
    call_command("rebuild_audit", stdout=StringIO())
    seconds = 6.0
    while sequencer.step():
        pass
    assert shipped.count_documents({}) == COUNT + 2
    assert run_verify()[0] == 0
