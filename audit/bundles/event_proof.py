"""The proof that one event is in the log, as a file of its own; `verify_trail.py` checks it."""

from dataclasses import dataclass
from typing import Any

import orjson

from audit import ledger
from audit.bundles.bundle import find_signer
from audit.bundles.lines import EVENT_PROOF
from audit.exceptions import EventUnknown, NotSignedYet
from audit.proof.leaves import is_erased, leaf_bytes, private_bytes
from audit.proof.log import latest_checkpoint, prove_event
from audit.proof.rotation import read_statements
from audit.retention.archives import find_archived
from audit.wire import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProof:
    """An event and the hashes that lead from it to a signed root (RFC 6962, section 2.1.1)."""

    event: dict[str, Any]  # what its leaf covers
    private: dict[str, Any] | None  # salt, actor and body; None if redacted or erased
    hash: str  # of the leaf, in hex
    leaf_index: int
    size: int  # events under the checkpoint
    hashes: tuple[str, ...]
    checkpoint: str  # the signed note
    signed_by: str | None  # the public key; not to be believed from a file
    statements: tuple[str, ...]  # by which old keys passed the log on

    def dump(self) -> bytes:
        """Return it as a JSON text."""
        fields = {
            "format": EVENT_PROOF,
            "event": self.event,
            "private": self.private,
            "hash": self.hash,
            "leafIndex": self.leaf_index,
            "size": self.size,
            "hashes": self.hashes,
            "checkpoint": self.checkpoint,
            "signedBy": self.signed_by,
            "keys": self.statements,
        }
        return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def make_event_proof(seq: int, *, redacted: bool) -> EventProof:
    """Return the proof that event `seq` is in the log under its newest checkpoint.

    Raises: EventUnknown, EventArchived if no such event is in the ledger; NotSignedYet if no checkpoint covers it yet.
    """
    document = next(ledger.iterate_numbered(after=seq - 1, to=seq), None)
    if document is None:
        raise find_archived(seq) or EventUnknown(f"The ledger holds no event {seq}.")
    newest = latest_checkpoint()
    if newest is None or newest.size < seq:
        raise NotSignedYet(
            f"Event {seq} is not under a signed checkpoint yet. The sequencer signs within a second of numbering an "
            "event: ask again then. If it stays so, see the page of the trail for why it does not sign."
        )
    return EventProof(
        event=orjson.loads(leaf_bytes(document)),
        private=None if redacted else _read_private(document),
        hash=document["hash"],
        leaf_index=seq - 1,
        size=newest.size,
        hashes=tuple(node.hex() for node in prove_event(seq, size=newest.size)),
        checkpoint=newest.note,
        signed_by=find_signer(),
        statements=tuple(read_statements()),
    )


def _read_private(document: Document) -> dict[str, Any] | None:
    if is_erased(document):
        return None
    private: dict[str, Any] = orjson.loads(private_bytes(document))
    return private
