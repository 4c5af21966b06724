"""A part of the log as a file, checked by the auditor's own program, which knows nothing of this one."""

import itertools
import json
import resource
import subprocess
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings as installed
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audit.bundles import verify_trail as program
from audit.bundles.bundle import Source, iterate_bundle, prepare_bundle
from audit.bundles.event_proof import make_event_proof
from audit.events import EventType
from audit.exceptions import BadQuery, EventUnknown, NotSignedYet
from audit.models import Checkpoint, LedgerEvent
from audit.proof import notes
from audit.proof.keys import load_key, load_verifier
from audit.proof.publishing import file_next
from tests.audit_cast import record_events
from tests.bundle_cast import Auditor, export, judge, number_all, pack, rejoin, unpack

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 20
MEMORY_BYTES = 400_000_000


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    return Auditor(tmp_path_factory.mktemp("auditor"))


@pytest.fixture
def signed(audit_store: Any, settings: Any, tmp_path: Path) -> Any:
    """A log of twenty events, signed at 7, 13 and 20; gives the store."""
    settings.AUDIT_KEY_FILE = tmp_path / "keys" / "key.pem"
    settings.AUDIT_CHECKPOINT_DIR = tmp_path / "checkpoints"
    for start, count in ((0, 7), (7, 6), (13, 7)):
        record_events(count, start=start)
        number_all()
    assert list(Checkpoint.objects.order_by("size").values_list("size", flat=True)) == [7, 13, 20]
    return audit_store


def note_of(size: int) -> str:
    return Checkpoint.objects.get(size=size).note


# --- what holds -----------------------------------------------------------------------------------------------
def test_a_bundle_of_the_whole_log_holds(signed: Any, auditor: Auditor) -> None:
    verdict = auditor.check(export())
    assert verdict.code == 0, verdict.output
    assert "events 1 to 20 by 1 writers, 0 without actor and body" in verdict.output
    assert "3 signed roots, 0 of which you knew" in verdict.output
    assert "HOLDS, as far as can be told without a checkpoint that you kept" in verdict.output


def test_every_range_of_the_log_holds(signed: Any, tmp_path: Path) -> None:
    for after, to in itertools.combinations_with_replacement(range(COUNT + 1), 2):
        verdict = judge(export(after=after, to=to, redacted=bool(after % 2)), tmp_path)
        assert verdict.code == 0, (after, to, verdict.output)


def test_a_bundle_since_a_checkpoint_that_is_known_goes_on_from_it(signed: Any, auditor: Auditor) -> None:
    verdict = auditor.check(export(after=7), known=[note_of(7), note_of(13)])
    assert verdict.code == 0, verdict.output
    assert "events 8 to 20" in verdict.output
    assert "3 signed roots, 2 of which you knew" in verdict.output
    assert "2 of which you knew before" in verdict.output
    assert "HOLDS. " in verdict.output


def test_both_copies_give_the_same_bundle(signed: Any, auditor: Auditor) -> None:
    lines = [unpack(export(source=source)).splitlines()[1:-1] for source in Source]
    assert lines[0] == lines[1]


def test_a_redacted_bundle_holds_and_tells_neither_actor_nor_body(signed: Any, auditor: Auditor) -> None:
    content = export(redacted=True)
    verdict = auditor.check(content)
    assert verdict.code == 0, verdict.output
    assert "20 without actor and body" in verdict.output
    assert b"normalization-agent" in unpack(content), "the agent is no secret"
    for secret in (b"agent:normalization-agent", b'"body"', b'"salt":"'):
        assert secret not in unpack(content)


def test_what_was_erased_is_counted_and_the_rest_is_proven(signed: Any, tmp_path: Path) -> None:
    signed.update_one({"seq": 5}, {"$set": {"actor": None, "body": None, "salt": None}})
    verdict = judge(export(source=Source.STORE), tmp_path)
    assert verdict.code == 0, verdict.output
    assert "1 without actor and body" in verdict.output


def test_the_checkpoint_that_was_kept_is_what_the_next_run_knows(signed: Any, auditor: Auditor) -> None:
    bundle, kept = auditor.folder / "bundle", auditor.folder / "kept"
    bundle.write_bytes(export(to=13))
    assert auditor.run(bundle, "--key", load_verifier(), "--keep", kept).code == 0
    assert kept.read_text() == note_of(20)
    record_events(3, start=COUNT)
    number_all()
    bundle.write_bytes(export(after=13))
    verdict = auditor.run(bundle, "--key", load_verifier(), "--known", kept, "--keep", kept)
    assert (verdict.code, kept.read_text()) == (0, note_of(23)), verdict.output


