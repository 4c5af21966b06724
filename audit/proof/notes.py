"""Checkpoints: what the log was at a moment, signed (C2SP tlog-checkpoint in a signed-note). PURE but for cryptography.

fleet.example/audit             the log's name
1234                            how many events
qVl…=                           root of their Merkle tree
at 2026-11-25T10:00:00.000000Z  when, by the signer's clock

— fleet.example/audit wXyz…     Ed25519 over the lines above
"""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from audit.proof.merkle import HASH_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ED25519: Final = b"\x01"  # the algorithm's byte in a key's id and in its text
_KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 4
DASH: Final = "\u2014 "  # begins a signature
CUT_OFF: Final = "(cut off)"  # a line that says: the note before was not written to its end, and follows once more


class CheckpointInvalid(ValueError):
    """A text is no checkpoint, or no known key has signed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The log `origin` had `size` events under `root` at `at`."""

    origin: str
    size: int
    root: bytes
    at: datetime

    def dump(self) -> str:
        """Return the lines that are signed."""
        at = self.at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\nat {at}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key by the name of its log; as a text it is `name+id+key`."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The first bytes of the key's digest, by which a signature names its key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


def is_key_name(name: str) -> bool:
    """Tell whether a log may have this name: printable, without spaces and plus."""
    return bool(name) and name.isprintable() and not {" ", "+"} & set(name)


def parse_key(text: str) -> VerifierKey:
    """Return a public key from its text. Raises: CheckpointInvalid."""
    try:
        name, key_id, encoded = text.strip().split("+", 2)
        data = base64.b64decode(encoded, validate=True)
        key = VerifierKey(name=name, public=data[1:])
        right = is_key_name(name) and data[:1] == _ED25519 and len(key.public) == _KEY_BYTES and key.id.hex() == key_id
    except ValueError:
        raise CheckpointInvalid("a key is written name+id+key") from None
    if not right:
        raise CheckpointInvalid(f"{name} is no Ed25519 key, or its id is not that of the key")
    return key


def public_key_of(private: "Ed25519PrivateKey", *, name: str) -> VerifierKey:
    """Return what checks the signatures of `private`."""
    return VerifierKey(name=name, public=private.public_key().public_bytes_raw())


def sign(checkpoint: Checkpoint, private: "Ed25519PrivateKey") -> str:
    """Return the checkpoint as a note with one signature, in the name of its origin."""
    return sign_text(checkpoint.dump(), private, name=checkpoint.origin)


def sign_text(text: str, *privates: "Ed25519PrivateKey", name: str) -> str:
    """Return lines of text as a note that each of these keys has signed, in the name of a log."""
    lines = []
    for private in privates:
        data = public_key_of(private, name=name).id + private.sign(text.encode())
        lines.append(f"{DASH}{name} {base64.b64encode(data).decode()}\n")
    return f"{text}\n{''.join(lines)}"


def open_note(note: str, *keys: VerifierKey) -> Checkpoint:
    """Return the checkpoint in `note` if one of `keys` has signed it. Signatures of other keys are passed over.

    Raises: CheckpointInvalid, also if the signature of one of `keys` is wrong.
    """
    return _parse(open_text(note, *keys))


def open_text(note: str, *keys: VerifierKey) -> str:
    """Return the lines in `note` that one of `keys` has signed.

    Raises: CheckpointInvalid.
    """
    text, divider, lines = note.rpartition("\n\n")
    text += "\n"
    if not divider or not lines.endswith("\n"):
        raise CheckpointInvalid("the text is no signed note")
    signed = [_is_signed(text, line, keys) for line in lines[:-1].split("\n")]
    if not any(signed):
        raise CheckpointInvalid("no known key has signed this checkpoint")
    return text


def split_notes(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Give the notes of a file with the byte at which each begins; text between them that is none comes as one too.

    `lines` keep their ends, and what is no UTF-8 as surrogates. A note is lines of text, an empty line, and lines of
    signatures. One that was cut off, and is said to be, is left out: the whole one follows.
    """
    offset = start = 0
    note: list[str] = []
    ended = False  # after the empty line that ends text or signatures
    for line in lines:
        if line == "\n":
            ended = True
        elif line == f"{CUT_OFF}\n":
            if ended and note and note[-1].startswith(DASH):  # it was whole: nobody can hide it by saying otherwise
                yield start, "".join(note)
            note, ended = [], False
        else:
            if ended and note and (not _begins_signature(line) or note[-1].startswith(DASH)):
                yield start, "".join(note)
                note = []
            if not note:
                start = offset
            elif ended:
                note.append("\n")
            note.append(line)
            ended = False
        offset += len(line.encode(errors="surrogateescape"))
    if note:
        yield start, "".join(note)


def _begins_signature(line: str) -> bool:
    """Tell whether a line is a signature, or so much of one as was written."""
    written = line.rstrip("\n").encode(errors="surrogateescape")
    return line.startswith(DASH) or DASH.encode().startswith(written)


def _is_signed(text: str, line: str, keys: tuple[VerifierKey, ...]) -> bool:
    """Tell whether this signature is of one of `keys`, and right. Raises: CheckpointInvalid if it is wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, key_id, signature = _read_signature(line)
    named = [key for key in keys if (key.name, key.id) == (name, key_id)]
    try:
        for key in named:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except (InvalidSignature, UnicodeError):
        raise CheckpointInvalid(f"the signature of {name} is wrong") from None
    return bool(named)


def _read_signature(line: str) -> tuple[str, bytes, bytes]:
    """Return the key's name and id, and the signature. Raises: CheckpointInvalid."""
    name, _, encoded = line.removeprefix(DASH).partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        data = b""
    if not line.startswith(DASH) or not is_key_name(name) or len(data) <= _KEY_ID_BYTES:
        raise CheckpointInvalid("what stands below the text is no signature")
    return name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:]


def _parse(text: str) -> Checkpoint:
    try:
        origin, size, root, at = text.splitlines()
        checkpoint = Checkpoint(
            origin=origin,
            size=int(size),
            root=base64.b64decode(root, validate=True),
            at=datetime.fromisoformat(at.removeprefix("at ")),
        )
        one_form = checkpoint.dump() == text
    except (ValueError, OverflowError):
        raise CheckpointInvalid("the signed text is no checkpoint of this program") from None
    if not one_form or checkpoint.size < 0 or len(checkpoint.root) != HASH_BYTES or not is_key_name(origin):
        raise CheckpointInvalid("the checkpoint is not in its one form")
    return checkpoint
