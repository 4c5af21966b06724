"""One entry of the trail as its page shows it: what it led to, what led to it, and whether it still proves itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.exploring.queries import find, find_by_id, get_document, list_carrying
from audit.exploring.redaction import is_erased, list_ids, list_sizes
from audit.proof.leaves import is_whole, leaf_hash
from audit.proof.log import Signed, find_checkpoint, prove_event
from audit.proof.merkle import root_from_inclusion
from audit.wire import read_body, to_wire

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What an entry's place in the log comes to, computed anew.

    `checkpoint` is the smallest that covers the entry, None while none does; `is_covered` tells whether the entry
    leads to its root.
    """

    is_whole: bool
    checkpoint: Signed | None
    is_covered: bool

    @property
    def holds(self) -> bool:
        """Tell whether nothing speaks against the entry; one that is not signed yet may still hold."""
        return self.is_whole and (self.checkpoint is None or self.is_covered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event in wire form, and what belongs to it; `earlier` and `later` are its task's."""

    event: dict[str, Any]
    proof: Proof
    ids: dict[str, str]
    sizes: list[tuple[str, int]]
    writer: str
    writer_seq: int | None
    is_erased: bool
    cause: dict[str, Any] | None
    effects: list[dict[str, Any]]
    earlier: dict[str, Any] | None
    later: dict[str, Any] | None


def get_entry(seq: int) -> Entry:
    """Return the event numbered `seq` with what belongs to it, its proof computed anew.

    Raises: EventUnknown; StoreUnavailable.
    """
    document = get_document(seq)
    event, body = to_wire(document), read_body(document.get("body"))
    cause_id = document.get("causeId")
    return Entry(
        event=event,
        proof=_prove(document, seq),
        ids={name: id_ for name, id_ in list_ids(body).items() if event.get(name) != id_},
        sizes=list_sizes(body),
        writer=str(document.get("writer") or ""),
        writer_seq=document.get("writerSeq"),
        is_erased=is_erased(event),
        cause=find_by_id(str(cause_id)) if cause_id else None,
        effects=[other for other in list_carrying(str(event["id"])) if other["causeId"] == event["id"]],
        earlier=_find_neighbour(document, {"$lt": seq}, order="-seq"),
        later=_find_neighbour(document, {"$gt": seq}, order="seq"),
    )


def _find_neighbour(document: Document, seq: Mapping[str, int], *, order: str) -> dict[str, Any] | None:
    task_id = document.get("taskId")
    found = find(seq=seq, order=order, equality={"taskId": str(task_id)}, limit=1) if task_id else []
    return to_wire(found[0]) if found else None


def _prove(document: Document, seq: int) -> Proof:
    checkpoint = find_checkpoint(seq)
    return Proof(
        is_whole=is_whole(document),
        checkpoint=checkpoint,
        is_covered=checkpoint is not None and _leads_to(checkpoint, document, seq),
    )


def _leads_to(checkpoint: Signed, document: Document, seq: int) -> bool:
    try:
        path = prove_event(seq, size=checkpoint.size)
        root = root_from_inclusion(leaf_hash(document), seq - 1, checkpoint.size, path)
    except (LookupError, TypeError, ValueError):
        return False
    return root is not None and root.hex() == checkpoint.root
