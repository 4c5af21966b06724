"""Bring transcripts into the audit store, once each, whatever happened on the way before.

An entry's id is its document's key, so to send it again changes nothing. It counts as shipped once the store has
acknowledged it; what the store has lost since is sent again.
"""

import logging
from collections.abc import Sequence
from typing import Final

from pymongo.errors import BulkWriteError

from audit import shipping, transcripts
from audit.documents import PATIENT, TranscriptDocument, open_store
from audit.exceptions import StoreUnavailable
from audit.transactions import write_transaction
from audit.wire import Document

logger = logging.getLogger(__name__)

_WINDOW: Final = 500


class TranscriptShipper:
    """Ships what waits in the outbox, a bounded batch a step, so that events never wait long behind it."""

    def __init__(self) -> None:
        self._looked_to: int | None = None  # how far the search for missing ones has come; None: there is none

    def step(self) -> int:
        """Ship a batch; return how many entries were moved on, 0 when idle.

        Raises: StoreUnavailable.
        """
        looked = self._search() if self._looked_to is not None else 0
        documents = transcripts.read_unshipped()
        if documents:
            ship(documents)
        return max(looked, len(documents))

    def look_for_missing(self) -> None:
        """Begin to search the store for what it lacks, if it holds fewer entries than were shipped.

        Raises: StoreUnavailable.
        """
        shipped = transcripts.count_shipped()
        with open_store(TranscriptDocument, seconds=PATIENT) as collection:
            held = collection.estimated_document_count()
        if held < shipped and self._looked_to is None:
            logger.error(
                "audit store holds %d of %d transcript entries: sending the others again",
                held,
                shipped,
                extra={"action": "transcripts.resent"},
            )
            self._looked_to = 0

    def _search(self) -> int:
        """Look at one window: what the store lacks of it is no longer counted as shipped."""
        ids = transcripts.list_ids(after=self._looked_to or 0, limit=_WINDOW)
        if not ids:
            self._looked_to = None
            return 0
        held = _read_ids(first=min(ids), last=max(ids))
        missing = [n for n, entry_id in ids.items() if entry_id not in held]
        if missing:
            with write_transaction():
                transcripts.mark(missing, shipped=False)
        self._looked_to = max(ids)
        return len(ids)


def ship(documents: Sequence[Document]) -> None:
    """Insert documents and mark them as shipped; one that is there already counts.

    Raises: StoreUnavailable; those that arrived all the same are found there when they are sent again.
    """
    try:
        with open_store(TranscriptDocument, seconds=PATIENT) as collection:
            collection.insert_many(documents, ordered=False)
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, BulkWriteError):
            raise
        shipping.refuse_other_than_duplicates(error.__cause__)
    with write_transaction():
        transcripts.mark([document["n"] for document in documents], shipped=True)


def _read_ids(*, first: int, last: int) -> set[str]:
    with open_store(TranscriptDocument, seconds=PATIENT) as collection:
        return {document["_id"] for document in collection.find({"n": {"$gte": first, "$lte": last}}, {"_id": 1})}