def test_the_files_of_the_second_place_are_read_as_they_are(signed: Any, auditor: Auditor) -> None:
    while file_next():
        pass
    (day,) = installed.AUDIT_CHECKPOINT_DIR.glob("*.checkpoints")
    (auditor.folder / "bundle").write_bytes(export())
    verdict = auditor.run(auditor.folder / "bundle", "--key", load_verifier(), "--known", day)
    assert verdict.code == 0, verdict.output
    assert "3 of which you knew before" in verdict.output


def test_a_note_that_was_cut_off_in_the_second_place_and_follows_whole_alarms_nobody(
    signed: Any, tmp_path: Path
) -> None:
    whole, header = note_of(13).encode(), json.loads(unpack(export()).partition(b"\n")[0])
    for end in range(1, len(whole) - 1):
        torn = whole[:end] + b"\n(cut off)\n\n"
        (tmp_path / "day").write_bytes(f"{note_of(7)}\n".encode() + torn + whole + b"\n")
        keys = program.Keys([program.read_key(str(load_verifier()))])
        _, known = program.open_notes(header, keys, [str(tmp_path / "day")], program.Findings())
        assert sorted(known) == [7, 13], end


def test_a_key_that_the_old_key_named_is_believed_and_no_other(signed: Any, tmp_path: Path, capsys: Any) -> None:
    before, first = str(load_verifier()), unpack(export()).splitlines(keepends=True)
    call_command("rotate_audit_key")
    number_all()
    record_events(1)
    number_all()
    lines = unpack(export()).splitlines(keepends=True)
    assert str(load_verifier()) != before
    assert judge(rejoin(lines), tmp_path, key=before).code == 0, "the old key named the new one"
    assert judge(make_event_proof(5, redacted=True).dump(), tmp_path, key=before).code == 0
    header = json.loads(lines[0])
    unnamed = rejoin([orjson.dumps(header | {"keys": []}) + b"\n", *lines[1:]])
    assert judge(unnamed, tmp_path, key=before).problems == ["forged"]
    stranger = Ed25519PrivateKey.generate()
    by_itself = notes.sign_text(f"{load_verifier()}\n", stranger, name=installed.AUDIT_ORIGIN)
    assert judge(rejoin([orjson.dumps(header | {"keys": [by_itself]}) + b"\n", *lines[1:]]), tmp_path, key=before).code
    capsys.readouterr()
    call_command("audit_key")
    both = capsys.readouterr().out
    assert both.split() == [str(load_verifier()), before]
    (tmp_path / "keys.txt").write_text(both)
    for content in (unnamed, rejoin(first)):
        assert judge(content, tmp_path, key=str(tmp_path / "keys.txt")).code == 0


# --- what does not --------------------------------------------------------------------------------------------
def test_a_log_that_shrank_is_found(signed: Any, auditor: Auditor) -> None:
    known = note_of(20)
    Checkpoint.objects.filter(size=20).delete()
    verdict = auditor.check(export(), known=[known])
    assert (verdict.code, verdict.problems) == (1, ["shrunken"]), verdict.output


@pytest.mark.parametrize("size", [7, 13, 20])
def test_a_fork_is_found_by_a_checkpoint_that_is_known(size: int, signed: Any, auditor: Auditor) -> None:
    other = notes.open_note(note_of(size), load_verifier())
    forked = notes.Checkpoint(origin=other.origin, size=size, root=b"\1" * 32, at=other.at)
    verdict = auditor.check(export(), known=[notes.sign(forked, load_key())])
    assert verdict.code == 1
    assert set(verdict.problems) == {"forked"}, verdict.output


def test_a_checkpoint_of_another_key_is_forged(signed: Any, auditor: Auditor) -> None:
    newest = notes.open_note(note_of(20), load_verifier())
    Checkpoint.objects.filter(size=20).update(note=notes.sign(newest, Ed25519PrivateKey.generate()))
    verdict = auditor.check(export())
    assert (verdict.code, verdict.problems) == (1, ["forged"]), verdict.output
    verdict = auditor.check(export(to=13), known=[note_of(20)])
    assert (verdict.code, verdict.problems) == (1, ["forged"]), verdict.output


