"""From one signing key to the next: a statement that both have signed, so that who knows one knows the other.

    fleet.example/audit+8a…+Ac…         signs from now on
    after fleet.example/audit+1f…+AV…   which signs nothing any more of more events than
    last 1512
    at 2026-11-25T10:00:00.000000Z

    — fleet.example/audit …             of the old key
    — fleet.example/audit …             of the new

The statements are kept beside the key and beside the checkpoints. An old key counts only up to `last`: who steals it
later can sign nothing that is newer.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.bodies import KeyRotated
from audit.events import Event, EventType
from audit.lease import HEAD, get_head
from audit.ledger import record
from audit.models import TreeHead
from audit.proof.keys import load_key, load_verifier, make_pem, parse_pem, sync_folder
from audit.proof.notes import (
    CheckpointInvalid,
    VerifierKey,
    open_text,
    parse_key,
    public_key_of,
    sign_text,
    split_notes,
)
from audit.shipper import BATCH
from audit.transactions import write_transaction
from audit.wire import format_at

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

STATEMENTS: Final = "key.rotations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """`new` took over from `old`, which signs no more than `last` events."""

    old: VerifierKey
    new: VerifierKey
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key whose signatures count: on checkpoints of at most `last` events, None for all."""

    key: VerifierKey
    last: int | None = None


def trusted_keys(given: Iterable[VerifierKey] = ()) -> tuple[TrustedKey, ...]:
    """Return the given keys, else that of this installation, and those that lead to them by statements.

    From a given key the way also leads on, to the keys that took over; where two claim to, to neither.

    Raises: ImproperlyConfigured; OSError.
    """
    known, rotations = tuple(given), read_rotations()
    trusted = {key: TrustedKey(key=key) for key in known or (load_verifier(),)}
    if known:
        for key in known:
            _follow(key, rotations, trusted)
    for key in tuple(trusted):
        _trace_back(key, rotations, trusted)
    return tuple(trusted.values())


def _trace_back(key: VerifierKey, rotations: Sequence[Rotation], trusted: dict[VerifierKey, TrustedKey]) -> None:
    for rotation in rotations:
        if rotation.new == key and (rotation.old not in trusted or trusted[rotation.old].last is None):
            trusted[rotation.old] = TrustedKey(key=rotation.old, last=rotation.last)
            _trace_back(rotation.old, rotations, trusted)


def _follow(key: VerifierKey, rotations: Sequence[Rotation], trusted: dict[VerifierKey, TrustedKey]) -> None:
    following = {rotation.new for rotation in rotations if rotation.old == key}
    if len(following) == 1 and not following & trusted.keys():
        (following_key,) = following
        trusted[following_key] = TrustedKey(key=following_key)
        _follow(following_key, rotations, trusted)


# --- statements -----------------------------------------------------------------------------------------------
def read_statements() -> list[str]:
    """Return the statements of both places, as notes, each once, the oldest first.

    Raises: OSError.
    """
    notes: dict[str, None] = {}
    for path in _places():
        with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="surrogateescape") as file:
            notes |= dict.fromkeys(note for _, note in split_notes(file))
    return list(notes)


def read_rotations() -> list[Rotation]:
    """Return the rotations that both keys have signed; whatever else lies there is passed over.

    Raises: OSError.
    """
    rotations: dict[tuple[VerifierKey, VerifierKey], Rotation] = {}
    for note in read_statements():
        with suppress(CheckpointInvalid):
            stated = open_statement(note)
            before = rotations.get((stated.old, stated.new), stated)  # an attempt that was cut off, and its successor
            rotations[stated.old, stated.new] = max(before, stated, key=attrgetter("last"))
    return list(rotations.values())


def open_statement(note: str) -> Rotation:
    """Return the rotation that a note states. Raises: CheckpointInvalid unless both keys have signed it."""
    match note.split("\n"):
        case [new, old, last, at, "", *_] if at.startswith("at ") and last.removeprefix("last ").isdecimal():
            rotation = Rotation(
                old=parse_key(old.removeprefix("after ")),
                new=parse_key(new),
                last=int(last.removeprefix("last ")),
            )
        case _:
            raise CheckpointInvalid("the note states no rotation of a key")
    for key in (rotation.old, rotation.new):
        open_text(note, key)
    return rotation


def _places() -> tuple[Path, Path]:
    return settings.AUDIT_KEY_FILE.with_name(STATEMENTS), settings.AUDIT_CHECKPOINT_DIR / STATEMENTS


# --- rotating -------------------------------------------------------------------------------------------------
def rotate(*, now: datetime, old_pem: str = "") -> Rotation:
    """Let another key sign from now on, state it in both places, and record it.

    Without `old_pem` a new key takes the place of that in the state folder; a running sequencer signs with it from its
    next checkpoint on. With it, the key of AUDIT_SIGNING_KEY is the new one already, and `old_pem` the one before.

    Raises: ImproperlyConfigured; OSError, after which running it again finishes what was begun.
    """
    spare = settings.AUDIT_KEY_FILE.with_suffix(".next")
    if old_pem:
        old, new = parse_pem(old_pem), load_key()
    elif settings.AUDIT_SIGNING_KEY:
        raise ImproperlyConfigured(
            "the key comes from AUDIT_SIGNING_KEY: stop the sequencer, set the new key there, and name the old "
            "one with --old-key FILE"
        )
    else:
        old = load_key()
        new = _load_spare(spare)
    if old.public_key() == new.public_key():
        raise ImproperlyConfigured("the old and the new key are the same")
    with write_transaction():
        TreeHead.objects.select_for_update().filter(name=HEAD).first()  # nothing is numbered meanwhile
        # What is signed already, but not yet committed, covers at most one batch more.
        rotation, note = _state(old, new, last=get_head().seq + BATCH, now=now)
        for path in _places():
            _append(path, note)
        if not old_pem:
            spare.replace(settings.AUDIT_KEY_FILE)
            sync_folder(spare.parent)
        body: KeyRotated = {"oldKey": str(rotation.old), "newKey": str(rotation.new), "size": rotation.last}
        record(Event(type=EventType.KEY_ROTATED, at=now, actor="system", body=body))
    return rotation


def _load_spare(path: Path) -> "Ed25519PrivateKey":
    """Return the key that is to take over; one that an earlier attempt made is used again."""
    if not path.exists():
        make_pem(path)
    return parse_pem(path.read_text())


def _state(old: "Ed25519PrivateKey", new: "Ed25519PrivateKey", *, last: int, now: datetime) -> tuple[Rotation, str]:
    name = settings.AUDIT_ORIGIN
    rotation = Rotation(old=public_key_of(old, name=name), new=public_key_of(new, name=name), last=last)
    text = f"{rotation.new}\nafter {rotation.old}\nlast {last}\nat {format_at(now)}\n"
    return rotation, sign_text(text, old, new, name=name)


def _append(path: Path, note: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{note}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
