"""Which run of the log may leave the stores: whole, old enough, signed, filed, shipped, and everywhere the same."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, Final

from django.conf import settings

from audit import ledger
from audit.checking.events import iterate_store
from audit.exceptions import ArchiveFailed
from audit.lease import get_head
from audit.models import Checkpoint
from audit.proof.leaves import is_whole
from audit.proof.merkle import TILE_WIDTH
from audit.proof.tiles import StoredTiles
from audit.retention.archives import Segment

SEGMENT_EVENTS: Final = 16 * TILE_WIDTH  # whole tiles: no proof ever needs a leaf that only the ledger holds


def find_sealed(*, now: datetime) -> Segment | None:
    """Return the oldest run that is to be archived at `now`, None if none is, or nothing ever is."""
    archived = get_head().archived_seq
    return Segment(after=archived, to=archived + SEGMENT_EVENTS) if count_sealed(now=now) else None


def count_sealed(*, now: datetime) -> int:
    """Return how many events are to be archived at `now`: of whole runs, shipped, and under a filed checkpoint.

    Their age is that of the checkpoint over them, by the signer's clock, whatever the events themselves say.
    """
    if not settings.AUDIT_RETENTION_DAYS:
        return 0
    head, bound = get_head(), now - timedelta(days=settings.AUDIT_RETENTION_DAYS)
    old = Checkpoint.objects.filter(at__lte=bound, filed_at__isnull=False).order_by("-size").first()
    covered = min(old.size if old else 0, head.shipped_seq)
    return max(covered - head.archived_seq, 0) // SEGMENT_EVENTS * SEGMENT_EVENTS


def refuse_unlike(segment: Segment) -> None:
    """See that ledger, store and tree hold the same events.

    Raises: ArchiveFailed at the first that differs; StoreUnavailable.
    """
    own = ledger.iterate_numbered(after=segment.after, to=segment.to)
    copies = iterate_store(after=segment.after, to=segment.to)
    for seq, leaf, document, copy in zip_longest(*_number_leaves(segment), own, copies):
        if document is None or not _is_leaf(document, seq=seq, leaf=leaf) or document != copy:
            raise ArchiveFailed(
                f"{segment} were not archived: ledger, store and tree differ at event {seq}. Nothing was removed. "
                "Find out why with manage.py verify_audit"
            )


def _number_leaves(segment: Segment) -> tuple[range, Iterator[bytes]]:
    tiles = StoredTiles()
    starts = range(segment.after, segment.to, TILE_WIDTH)
    leaves = (leaf for start in starts for leaf in tiles.read(0, start, start + TILE_WIDTH))
    return range(segment.after + 1, segment.to + 1), leaves


def _is_leaf(document: Mapping[str, Any], *, seq: int, leaf: bytes) -> bool:
    return document["seq"] == seq and document["hash"] == leaf.hex() and is_whole(document)
