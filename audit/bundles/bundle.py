"""Write a part of the log as a file that proves itself: `verify_trail.py` checks it without this program.

The events `after` < seq ≤ `to` are leaves of the tree under the newest signed checkpoint. Its root follows from the
roots of the full subtrees before them (left), their own leaves, and the roots of the full subtrees from there to that
checkpoint's size (right). Which subtrees these are follows from the three sizes alone, so each hash has one place, and
a root that comes out right leaves no freedom in any leaf.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import BinaryIO, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from audit import ledger
from audit.bundles.lines import BUNDLE, split_range, write_event, write_line
from audit.documents import PATIENT, open_store
from audit.events import Event, EventType
from audit.exceptions import BadQuery, NotSignedYet
from audit.lease import get_head
from audit.models import Checkpoint
from audit.proof.keys import load_verifier
from audit.proof.log import Signed, latest_checkpoint
from audit.proof.merkle import subtree_root
from audit.proof.rotation import read_statements
from audit.proof.tiles import StoredTiles
from audit.transactions import write_transaction
from audit.wire import Document, format_at

_WINDOW: Final = 1_024
_CHUNK_BYTES: Final = 256_000
_LEVEL: Final = 3  # a million events: 6 s instead of 15 s, for a file a tenth larger
_GZIP: Final = 31


class Source(StrEnum):
    """Where the events are read."""

    LEDGER = "ledger"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is to be written: the events `after` < seq ≤ `to`, under a signed checkpoint."""

    after: int
    to: int
    checkpoint: Signed
    redacted: bool  # without actor, body and salt; just as provable
    source: Source
    made_by: str
    made_at: datetime
    left: tuple[str, ...]  # hashes, in hex
    right: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """A name for the file, that says what it holds."""
        return f"audit-{self.after + 1}-{self.to}{'-redacted' if self.redacted else ''}.jsonl.gz"


def prepare_bundle(
    *, after: int = 0, to: int | None = None, made_by: str, redacted: bool = False, source: Source = Source.LEDGER
) -> Bundle:
    """Return what a bundle of the events after `after` is to hold, up to the newest checkpoint unless `to` says less.

    Raises: BadQuery for a range that cannot be had; NotSignedYet before the first checkpoint.
    """
    newest = latest_checkpoint()
    if newest is None:
        raise NotSignedYet("No checkpoint was signed yet, so nothing can be proven. Is the sequencer running?")
    to = newest.size if to is None else to
    if not 0 <= after <= to <= newest.size:
        raise BadQuery(
            f"A bundle ends at most at the newest checkpoint, event {newest.size}, and begins before its end."
        )
    if after < (archived := get_head().archived_seq):
        raise BadQuery(
            f"Events up to {archived} were archived: the archive's own bundles hold them. Begin after {archived}."
        )
    try:
        left, right = (read_hashes(start, end) for start, end in ((0, after), (to, newest.size)))
    except LookupError as error:
        raise BadQuery(f"This range cannot be proven: {error}.") from error
    return Bundle(
        after=after, to=to, checkpoint=newest, redacted=redacted, source=source, made_by=made_by,
        made_at=timezone.now(), left=left, right=right,
    )  # fmt: skip


def read_hashes(start: int, end: int) -> tuple[str, ...]:
    """Return the roots, in hex, of the full subtrees that lead from `start` leaves to `end`.

    Raises: LookupError if hashes are not kept.
    """
    tiles = StoredTiles()
    return tuple(subtree_root(tiles, first, first + width).hex() for first, width in split_range(start, end))


def record_export(bundle: Bundle) -> None:
    """Write down that somebody takes these events out."""
    body = {
        "after": bundle.after,
        "to": bundle.to,
        "format": "bundle",
        "redacted": bundle.redacted,
        "source": bundle.source.value,
    }
    with write_transaction():
        ledger.record(Event(type=EventType.TRAIL_EXPORTED, at=bundle.made_at, actor=bundle.made_by, body=body))


def _note_nothing(done: int) -> None:
    pass


def write_bundle(stream: BinaryIO, bundle: Bundle) -> None:
    """Write a bundle. Raises: OSError; StoreUnavailable."""
    for chunk in iterate_bundle(bundle):
        stream.write(chunk)


def iterate_bundle(bundle: Bundle, *, progress: Callable[[int], None] = _note_nothing) -> Iterator[bytes]:
    """Give a bundle as gzip, in pieces of bounded size. Its last line is missing if it was cut short.

    `progress` is told how many events are written.

    Raises: StoreUnavailable.
    """
    packer, digest, held = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP), sha256(), bytearray()
    for line in _iterate_lines(bundle, progress):
        digest.update(line)
        held += line
        if len(held) > _CHUNK_BYTES:
            yield packer.compress(held)
            held.clear()
    yield packer.compress(held + write_line({"end": digest.hexdigest()})) + packer.flush()


def _iterate_lines(bundle: Bundle, progress: Callable[[int], None]) -> Iterator[bytes]:
    yield write_line(_header(bundle))
    yield from map(_checkpoint_line, _read_notes(bundle.after - 1, bundle.after).values())
    for start in range(bundle.after, bundle.to, _WINDOW):
        end = min(start + _WINDOW, bundle.to)
        notes = _read_notes(start, end)
        for document in _READERS[bundle.source](start, end):
            yield write_event(document, redacted=bundle.redacted)
            note = notes.get(document["seq"])
            if note is not None:
                yield _checkpoint_line(note)
        progress(end - bundle.after)


def _header(bundle: Bundle) -> dict[str, object]:
    return {
        "format": BUNDLE,
        "origin": settings.AUDIT_ORIGIN,
        "after": bundle.after,
        "to": bundle.to,
        "redacted": bundle.redacted,
        "madeAt": format_at(bundle.made_at),
        "madeBy": bundle.made_by,
        "left": bundle.left,
        "right": bundle.right,
        "checkpoint": bundle.checkpoint.note,
        "signedBy": find_signer(),
        "keys": read_statements(),
    }


def find_signer() -> str | None:
    """Return the public key as a text, None in a process that has no key; nobody should believe it from a file."""
    try:
        return str(load_verifier())
    except ImproperlyConfigured:
        return None


def _checkpoint_line(note: str) -> bytes:
    return write_line({"checkpoint": note})


def _read_notes(after: int, to: int) -> dict[int, str]:
    return dict(Checkpoint.objects.filter(size__gt=after, size__lte=to).order_by("size").values_list("size", "note"))


def _read_ledger(after: int, to: int) -> Iterator[Document]:
    return ledger.iterate_numbered(after=after, to=to)


def _read_store(after: int, to: int) -> Iterator[Document]:
    with open_store(seconds=PATIENT) as collection:
        documents = list(collection.find({"seq": {"$gt": after, "$lte": to}}).sort("seq", 1))
    return iter(documents)


_READERS: Final = {Source.LEDGER: _read_ledger, Source.STORE: _read_store}
