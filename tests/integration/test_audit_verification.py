"""Whatever is done to the trail is found and named; and the store can be made anew from the ledger."""

import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.management import CommandError, call_command

from audit.checking.report import Place, load_report
from audit.checking.verification import verify
from audit.ledger import iterate_numbered
from audit.models import AuditTile, Checkpoint, LedgerEvent, TreeHead
from audit.problems import Problem
from audit.proof import notes
from audit.proof.keys import load_key, load_verifier
from audit.proof.leaves import seal
from audit.proof.merkle import fold, split_hashes
from audit.proof.publishing import file_next
from audit.sequencer import Sequencer
from tests.audit_attacks import PLAIN, Trail, read_log, rewrite, sequence
from tests.audit_cast import NOW, record_events

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.unrecorded]

COUNT = 12


@pytest.fixture
def shipped(audit_store: Any) -> Any:
    """A store with twelve events."""
    record_events(COUNT)
    sequencer = Sequencer("one")
    while sequencer.step():
        pass
    sequencer.release()
    file_next()
    return audit_store


def run_verify(*arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of the command."""
    out = StringIO()
    try:
        call_command("verify_audit", *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def swap(store: Any) -> None:
    two = list(store.find({"seq": {"$gte": 5, "$lte": 6}}).sort("seq", 1))
    store.delete_many({"seq": {"$in": [5, 6]}})
    store.insert_many([two[0] | {"seq": 6}, two[1] | {"seq": 5}])


def reseal(store: Any, seq: int) -> None:
    """Edit an event and make its hash anew, as one who knows the format would."""
    document = store.find_one({"seq": seq})
    document["actor"] = "user:mallory"
    seal(document, seq=seq, salt=document["salt"])
    store.replace_one({"seq": seq}, document)


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
    "edit and re-hash": (lambda s: reseal(s, 7), 7, Problem.REPLACED),
    "another salt": (lambda s: s.update_one({"seq": 4}, {"$set": {"salt": "00"}}), 4, Problem.EDITED),
    "a field more": (lambda s: s.update_one({"seq": 4}, {"$set": {"x": 1}}), 4, Problem.EDITED),
    "a number that equals": (lambda s: s.update_one({"seq": 4}, {"$set": {"seq": 4.0}}), 4, Problem.EDITED),
}


def test_a_sound_trail_verifies(shipped: Any) -> None:
    code, output = run_verify()
    assert code == 0
    assert f"OK: the log holds up to event {COUNT}" in output
    assert "on their way: 0 " in output


@pytest.mark.parametrize("name", STORE_TAMPERINGS)
def test_tampering_with_the_store_is_found_and_mended(name: str, shipped: Any, settings: Any, tmp_path: Path) -> None:
    tamper, seq, problem = STORE_TAMPERINGS[name]
    tamper(shipped)
    code, output = run_verify()
    assert code == 1
    assert re.search(rf"BROKEN: store: events? {seq}\b.*\({problem}\)", output), output
    assert "OK:" not in output
    settings.VAR = tmp_path
    call_command("rebuild_audit", stdout=StringIO())
    assert list(shipped.find({}).sort("seq", 1)) == list(iterate_numbered(after=0, to=COUNT))
    assert run_verify()[0] == 0


def test_an_insertion_between_two_is_found(shipped: Any) -> None:
    shipped.drop_index("seq_1")
    shipped.insert_one(shipped.find_one({"seq": 5}) | {"_id": "forged"})
    finding = verify().findings[0]
    assert (finding.place, finding.problem, finding.first) == (Place.STORE, Problem.ORDER, 5)


@pytest.mark.parametrize(
    ("tamper", "place", "seq", "problem"),
    [
        (lambda: LedgerEvent.objects.filter(seq=4).update(actor="user:mallory"), Place.LEDGER, 4, Problem.EDITED),
        (lambda: LedgerEvent.objects.filter(seq=4).delete(), Place.LEDGER, 4, Problem.MISSING),
        (lambda: LedgerEvent.objects.filter(seq__gt=9).delete(), Place.LEDGER, 10, Problem.MISSING),
        (lambda: LedgerEvent.objects.filter(seq=4).update(seq=99), Place.LEDGER, COUNT + 1, Problem.INSERTED),
        (lambda: LedgerEvent.objects.filter(seq=4).update(writer_seq=99), Place.LEDGER, 4, Problem.EDITED),
        (lambda: TreeHead.objects.update(root="f" * 64), Place.TREE, COUNT, Problem.HEAD),
        (lambda: TreeHead.objects.update(frontier=b"f" * 64), Place.TREE, COUNT, Problem.HEAD),
        (lambda: TreeHead.objects.update(frontier=b"f" * 63), Place.TREE, COUNT, Problem.HEAD),
        (lambda: Checkpoint.objects.all().delete(), Place.CHECKPOINTS, COUNT, Problem.MISSING),
        (lambda: Checkpoint.objects.update(root="f" * 64), Place.CHECKPOINTS, COUNT, Problem.FORGED),
        (lambda: Checkpoint.objects.update(size=COUNT - 1), Place.CHECKPOINTS, COUNT - 1, Problem.FORGED),
    ],
)
def test_tampering_with_the_ledger_is_found(
    tamper: Callable[[], Any], place: Place, seq: int, problem: Problem, shipped: Any
) -> None:
    tamper()
    code, output = run_verify()
    assert code == 1
    assert re.search(rf"BROKEN: {place}: events? {seq}\b.*\({problem}\)", output), output


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
    sequencer._shipper._retry_at = float("inf")
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
    assert "event 13" in TreeHead.objects.get().store_fault
    call_command("rebuild_audit", stdout=StringIO())
    seconds = 6.0
    while sequencer.step():
        pass
    assert shipped.count_documents({}) == COUNT + 2
    assert run_verify()[0] == 0


@pytest.fixture
def tiled(shipped: Any) -> Any:
    """A store with 700 events, of which two tiles are full."""
    record_events(700 - COUNT, start=COUNT, **PLAIN)
    sequence()
    return shipped


TILE_TAMPERINGS: dict[str, tuple[Callable[[], Any], int, int]] = {
    "a hash": (lambda: AuditTile.objects.filter(position=1).update(hashes=spoil(299)), 300, 300),
    "a root": (lambda: AuditTile.objects.filter(position=1).update(root=b"f" * 32), 257, 512),
    "cut": (lambda: AuditTile.objects.filter(position=1).update(hashes=b"f" * 32), 257, 512),
    "removed": (lambda: AuditTile.objects.filter(position=1).delete(), 257, 512),
    "one more": (lambda: AuditTile.objects.create(level=0, position=2, hashes=b"", root=b""), 513, 768),
}


def spoil(index: int) -> bytes:
    hashes = bytearray(AuditTile.objects.get(position=index // 256).hashes)
    hashes[index % 256 * 32] ^= 1
    return bytes(hashes)


@pytest.mark.parametrize("name", TILE_TAMPERINGS)
def test_tampering_with_the_tiles_is_found_and_mended(name: str, tiled: Any, settings: Any, tmp_path: Path) -> None:
    tamper, first, last = TILE_TAMPERINGS[name]
    tamper()
    found = {(one.place, one.problem, one.first, one.last) for one in verify().findings}
    assert (Place.TREE, Problem.TILE, first, last) in found
    assert {place for place, *_ in found} == {Place.TREE}
    settings.VAR = tmp_path
    call_command("rebuild_audit", stdout=StringIO())
    assert verify().findings == []


def test_a_run_from_a_checkpoint_on_reads_only_what_is_new(tiled: Any) -> None:
    report = verify(since=650)
    assert (report.since, report.to, report.ledger_checked, report.store_checked) == (512, 700, 188, 188)
    report = verify(since=100, to=300)
    assert (report.since, report.to, report.ledger_checked) == (COUNT, 512, 500)
    assert report.holds


def test_a_start_that_was_signed_otherwise_is_found(tiled: Any) -> None:
    """What lies before the start is not read, but its root must be the one that was signed."""
    AuditTile.objects.filter(position=1).update(hashes=spoil(299), root=fold(list(split_hashes(spoil(299)))))
    found = {(one.problem, one.first, one.last) for one in verify(since=512).findings}
    assert (Problem.REWRITTEN, 1, 512) in found


def test_a_time_names_the_checkpoint_before_it(tiled: Any) -> None:
    at = Checkpoint.objects.get(size=512).at
    assert run_verify("--since", at.isoformat())[1].startswith("from the checkpoint of 512 events on")
    assert run_verify("--since", "2020-01-01")[1].startswith("from the first event on")
    with pytest.raises(CommandError, match="--since is a number"):
        run_verify("--since", "yesterday")


def test_a_checkpoint_that_an_auditor_kept_must_be_given(tiled: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(Checkpoint.objects.get(size=256).note)
    assert run_verify("--known", str(kept), "--since", "512")[0] == 0
    kept.write_text(sign_note(size=300, root=b"f" * 32, key=load_key()))
    for arguments in ((), ("--since", "512")):
        code, output = run_verify("--known", str(kept), *arguments)
        assert code == 1, output
        assert "forked" in output
    kept.write_text(sign_note(size=900, root=b"f" * 32, key=load_key()))
    assert "events 701 to 900: a checkpoint of 900 events" in run_verify("--known", str(kept))[1]
    kept.write_text(sign_note(size=300, root=b"f" * 32, key=Ed25519PrivateKey.generate()))
    assert "known: event 300: no known key has signed" in run_verify("--known", str(kept))[1]


def sign_note(*, size: int, root: bytes, key: Ed25519PrivateKey) -> str:
    return notes.sign(notes.Checkpoint(origin=settings.AUDIT_ORIGIN, size=size, root=root, at=NOW), key)


def test_an_auditor_names_the_keys(tiled: Any) -> None:
    assert run_verify("--key", str(load_verifier()))[0] == 0
    other = notes.public_key_of(Ed25519PrivateKey.generate(), name=settings.AUDIT_ORIGIN)
    assert "no known key has signed" in run_verify("--key", str(other))[1]


def test_what_is_changed_in_the_second_place_is_found(tiled: Any) -> None:
    (path,) = settings.AUDIT_CHECKPOINT_DIR.iterdir()
    whole = path.read_text()
    path.write_text(whole + sign_note(size=300, root=b"f" * 32, key=Ed25519PrivateKey.generate()))
    assert "second place: event 300: no known key has signed" in run_verify()[1]
    path.write_text("\n\n".join(whole.split("\n\n")[:-3]) + "\n")
    assert run_verify()[0] == 0  # it was filed within a minute, and clocks differ
    Checkpoint.objects.update(filed_at=NOW)
    assert "second place: event 700: a checkpoint was written to the second place" in run_verify()[1]


def test_a_note_that_was_cut_off_claims_nothing(tiled: Any) -> None:
    (path,) = settings.AUDIT_CHECKPOINT_DIR.iterdir()
    whole = path.read_text()
    for cut in (5, 60, -30, -2):
        cut_off = whole[: whole.index("\n\n\u2014") + 100][:cut]
        path.write_text(f"{whole}{cut_off}\n(cut off)\n\n{whole}")
        code, output = run_verify()
        assert code == 0, output
        assert "note: " not in output
        path.write_text(f"{whole}{cut_off}")  # it is being written
        code, output = run_verify()
        assert code == 0, output
        assert "was not written to its end" in output


def test_nobody_hides_a_note_by_calling_it_cut_off(tiled: Any) -> None:
    (path,) = settings.AUDIT_CHECKPOINT_DIR.iterdir()
    path.write_text(f"{path.read_text()}\n(cut off)\n\n")
    rewrite(Trail(store=tiled), read_log()[:600])
    assert {(one.problem, one.first, one.last) for one in verify().findings} >= {(Problem.SHRUNKEN, 601, 700)}


def test_silence_is_told(shipped: Any, settings: Any) -> None:
    record_events(1, start=COUNT, **PLAIN, at=NOW + timedelta(minutes=14))
    record_events(1, start=COUNT, **PLAIN, at=NOW + timedelta(minutes=44))
    sequence()
    code, output = run_verify()
    assert code == 0
    assert "note: once nothing was recorded for over 900 s" in output
    assert "the longest was 1800 s, from 2026-11-23 12:14 UTC" in output


def test_a_run_is_itself_recorded(shipped: Any) -> None:
    run_verify()
    event = LedgerEvent.objects.get(type="trail.verified")
    assert event.body == {"after": 0, "to": COUNT, "checked": COUNT, "holds": True, "findings": []}


def test_a_report_comes_back_from_json(shipped: Any) -> None:
    shipped.delete_one({"seq": 4})
    report = verify()
    assert load_report(orjson.loads(orjson.dumps(report.dump()))) == report


def test_progress_is_told_and_may_end_a_run(tiled: Any) -> None:
    told: list[tuple[int, int]] = []
    verify(progress=lambda done, of: told.append((done, of)))
    assert told == [(700, 700)]
    with pytest.raises(KeyboardInterrupt):
        verify(progress=interrupt)


def interrupt(done: int, of: int) -> None:
    raise KeyboardInterrupt