def test_a_number_that_a_writer_gave_and_nobody_has_is_lost(signed: Any, auditor: Auditor) -> None:
    record_events(3, start=COUNT)
    LedgerEvent.objects.filter(seq__isnull=True, task_id="t-21").delete()
    number_all()
    verdict = auditor.check(export(), known=[note_of(20)])
    assert (verdict.code, verdict.problems) == (1, ["lost"]), verdict.output
    assert "before event 22" in verdict.output
    assert auditor.check(export(after=20), known=[note_of(20)]).problems == ["lost"]
    assert auditor.check(export(after=21)).code == 0, "what is before the range is not of it"


def test_numbers_of_a_writer_that_changed_places_are_not_lost(signed: Any, tmp_path: Path) -> None:
    record_events(4, start=COUNT)
    first, second = LedgerEvent.objects.filter(seq__isnull=True).order_by("id")[1:3]
    for row, number in ((first, -1), (second, first.writer_seq), (first, second.writer_seq)):
        LedgerEvent.objects.filter(id=row.id).update(writer_seq=number)
    number_all()
    assert judge(export(), tmp_path).code == 0


def lines_of_bundle() -> list[bytes]:
    return unpack(export()).splitlines(keepends=True)


def place_of(lines: list[bytes], seq: int) -> int:
    return next(at for at, line in enumerate(lines) if b'"seq":%d,' % seq in line)


def test_what_is_done_to_the_lines_is_named(signed: Any, tmp_path: Path) -> None:
    lines = lines_of_bundle()
    five, six = place_of(lines, 5), place_of(lines, 6)
    changes = {
        "missing": [*lines[:five], *lines[six:]],
        "order": [*lines[:six], lines[five], *lines[six:]],
        "edited": [*lines[:five], lines[five].replace(b'"allow"', b'"deny"'), *lines[six:]],
        "rewritten": [*lines[:five], reseal(lines[five]), *lines[six:]],
        "inserted": [*lines[:-1], lines[place_of(lines, 20)].replace(b'"seq":20,', b'"seq":21,'), lines[-1]],
    }
    for problem, changed in changes.items():
        verdict = judge(rejoin(changed), tmp_path)
        assert (verdict.code, verdict.problems[-1]) == (1, problem), verdict.output
        if problem not in {"inserted", "rewritten"}:
            assert "event 5" in verdict.output or "event 6" in verdict.output
    assert "events 1 to 7" in judge(rejoin(changes["rewritten"]), tmp_path).output


def test_a_checkpoint_in_the_wrong_place_is_not_passed_over(signed: Any, tmp_path: Path) -> None:
    lines = lines_of_bundle()
    at = place_of(lines, 7) + 1
    assert lines[at].startswith(b'{"checkpoint":')
    verdict = judge(rejoin([*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]]), tmp_path)
    assert (verdict.code, "after event 6 stands the checkpoint of 7" in verdict.output) == (2, True), verdict.output


def reseal(line: bytes) -> bytes:
    """Change an event, and make its hash anew."""
    from hashlib import sha256

    leaf, _, rest = line[len(b'{"event":') :].replace(b'"allow"', b'"deny"').partition(b',"hash":"')
    return b'{"event":%b,"hash":"%b%b' % (leaf, sha256(b"\0" + leaf).hexdigest().encode(), rest[64:])


def test_two_edits_are_both_named(signed: Any, tmp_path: Path) -> None:
    LedgerEvent.objects.filter(seq__in=[4, 15]).update(decision="deny")
    LedgerEvent.objects.filter(seq=9).update(actor="user:mallory")
    verdict = judge(export(), tmp_path)
    assert verdict.problems == ["edited"] * 3
    assert [f"event {seq} was edited" in verdict.output for seq in (4, 9, 15)] == [True] * 3


def test_what_was_written_over_with_nonsense_is_found_and_breaks_no_line(signed: Any, tmp_path: Path) -> None:
    for seq, values in (
        (4, {"body": '{"a":\n'}),
        (6, {"actor": {"$": 1.5}}),
        (8, {"decision": "\x1b[2J"}),
        (9, {"hash": "x"}),
    ):
        signed.update_one({"seq": seq}, {"$set": values})
    verdict = judge(export(source=Source.STORE), tmp_path)
    assert verdict.problems == ["edited"] * 4, verdict.output
    assert "\x1b" not in verdict.output


