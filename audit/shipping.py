"""Bring numbered events into the audit store, once each, whatever happened on the way before."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo.errors import BulkWriteError

from audit import ledger
from audit.documents import DUPLICATE, PATIENT, describe, ensure_indexes, open_store
from audit.exceptions import StoreDiverged, StoreUnavailable
from audit.lease import get_head
from audit.metrics import violations
from audit.problems import Problem
from audit.wire import Document

logger = logging.getLogger(__name__)

_WINDOW: Final = 1_000
_MAX_WINDOW: Final = 16_000


def ship(documents: Sequence[Document]) -> None:
    """Insert documents; one that is there already, and the same, counts as shipped.

    Raises: StoreUnavailable; StoreDiverged if another document stands in the place of one of them.
    """
    try:
        with open_store(seconds=PATIENT) as collection:
            collection.insert_many(documents, ordered=False)
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, BulkWriteError):
            raise
        refuse_other_than_duplicates(error.__cause__)
        ship_missing(documents)


def ship_missing(documents: Sequence[Document]) -> None:
    """Insert those of a run of documents that the store lacks, and compare the others.

    Raises: StoreUnavailable; StoreDiverged.
    """
    present = _read_hashes(after=documents[0]["seq"] - 1, to=documents[-1]["seq"])
    for document in documents:
        if present.get(document["seq"], document["hash"]) != document["hash"]:
            raise _diverged(document["seq"], Problem.REPLACED, "holds another event under that number")
    missing = [document for document in documents if document["seq"] not in present]
    if not missing:
        return
    try:
        with open_store(seconds=PATIENT) as collection:
            collection.insert_many(missing, ordered=False)
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, BulkWriteError):
            raise
        refuse_other_than_duplicates(error.__cause__)
        _refuse_foreign(missing)


def reconcile(*, head_seq: int, shipped_seq: int) -> tuple[int, int]:
    """Compare the store with the ledger: return up to where it is whole, and the highest number that it holds.

    Raises: StoreUnavailable; StoreDiverged if it holds more than the ledger, or ends in another event.
    """
    ensure_indexes()
    archived = get_head().archived_seq
    whole, highest = _compare(head_seq=head_seq, shipped_seq=shipped_seq, archived=archived)
    if get_head().archived_seq != archived:  # a segment left meanwhile: what is gone was not lost
        return reconcile(head_seq=head_seq, shipped_seq=shipped_seq)
    if whole < shipped_seq:
        violations.labels(violation_type=Problem.MISSING.value).inc()
        logger.error(
            "audit store lacks event %d, shipped before: sending it again",
            whole + 1,
            extra={"action": "shipper.resent"},
        )
    return whole, highest


def _compare(*, head_seq: int, shipped_seq: int, archived: int) -> tuple[int, int]:
    highest, hash_ = _find_highest(hint=shipped_seq)
    if highest > head_seq:
        raise _diverged(head_seq + 1, Problem.INSERTED, f"ends at event {highest}, the ledger at {head_seq}")
    if highest > archived and hash_ != _ledger_hash(highest) and get_head().archived_seq == archived:
        raise _diverged(highest, Problem.REPLACED, "holds another event under that number")
    with open_store(seconds=PATIENT) as collection:
        count = collection.estimated_document_count()
    highest = max(highest, archived)
    whole = highest if count == highest - archived else find_first_missing(after=archived, to=highest) - 1
    return whole, highest


def find_first_missing(*, after: int, to: int) -> int:
    """Return the lowest number `after` < seq ≤ `to` that the store lacks, `to` + 1 if it lacks none.

    Raises: StoreUnavailable.
    """
    for start in range(after, to, _WINDOW):
        end = min(start + _WINDOW, to)
        with open_store(seconds=PATIENT) as collection:
            if collection.count_documents({"seq": {"$gt": start, "$lte": end}}) >= end - start:
                continue
        present = _read_hashes(after=start, to=end)
        return next((seq for seq in range(start + 1, end + 1) if seq not in present), end + 1)
    return to + 1


def _find_highest(*, hint: int) -> tuple[int, str]:
    """Return the highest number in the store and its hash, 0 if there is none.

    It looks above `hint`, then below it in bounded windows: the embedded server reads a whole match into memory.
    """
    found = _find_last({"$gt": hint})
    end, size = hint, _WINDOW
    while found is None and end > 0:
        start = max(end - size, 0)
        found = _find_last({"$gt": start, "$lte": end})
        end, size = start, min(4 * size, _MAX_WINDOW)
    return (0, "") if found is None else (found["seq"], found.get("hash", ""))


def _find_last(bounds: Mapping[str, int]) -> dict[str, Any] | None:
    with open_store(seconds=PATIENT) as collection:
        newest = collection.find({"seq": bounds}, {"seq": 1, "hash": 1}).sort("seq", -1).limit(1)
        return next(iter(newest), None)


def _read_hashes(*, after: int, to: int) -> dict[int, str]:
    with open_store(seconds=PATIENT) as collection:
        found = collection.find({"seq": {"$gt": after, "$lte": to}}, {"seq": 1, "hash": 1})
        return {document["seq"]: document.get("hash", "") for document in found}


def _ledger_hash(seq: int) -> str | None:
    documents = ledger.read_numbered(after=seq - 1, to=seq)
    return str(documents[0]["hash"]) if documents else None


def _refuse_foreign(documents: Sequence[Document]) -> None:
    """Raise if a document is still not there under its number: its id stands under another."""
    present = _read_hashes(after=documents[0]["seq"] - 1, to=documents[-1]["seq"])
    for document in documents:
        if present.get(document["seq"]) != document["hash"]:
            raise _diverged(document["seq"], Problem.REPLACED, "holds that event under another number")


def refuse_other_than_duplicates(error: BulkWriteError) -> None:
    """Raise StoreUnavailable unless all that went wrong is that documents were there already."""
    details = error.details or {}
    errors = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or any(item.get("code") != DUPLICATE for item in errors):
        raise StoreUnavailable(describe(error)) from error


def _diverged(seq: int, problem: Problem, what: str) -> StoreDiverged:
    message = (
        f"the audit store contradicts the ledger at event {seq}: it {what}. Shipping has stopped; events are kept in "
        "the ledger. Find out who wrote there (manage.py verify_audit), then mend it with manage.py rebuild_audit"
    )
    return StoreDiverged(message, seq=seq, problem=problem)
