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
from audit.checking.events import is_same
from audit.checking.report import Finding, Report
from audit.checking.verification import verify
from audit.documents import PATIENT, AuditEvent, Kind, TranscriptDocument, ensure_indexes, open_store
from audit.exceptions import AuditError
from audit.lease import HEAD, get_head
from audit.models import AuditTile, TreeHead
from audit.problems import Problem
from audit.proof.log import read_frontier
from audit.proof.merkle import TILE_WIDTH
from audit.proof.tiles import Tree, write_tiles
from audit.retention.archives import hold_archives
from audit.retention.archiving import clear_store
from audit.retention.settling import settle
from audit.transactions import write_transaction
from audit.wire import Document

_WINDOW: Final = 500


class LedgerBroken(AuditError):
    """The ledger's own log does not hold, so nothing may be rebuilt from it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"the ledger's own log does not hold: {finding}")


@dataclass(slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild did."""

    head_seq: int
    kept: int = 0
    sent: int = 0
    entries_kept: int = 0  # of transcripts
    entries_sent: int = 0
    tiles_made: bool = False  # the hashes for proofs, from the ledger
    removed: int = 0  # documents that the ledger does not know, or knows otherwise; saved to the file first


def rebuild(*, removed_file: Path) -> Rebuilt:
    """Make the store hold exactly the ledger's numbered events; running it again changes nothing.

    Whatever is removed from the store is appended to `removed_file` (JSON lines) before: it may be evidence. What was
    archived or erased goes from the store first, without a copy.

    Raises: LedgerBroken; StoreUnavailable; OSError and ImproperlyConfigured as `verify` does; ArchiveFailed while
    another process archives or erases.
    """
    with hold_archives():
        settle()
        clear_store()
        return _rebuild(removed_file)


def _rebuild(removed_file: Path) -> Rebuilt:
    report = verify(store=False)
    if broken := next((finding for finding in report.findings if finding.breaks_log), None):
        raise LedgerBroken(broken)
    done = Rebuilt(head_seq=report.head_seq)
    with ExitStack() as stack:
        saver = _Saver(removed_file, stack)
        _remove_foreign(done, saver)
        ensure_indexes()
        for after in range(report.since, report.head_seq, _WINDOW):
            _mend_window(done, saver, after=after, to=min(after + _WINDOW, report.head_seq))
        _mend_transcripts(done, saver)
    if any(finding.problem is Problem.TILE for finding in report.findings):
        _mend_tiles(report)
        done.tiles_made = True
    with write_transaction():
        TreeHead.objects.filter(name=HEAD).update(store_fault="")
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
    head = get_head()
    for outside in ({"seq": {"$gt": head.seq}}, {"seq": {"$not": {"$gte": head.archived_seq + 1}}}):
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
        own = wanted.get(document["seq"])
        if own and is_same(document, own) and document["seq"] not in right:
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


def _mend_tiles(report: Report) -> None:
    """Write the tree's tiles anew from the ledger's leaves."""
    tree = Tree(frontier=read_frontier(report.since))
    for after in range(report.since, report.head_seq, _WINDOW):
        window = ledger.iterate_numbered(after=after, to=min(after + _WINDOW, report.head_seq))
        trees = list(tree.grow([bytes.fromhex(document["hash"]) for document in window]))
        with write_transaction():
            write_tiles(trees)
        tree = trees[-1]
    with write_transaction():
        full = get_head().seq // TILE_WIDTH
        AuditTile.objects.filter(level=0, position__gte=full).delete()


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
    with open_store(kind, seconds=PATIENT, privileged=True) as collection:
        for document in documents:
            collection.delete_one({"_id": document["_id"]})
    done.removed += len(documents)