def test_a_bundle_that_is_cut_short_is_not_checked(signed: Any, auditor: Auditor, tmp_path: Path) -> None:
    content, lines = export(), lines_of_bundle()
    for part in (content[: len(content) // 2], content[:-1], pack(b"".join(lines[:9])), pack(b"".join(lines)[:-20])):
        verdict = auditor.check(part)
        assert verdict.code == 2, verdict.output
        assert "NOT CHECKED" in verdict.output
    for size in range(len(content)):
        assert judge(content[:size], tmp_path).code == 2
    for count in range(1, len(lines)):
        whole = count >= len(lines) - 2  # nothing says which checkpoints there are: the last may be left out
        assert judge(rejoin([*lines[:count], b""]), tmp_path).code == (0 if whole else 1)


def test_it_cannot_be_told_without_a_checkpoint_of_the_range(signed: Any, auditor: Auditor) -> None:
    verdict = auditor.check(export(after=13), known=[note_of(7)])
    assert verdict.code == 2
    assert "you keep no checkpoint of 13 to 20 events" in verdict.output


HARMLESS = ("origin", "redacted", "madeAt", "madeBy", "signedBy")  # what nobody signs, and nothing is decided by


@pytest.mark.parametrize("mended", [False, True], ids=["as it is", "with a digest made anew"])
def test_no_bit_can_be_flipped(mended: bool, signed: Any, tmp_path: Path) -> None:
    lines = lines_of_bundle()
    content = b"".join(lines)
    spans = [(content.index(b'"%b":' % name.encode()), name) for name in HARMLESS]
    harmless = {at for start, name in spans for at in range(start, content.index(b',"', start + 1) + 1)}
    end = content.rindex(b'{"end"')

    @given(st.integers(0, len(content) - 1), st.integers(0, 7))
    @settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @example(content.index(b'"left"') + 9, 0)
    def flip(position: int, bit: int) -> None:
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        parts = bytes(changed).splitlines(keepends=True)
        verdict = judge(rejoin(parts) if mended and position < end else pack(bytes(changed)), tmp_path)
        if verdict.code == 0:
            assert mended, "the digest at the end covers every byte"
            assert position in harmless, content[max(0, position - 40) : position + 40]

    flip()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x1f\x8b", b"\x1f\x8bgarbage", b"PK\3\4", b"{}", b"[", b"\xff" * 99, pack(b""), pack(b"{}\n"),
        pack(b'{"format":"audit-trail-bundle/2"}\n'), b'{"format":' + b"[" * 1_000_000,
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_not_checked(content: bytes, signed: Any, auditor: Auditor) -> None:
    verdict = auditor.check(content)
    assert verdict.code == 2
    assert "NOT CHECKED" in verdict.output


def test_a_bomb_ends_soon_and_fills_no_memory(signed: Any, auditor: Auditor) -> None:
    lines = lines_of_bundle()
    five = place_of(lines, 5)
    bombs = {
        "one line of a gigabyte": pack_repeated(b"".join(lines[:five]), b"a" * 1_000_000, 1_000),
        "events without end": pack_repeated(b"".join(lines[:-1]), lines[five], 1_000_000),
        "checkpoints without end": pack_repeated(b"".join(lines[:-1]), lines[-2], 20_000),
        "a deep leaf": pack(b"".join(lines[:five]) + b'{"event":' + b"[" * 60_000 + b',"hash":"' + lines[five][-200:]),
        "a header of hashes": pack(b'{"format":"audit-trail-bundle/1","left":[' + b'"",' * 1_000_000),
    }
    for name, content in bombs.items():
        (auditor.folder / "bomb").write_bytes(content)
        command = [str(auditor.python), "-I", str(auditor.program), "bomb", "--key", str(load_verifier())]
        done = subprocess.run(
            command, cwd=auditor.folder, capture_output=True, timeout=60, check=False, preexec_fn=bound_memory
        )
        assert done.returncode in {1, 2}, (name, done.stdout)
        assert done.stderr == b"", (name, done.stderr)


def bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def pack_repeated(head: bytes, piece: bytes, count: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join([packer.compress(head), *(packer.compress(piece) for _ in range(count)), packer.flush()])


# --- one event ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("redacted", [False, True])
def test_the_proof_of_an_event_is_a_file_that_holds(
    redacted: bool, signed: Any, auditor: Auditor, tmp_path: Path
) -> None:
    proof = make_event_proof(5, redacted=redacted)
    verdict = auditor.check(proof.dump(), known=[note_of(20)])
    assert verdict.code == 0, verdict.output
    assert "event 5 of 20" in verdict.output
    assert (proof.private is None) is redacted
    for seq in range(1, COUNT + 1):
        assert judge(make_event_proof(seq, redacted=redacted).dump(), tmp_path).code == 0


def test_any_change_to_the_proof_of_an_event_is_found(signed: Any, tmp_path: Path) -> None:
    proof = json.loads(make_event_proof(5, redacted=False).dump())
    newest = notes.open_note(note_of(20), load_verifier())
    forked = notes.sign(notes.Checkpoint(origin=newest.origin, size=20, root=b"\1" * 32, at=newest.at), load_key())
    changes: dict[str, list[dict[str, Any]]] = {
        "edited": [{"event": proof["event"] | {"decision": "deny"}}, {"private": proof["private"] | {"actor": "x"}}],
        "rewritten": [
            {"hashes": [*proof["hashes"][:-1], "0" * 64]},
            {"checkpoint": note_of(7)},
            {"checkpoint": forked},
        ],
        "forged": [{"checkpoint": note_of(20).replace("20", "21")}],
    }
    for problem, values in changes.items():
        for value in values:
            verdict = judge(orjson.dumps(proof | value), tmp_path)
            assert verdict.code, (value, verdict.output)
            assert problem in verdict.problems or verdict.code == 2, verdict.output
    assert judge(orjson.dumps(proof), tmp_path, known=[forked]).problems == ["forked"]
    assert judge(orjson.dumps(proof | {"hashes": proof["hashes"][:-1]}), tmp_path).code == 2


def test_an_event_that_is_not_signed_yet_cannot_be_proven_yet(signed: Any) -> None:
    record_events(1, start=COUNT)
    with pytest.raises(EventUnknown):
        make_event_proof(COUNT + 1, redacted=True)
    number_all()
    Checkpoint.objects.filter(size=COUNT + 1).delete()
    with pytest.raises(NotSignedYet, match="within a second"):
        make_event_proof(COUNT + 1, redacted=True)


# --- making one -----------------------------------------------------------------------------------------------
def test_a_range_that_cannot_be_had_is_refused(signed: Any) -> None:
    for options in ({"after": 21}, {"to": 21}, {"after": -1}, {"after": 9, "to": 8}):
        with pytest.raises(BadQuery):
            prepare_bundle(made_by="system", **options)
    Checkpoint.objects.all().delete()
    with pytest.raises(NotSignedYet):
        prepare_bundle(made_by="system")


def test_a_bundle_is_given_in_pieces(signed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.bundles.bundle._CHUNK_BYTES", 1_000)
    pieces = list(iterate_bundle(prepare_bundle(made_by="system")))
    assert len(pieces) > 5
    assert unpack(b"".join(pieces)).endswith(b'"}\n')


def make_person(name: str, *roles: str) -> None:
    from django.contrib.auth.models import Group, User

    User.objects.create_user(name).groups.set(Group.objects.get_or_create(name=role)[0] for role in roles)


def test_the_command_writes_a_bundle_and_says_so_in_the_trail(signed: Any, auditor: Auditor, capsys: Any) -> None:
    make_person("axel", "auditor")
    make_person("olga", "operator")
    file = auditor.folder / "exported"
    call_command("export_audit", out=file, since=7, user="axel")
    assert "Events 8 to 20, proven up to the checkpoint of 20" in capsys.readouterr().out
    call_command("audit_key")
    (auditor.folder / "key").write_text(capsys.readouterr().out)
    assert auditor.run(file, "--key", auditor.folder / "key").code == 0
    event = LedgerEvent.objects.get(type=EventType.TRAIL_EXPORTED)
    assert (event.actor, event.body["after"], event.body["to"]) == ("user:axel", 7, 20)
    with pytest.raises(CommandError, match="name another file"):
        call_command("export_audit", out=file, user="axel")
    assert LedgerEvent.objects.filter(type=EventType.TRAIL_EXPORTED).count() == 1
    assert not list(auditor.folder.glob("*.part"))
    with pytest.raises(CommandError, match="audit:export"):
        call_command("export_audit", out=auditor.folder / "other", user="olga")
    assert not (auditor.folder / "other").exists()
