"""Bring an erasure from the ledger, where it is decided, to the store and into the archives; again after a crash."""

from typing import Final

from pymongo import UpdateOne

from audit.documents import PATIENT, TranscriptDocument, open_store
from audit.ids import collect_ids
from audit.models import ArchivedSegment, Erasure
from audit.retention.archives import Segment, archive_path, digest_file, write_whole
from audit.retention.erasures import list_unsettled
from audit.retention.files import BLANK, check_archive, rewrite_archive
from audit.transactions import write_transaction

_CHUNK: Final = 500


def settle() -> None:
    """Finish every erasure that was begun; to be called while the archives are held.

    Raises: StoreUnavailable; ArchiveFailed; what was not reached is the next time.
    """
    for erasure in list_unsettled():
        for start in range(0, len(erasure.seqs), _CHUNK):
            blank_in_store(erasure.seqs[start : start + _CHUNK])
        for start in range(0, len(erasure.tasks), _CHUNK):
            drop_transcripts(erasure.tasks[start : start + _CHUNK])
        for file, seqs in erasure.archived.items():
            blank_in_archive(file, seqs)
        with write_transaction():
            Erasure.objects.filter(pk=erasure.pk).update(settled=True)


def blank_in_store(seqs: list[int]) -> None:
    """Empty the private part of events in the store, and what they were found by of it. Raises: StoreUnavailable."""
    with open_store(seconds=PATIENT, privileged=True) as collection:
        found = collection.find({"seq": {"$in": seqs}}, {"causeId": 1, "traceId": 1})
        blanks = [UpdateOne({"_id": one["_id"]}, {"$set": BLANK | {"ids": collect_ids(one)}}) for one in found]
        if blanks:
            collection.bulk_write(blanks, ordered=False)


def drop_transcripts(tasks: list[str]) -> None:
    """Take the transcripts of tasks out of the store. Raises: StoreUnavailable."""
    with open_store(TranscriptDocument, seconds=PATIENT, privileged=True) as collection:
        collection.delete_many({"taskId": {"$in": tasks}})


def blank_in_archive(file: str, seqs: list[int]) -> None:
    """Empty the private part of events in an archive: a new file takes the place of the old one.

    Raises: ArchiveFailed.
    """
    path = archive_path(file)
    row = ArchivedSegment.objects.get(file=file)
    with write_whole(path) as temporary:
        rewrite_archive(path, temporary, erased=frozenset(seqs))
        check_archive(temporary, Segment(after=row.after_seq, to=row.to_seq))
    with write_transaction():
        ArchivedSegment.objects.filter(pk=row.pk).update(sha256=digest_file(path))
