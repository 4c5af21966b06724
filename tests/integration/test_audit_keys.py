"""The signing key is changed without a break: who knows one key knows those before, and none that was stolen."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.checking.verification import verify
from audit.models import Checkpoint, LedgerEvent
from audit.problems import Problem
from audit.proof import notes
from audit.proof.keys import load_key, load_verifier, parse_pem
from audit.proof.rotation import STATEMENTS, Rotation, open_statement, read_statements, rotate, trusted_keys
from tests.audit_attacks import forge, record_plainly, sequence

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.unrecorded]


@pytest.fixture(autouse=True)
def trail(audit_store: Any, settings: Any, tmp_path: Path) -> None:
    """A trail of ten events, with keys and second place of its own."""
    settings.AUDIT_KEY_FILE = tmp_path / "keys" / "audit.pem"
    record_plainly(10)
    sequence()


def find_problems(**values: Any) -> set[tuple[Problem, int]]:
    return {(finding.problem, finding.last) for finding in verify(**values).findings}


def go_on() -> None:
    record_plainly(300)
    sequence()


def test_a_trail_holds_over_two_changes_of_its_key(settings: Any) -> None:
    first = load_verifier()
    for _ in range(2):
        rotate(now=timezone.now())
        go_on()
    assert load_verifier() != first
    assert len({note.split("\u2014")[1][:25] for note in Checkpoint.objects.values_list("note", flat=True)}) == 3
    assert find_problems() == set()
    assert find_problems(keys=[first]) == set()  # an auditor who got the key in the beginning
    assert settings.AUDIT_KEY_FILE.stat().st_mode & 0o777 == 0o600
    assert [event.body["newKey"] for event in LedgerEvent.objects.filter(type="key.rotated")][-1] == str(
        load_verifier()
    )


def test_without_the_statement_the_old_checkpoints_are_nobodys(settings: Any) -> None:
    rotate(now=timezone.now())
    (settings.AUDIT_CHECKPOINT_DIR / STATEMENTS).unlink()
    assert find_problems() == set()  # the other place still has it
    settings.AUDIT_KEY_FILE.with_name(STATEMENTS).unlink()
    assert find_problems() == {(Problem.FORGED, 10)}


def test_a_stolen_old_key_signs_nothing_new() -> None:
    stolen = load_key()
    rotate(now=timezone.now())
    go_on()
    newest = Checkpoint.objects.latest("size")
    forge(newest.size, bytes.fromhex(newest.root), stolen)
    assert find_problems() == {(Problem.FORGED, newest.size)}


def test_a_stolen_old_key_names_no_key_after_it(settings: Any) -> None:
    stolen, own = load_key(), Ed25519PrivateKey.generate()
    rotate(now=timezone.now())
    name = settings.AUDIT_ORIGIN
    old, evil = (str(notes.public_key_of(key, name=name)) for key in (stolen, own))
    text = f"{evil}\nafter {old}\nlast 5\nat 2026-11-23T12:00:00.000000Z\n"
    with (settings.AUDIT_CHECKPOINT_DIR / STATEMENTS).open("a") as file:
        file.write(f"\n{notes.sign_text(text, stolen, own, name=name)}\n")
    assert len(read_statements()) == 2
    assert evil not in {str(trusted.key) for trusted in trusted_keys()}
    assert evil not in {str(trusted.key) for trusted in trusted_keys([notes.parse_key(old)])}


@pytest.mark.parametrize("signers", [(0,), (1,), ()])
def test_a_statement_needs_both_signatures(signers: tuple[int, ...], settings: Any) -> None:
    keys, name = (Ed25519PrivateKey.generate(), load_key()), settings.AUDIT_ORIGIN
    old, new = (notes.public_key_of(key, name=name) for key in keys)
    text = f"{new}\nafter {old}\nlast 500\nat 2026-11-23T12:00:00.000000Z\n"
    note = notes.sign_text(text, *(keys[at] for at in signers), name=name)
    (settings.AUDIT_CHECKPOINT_DIR / STATEMENTS).write_text(note)
    assert [trusted.key for trusted in trusted_keys()] == [load_verifier()]


def test_a_change_that_was_cut_off_is_finished_with_the_same_key(settings: Any) -> None:
    first, second = settings.AUDIT_KEY_FILE.with_name(STATEMENTS), settings.AUDIT_CHECKPOINT_DIR / STATEMENTS
    second.mkdir()  # a place that takes no statement
    with pytest.raises(IsADirectoryError):
        rotate(now=timezone.now())
    (stated,) = read_rotations_of(first)
    second.rmdir()
    go_on()  # signed with the old key still
    assert rotate(now=timezone.now()).new == stated.new
    go_on()
    assert find_problems() == set()


def read_rotations_of(path: Path) -> list[Rotation]:
    return [open_statement(note) for _, note in notes.split_notes(path.read_text().splitlines(keepends=True))]


def to_pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_key_from_the_environment_is_changed_there(settings: Any, tmp_path: Path, capsys: Any) -> None:
    old_file = tmp_path / "old.pem"
    old_file.write_text(settings.AUDIT_KEY_FILE.read_text())
    settings.AUDIT_SIGNING_KEY = old_file.read_text()
    with pytest.raises(CommandError, match="--old-key FILE"):
        call_command("rotate_audit_key")
    settings.AUDIT_SIGNING_KEY = to_pem(Ed25519PrivateKey.generate())
    call_command("rotate_audit_key", "--old-key", str(old_file))
    go_on()
    assert find_problems() == set()
    capsys.readouterr()
    call_command("audit_key")
    pems = (settings.AUDIT_SIGNING_KEY, old_file.read_text())
    newest_first = [str(notes.public_key_of(parse_pem(pem), name=settings.AUDIT_ORIGIN)) for pem in pems]
    assert capsys.readouterr().out.split() == newest_first
    old_file.write_text(settings.AUDIT_SIGNING_KEY)
    with pytest.raises(CommandError, match="are the same"):
        call_command("rotate_audit_key", "--old-key", str(old_file))
