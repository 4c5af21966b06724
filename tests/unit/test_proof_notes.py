"""Signed notes: their one form, who is believed, and that another implementation reads them."""

from datetime import UTC, datetime, timedelta, timezone

import aics_tlog
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.proof.merkle import hash_leaf
from audit.proof.notes import (
    Checkpoint,
    CheckpointInvalid,
    VerifierKey,
    is_key_name,
    open_note,
    parse_key,
    public_key_of,
    sign,
)

ORIGIN = "fleet.example/audit"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEY = public_key_of(PRIVATE, name=ORIGIN)
OTHERS_KEY = public_key_of(OTHER, name=ORIGIN)
CHECKPOINT = Checkpoint(
    origin=ORIGIN, size=1234, root=hash_leaf(b"root"), at=datetime(2026, 11, 25, 10, 0, 0, 7, tzinfo=UTC)
)
NOTE = sign(CHECKPOINT, PRIVATE)
names = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="+"), min_size=1, max_size=40)


def resign(text: str, private: Ed25519PrivateKey = PRIVATE, *, name: str = ORIGIN) -> str:
    """Return any text as a signed note."""
    import base64

    key = VerifierKey(name=name, public=private.public_key().public_bytes_raw())
    return f"{text}\n\u2014 {name} {base64.b64encode(key.id + private.sign(text.encode())).decode()}\n"


def test_it_has_the_form_of_its_description() -> None:
    text, signature = NOTE.split("\n\n")
    assert text.split("\n")[:2] == [ORIGIN, "1234"]
    assert text.split("\n")[3] == "at 2026-11-25T10:00:00.000007Z"
    assert signature.startswith(f"\u2014 {ORIGIN} ")
    assert resign(CHECKPOINT.dump()) == NOTE


@given(names, st.integers(0, 2**63), st.binary(min_size=32, max_size=32), st.datetimes(timezones=st.just(UTC)))
def test_what_was_signed_is_read_again_by_this_and_by_another_program(
    name: str, size: int, root: bytes, at: datetime
) -> None:
    checkpoint = Checkpoint(origin=name, size=size, root=root, at=at)
    note = sign(checkpoint, PRIVATE)
    assert open_note(note, public_key_of(PRIVATE, name=name)) == checkpoint
    parsed = aics_tlog.parse_note(note)
    key = aics_tlog.parse_vkey(str(public_key_of(PRIVATE, name=name)))
    assert aics_tlog.verify_note(parsed, [key])
    theirs = aics_tlog.parse_checkpoint(parsed.text)
    assert (theirs.origin, theirs.size, theirs.root) == (name, size, root)


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    there = Checkpoint(
        origin=ORIGIN, size=1234, root=CHECKPOINT.root, at=CHECKPOINT.at.astimezone(timezone(timedelta(hours=5)))
    )
    assert there.dump() == CHECKPOINT.dump()


def test_only_a_known_key_is_believed() -> None:
    for keys in ((), (OTHERS_KEY,), (public_key_of(PRIVATE, name="another.example/log"),)):
        with pytest.raises(CheckpointInvalid, match="no known key"):
            open_note(NOTE, *keys)
    assert open_note(NOTE, OTHERS_KEY, KEY) == CHECKPOINT


def test_of_several_signatures_one_that_is_known_is_enough_and_none_that_is_known_may_be_wrong() -> None:
    both = NOTE + sign(CHECKPOINT, OTHER).split("\n\n")[1]
    for keys in ((KEY,), (OTHERS_KEY,), (KEY, OTHERS_KEY)):
        assert open_note(both, *keys) == CHECKPOINT
    grown = resign(CHECKPOINT.dump().replace("1234", "1235"), OTHER).split("\n\n")[1]
    assert open_note(NOTE + grown, KEY) == CHECKPOINT
    with pytest.raises(CheckpointInvalid, match="wrong"):
        open_note(NOTE + grown, KEY, OTHERS_KEY)


@given(st.integers(0, len(NOTE) - 1), st.characters(exclude_categories=["Cs"]))
def test_no_change_of_one_character_is_believed(at: int, character: str) -> None:
    if NOTE[at] == character:
        return
    changed = NOTE[:at] + character + NOTE[at + 1 :]
    with pytest.raises(CheckpointInvalid):
        open_note(changed, KEY)


@given(st.text() | st.text().map(lambda text: f"{text}\n\n\u2014 {ORIGIN} {text}\n"))
def test_garbage_is_refused_not_crashed_on(text: str) -> None:
    with pytest.raises(CheckpointInvalid):
        open_note(text, KEY)
    with pytest.raises(CheckpointInvalid):
        parse_key(text)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("1234\n", "01234\n"), ("1234\n", "+1234\n"), ("1234\n", "-1234\n"), ("1234\n", "1_234\n"), ("1234\n", "\n"),
        (".000007Z", "Z"), ("Z\n", "+00:00\n"), ("2026-11-25T10:00:00.000007Z", "0001-01-01T00:00:00.000007+23:59"),
        ("at ", ""), ("at ", "at at "),
        ("000007Z\n", "000007Z\nextra\n"), ("1234\n", "1234\u2028"), (ORIGIN, "fleet example"), (ORIGIN, "a+b"),
        ("=\n", "==\n"), ("Z\n", "+23:59\n"), ("1234\n", "9" * 5_000 + "\n"),
    ],
)  # fmt: skip
def test_even_what_is_signed_has_one_form(was: str, becomes: str) -> None:
    text = CHECKPOINT.dump()
    changed = resign(text.replace(was, becomes, 1))
    assert was in text
    with pytest.raises(CheckpointInvalid):
        open_note(changed, KEY)


def test_a_root_of_another_length_is_no_root() -> None:
    short = Checkpoint(origin=ORIGIN, size=1, root=b"short", at=CHECKPOINT.at)
    with pytest.raises(CheckpointInvalid, match="one form"):
        open_note(sign(short, PRIVATE), KEY)


@pytest.mark.parametrize("ending", ["", "\n\n", " \n", "\n\u2014 x\n", "no signature\n", "\u2014 a b\n"])
def test_what_stands_below_the_text_are_signatures_only(ending: str) -> None:
    with pytest.raises(CheckpointInvalid):
        open_note(NOTE[:-1] + ending if not ending.strip() else NOTE + ending, KEY)


def test_a_key_is_read_from_its_text_and_by_another_program() -> None:
    assert parse_key(f" {KEY}\n") == KEY
    assert aics_tlog.parse_vkey(str(KEY)).name == ORIGIN
    for text in (
        str(KEY).replace(ORIGIN, "another"), str(KEY)[:-4], str(KEY).replace("+", " "), f"+{KEY}", "", "a+b", "a+b+é",
        str(KEY).upper(),
    ):  # fmt: skip
        with pytest.raises(CheckpointInvalid):
            parse_key(text)


@given(names)
def test_a_name_is_printable_and_has_neither_spaces_nor_plus(name: str) -> None:
    assert is_key_name(name)
    for bad in (f"{name} {name}", f"{name}+", f"{name}\n", f"\u2003{name}", f"\u00a0{name}", f"{name}\x00", ""):
        assert not is_key_name(bad)
