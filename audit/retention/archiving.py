"""Move sealed segments out of the stores into archives: whole, oldest first, and never before the archive is proven.

The steps, each of which may be the last before a crash:

1. ledger, store and tree are compared, event by event;
2. the archive is written, brought to disk, read back and verified;
3. one transaction takes the rows out of the ledger, moves `archived_seq` and records it;
4. the store's documents go; the segment's row says so.

Before step 3 nothing has happened but a file that the next attempt writes again. After it the store holds copies of
what is archived already, which readers may still find and verification expects; the next run takes them away.
The other way round, the sequencer would find them missing and send them again.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from audit import ledger
from audit.documents import PATIENT, open_store
from audit.events import Event, EventType
from audit.exceptions import ArchiveFailed
from audit.lease import HEAD
from audit.models import ArchivedSegment, TreeHead
from audit.proof.log import read_frontier
from audit.retention import settling
from audit.retention.archives import Segment, archive_path, digest_file, hold_archives, name_file, write_whole
from audit.retention.files import check_archive, write_archive
from audit.retention.segments import find_sealed, refuse_unlike
from audit.transactions import write_transaction

logger = logging.getLogger(__name__)


def archive_sealed(*, now: datetime, actor: str = "system", is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Archive what is sealed at `now`, and finish what an earlier run began; return how many segments left.

    Raises: ArchiveFailed, after which nothing is lost and all that was not archived is where it was; StoreUnavailable.
    """
    done = 0
    with hold_archives():
        settling.settle()
        clear_store()
        while not is_stopping() and (segment := find_sealed(now=now)):
            _archive(segment, now=now, actor=actor)
            done += 1
    return done


def _archive(segment: Segment, *, now: datetime, actor: str) -> None:
    _refuse_powerless()
    refuse_unlike(segment)
    path = archive_path(name_file(segment))
    with write_whole(path) as temporary:
        write_archive(temporary, segment)
        check_archive(temporary, segment)
    remove_from_ledger(segment, path, now=now, actor=actor)
    clear_store()
    logger.info("audit: %s are archived in %s", segment, path, extra={"action": "archive.made"})


def remove_from_ledger(segment: Segment, path: Path, *, now: datetime, actor: str) -> None:
    """Take the segment's rows out of the ledger, and record where they are now, all at once."""
    root, sha256 = read_frontier(segment.to).root.hex(), digest_file(path)
    body = {"after": segment.after, "to": segment.to, "root": root, "file": path.name, "sha256": sha256}
    with write_transaction():
        moved = TreeHead.objects.filter(name=HEAD, archived_seq=segment.after).update(archived_seq=segment.to)
        if not moved:
            raise ArchiveFailed(f"{segment} were archived by another process meanwhile")
        ledger.remove(after=segment.after, to=segment.to)
        ArchivedSegment.objects.create(
            after_seq=segment.after, to_seq=segment.to, root=root, file=path.name, sha256=sha256,
            archived_at=now,
        )  # fmt: skip
        ledger.record(Event(type=EventType.TRAIL_ARCHIVED, at=now, actor=actor, body=body))


def clear_store() -> None:
    """Take out of the store what is archived.

    Raises: StoreUnavailable; what is left is taken out the next time.
    """
    for row in ArchivedSegment.objects.filter(cleared=False).order_by("to_seq"):
        with open_store(seconds=PATIENT, privileged=True) as collection:
            collection.delete_many({"seq": {"$gt": row.after_seq, "$lte": row.to_seq}})
        with write_transaction():
            ArchivedSegment.objects.filter(pk=row.pk).update(cleared=True)


def _refuse_powerless() -> None:
    """Ask the store to remove nothing, to learn before anything is moved whether this login may remove.

    Raises: StoreUnavailable.
    """
    with open_store(seconds=PATIENT, privileged=True) as collection:
        collection.delete_many({"seq": {"$lt": 0, "$gt": 0}})
