"""Recreate the store's copy from the ledger: send what is missing, replace what differs, remove what is foreign.

The transcripts are made again from their outbox in the same way.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import orjson

from audit import ledger, shipping, transcript_shipping, transcripts
from audit.chain import Problem, Verdict, check_chain
from audit.documents import PATIENT, AuditEvent, Kind, TranscriptDocument, ensure_indexes, open_store
from audit.exceptions import AuditError
from audit.lease import HEAD, get_head
from audit.models import ChainHead
from audit.transactions import write_transaction
from audit.wire import Document, chain_entry

_WINDOW: Final = 500


class LedgerBroken(AuditError):
    """The ledger's own chain does not hold, so nothing may be rebuilt from it."""

    def __init__(self, verdict: Verdict) -> None:
        seq = verdict.bad_seq or verdict.head_seq
        super().__init__(f"the ledger's own chain breaks at event {seq}: {verdict.problem or Problem.HEAD}")


@dataclass(slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild did."""

    head_seq: int
    kept: int = 0
    sent: int = 0
    entries_kept: int = 0  # of transcripts
    entries_sent: int = 0
    removed: int = 0  # documents that the ledger does not know, or knows otherwise; saved to the file first


def rebuild(*, removed_file: Path) -> Rebuilt:
    """Make the store hold exactly the ledger's numbered events; running it again changes nothing.

    Whatever is removed from the store is appended to `removed_file` (JSON lines) before: it may be evidence.

    Raises: LedgerBroken; StoreUnavailable.
    """
    head = get_head()
    verdict = check_chain(chain_entry(document) for document in ledger.iterate_numbered(after=0, to=head.seq))
    if not verdict.holds or (verdict.head_seq, verdict.head_hash) != (head.seq, head.hash):
        raise LedgerBroken(verdict)
    done = Rebuilt(head_seq=head.seq)
    with ExitStack() as stack:
        saver = _Saver(removed_file, stack)
        _remove_foreign(done, saver)
        ensure_indexes()
        for after in range(0, head.seq, _WINDOW):
            _mend_window(done, saver, after=after, to=min(after + _WINDOW, head.seq))
        _mend_transcripts(done, saver)
    with write_transaction():
        ChainHead.objects.filter(name=HEAD).update(store_fault="")
    return done


class _Saver:
    """Open the file only when there is something to save."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._file: TextIO | None = None

    def save(self, documents: Sequence[Mapping[str, Any]]) -> None:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            self._file = self._stack.enter_context(self._path.open("a"))
        for document in documents:
            self._file.write(orjson.dumps(document, default=str).decode() + "\n")
        self._file.flush()


def _remove_foreign(done: Rebuilt, saver: _Saver) -> None:
    """Remove what stands outside the ledger's numbers. The head is read again: the sequencer goes on meanwhile."""
    newest_seq = get_head().seq
    for outside in ({"seq": {"$gt": newest_seq}}, {"seq": {"$not": {"$gte": 1}}}):
        with open_store(seconds=PATIENT) as collection:
            found = list(collection.find(outside))
        _remove(found, done, saver)


def _mend_window(done: Rebuilt, saver: _Saver, *, after: int, to: int) -> None:
    wanted = {document["seq"]: document for document in ledger.iterate_numbered(after=after, to=to)}
    with open_store(seconds=PATIENT) as collection:
        present = list(collection.find({"seq": {"$gt": after, "$lte": to}}))
    right: set[int] = set()
    wrong: list[dict[str, Any]] = []
    for document in present:
        if document == wanted.get(document["seq"]) and document["seq"] not in right:
            right.add(document["seq"])
        else:
            wrong.append(document)
    _remove(wrong, done, saver)
    missing = [document for seq, document in wanted.items() if seq not in right]
    _remove(_find_misplaced(missing), done, saver)
    if missing:
        shipping.ship(missing)  # the sequencer may be sending some of them too
    done.kept += len(right)
    done.sent += len(missing)


def _find_misplaced(missing: Sequence[Document]) -> list[dict[str, Any]]:
    """Return the documents that hold a missing event's id under another number."""
    if not missing:
        return []
    with open_store(seconds=PATIENT) as collection:
        return list(collection.find({"_id": {"$in": [document["_id"] for document in missing]}}))


def _mend_transcripts(done: Rebuilt, saver: _Saver) -> None:
    after = 0
    while window := transcripts.read_window(after=after):
        _mend_entries(window, done, saver, after=after)
        after = window[-1]["n"]
    for outside in ({"n": {"$gt": after}}, {"n": {"$not": {"$gte": 1}}}):
        with open_store(TranscriptDocument, seconds=PATIENT) as collection:
            found = list(collection.find(outside))
        new = set(transcripts.list_ids(after=after, limit=_WINDOW).values())  # the sequencer goes on meanwhile
        _remove([document for document in found if document["_id"] not in new], done, saver, kind=TranscriptDocument)


def _mend_entries(window: Sequence[Document], done: Rebuilt, saver: _Saver, *, after: int) -> None:
    wanted = {document["_id"]: document for document in window}
    here = {"n": {"$gt": after, "$lte": window[-1]["n"]}}
    with open_store(TranscriptDocument, seconds=PATIENT) as collection:
        present = list(collection.find({"$or": [here, {"_id": {"$in": list(wanted)}}]}))
    right = {document["_id"] for document in present if document == wanted.get(document["_id"])}
    _remove([document for document in present if document["_id"] not in right], done, saver, kind=TranscriptDocument)
    missing = [document for document in window if document["_id"] not in right]
    if missing:
        transcript_shipping.ship(missing)
    done.entries_kept += len(right)
    done.entries_sent += len(missing)


def _remove(documents: Sequence[Mapping[str, Any]], done: Rebuilt, saver: _Saver, *, kind: Kind = AuditEvent) -> None:
    if not documents:
        return
    saver.save(documents)
    with open_store(kind, seconds=PATIENT) as collection:
        for document in documents:
            collection.delete_one({"_id": document["_id"]})
    done.removed += len(documents)
