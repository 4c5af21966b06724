"""The archives as every process knows them: which runs of the log are in which file, and what that means to readers."""

import fcntl
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from itertools import zip_longest
from pathlib import Path
from typing import Final

import orjson
from django.conf import settings

from audit import ledger
from audit.exceptions import ArchiveFailed, EventArchived
from audit.lease import get_head
from audit.models import ArchivedSegment
from audit.proof.leaves import is_whole

ENDING: Final = ".jsonl.gz"
_PLACE: Final = re.compile(r"events-[0-9]{12,16}-([0-9]{12,16})\.jsonl\.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The events `after` < seq ≤ `to`."""

    after: int
    to: int

    def __str__(self) -> str:
        return f"events {self.after + 1} to {self.to}"


def list_archives() -> list[ArchivedSegment]:
    """Return what was archived, the newest first."""
    return list(ArchivedSegment.objects.order_by("-to_seq"))


def find_archive(seq: int) -> ArchivedSegment | None:
    """Return where event `seq` was archived, None if it was not."""
    return ArchivedSegment.objects.filter(after_seq__lt=seq, to_seq__gte=seq).first()


def find_archived(seq: int) -> EventArchived | None:
    """Return what a reader is told who asks for an event that is archived, None if it is not."""
    row = find_archive(seq)
    return EventArchived(seq, file=row.file) if row else None


def get_archived_seq() -> int:
    """Return up to which number the log is archived, 0 if nothing is."""
    return get_head().archived_seq


def get_cleared_seq() -> int:
    """Return up to which number the store holds nothing any more; what is archived may still be on its way out."""
    waiting = ArchivedSegment.objects.filter(cleared=False).order_by("to_seq").first()
    return waiting.after_seq if waiting else get_archived_seq()


def find_unaccounted() -> int | None:
    """Return the first number that is said to be archived and is in no archive on record, None if there is none."""
    reached = 0
    for row in ArchivedSegment.objects.order_by("to_seq"):
        if row.after_seq != reached:
            break
        reached = row.to_seq
    return reached + 1 if reached < get_archived_seq() else None


# --- the folder -----------------------------------------------------------------------------------------------
def name_file(segment: Segment) -> str:
    """Return the name that a segment's archive has."""
    return f"events-{segment.after + 1:012}-{segment.to:012}{ENDING}"


def archive_path(file: str) -> Path:
    """Return where an archive lies."""
    return Path(settings.AUDIT_ARCHIVE_DIR) / file


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises: OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@contextmanager
def hold_archives() -> Iterator[None]:
    """Be the only one who writes archives or erases, as long as inside.

    Raises: ArchiveFailed if another is at it, or the folder cannot be written.
    """
    folder = Path(settings.AUDIT_ARCHIVE_DIR)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ArchiveFailed(_refused(folder, error)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ArchiveFailed("another process archives or erases at this moment. Nothing was done; try again") from error
    try:
        _drop_leftovers(folder)
        yield
    finally:
        os.close(descriptor)


def _drop_leftovers(folder: Path) -> None:
    """Remove what a crash left: half a file, and one whose events are in the ledger still and may be erased there.

    Raises: ArchiveFailed for an archive that the ledger does not hold: it may be all that there is of it.
    """
    archived = get_archived_seq()
    for path in folder.glob(f"events-{archived + 1:012}-*{ENDING}"):
        if not _is_in_ledger(path, after=archived):
            raise ArchiveFailed(
                f"the ledger says that {archived} events were archived, and does not hold those of {path}. Nothing was "
                "removed. Find out why with manage.py verify_audit, before anything else is archived or erased"
            )
        path.unlink()
    for path in folder.glob(".*.part"):
        path.unlink()


def _is_in_ledger(path: Path, *, after: int) -> bool:
    """Tell whether the ledger holds all that an archive does: the same leaves, and what gives them."""
    found = _PLACE.fullmatch(path.name)
    if found is None:
        return False
    rows = ledger.iterate_numbered(after=after, to=int(found[1]))
    try:
        with gzip.open(path, "rb") as packed:
            lines = (line for line in packed if line.startswith(b'{"event":'))
            return all(
                row is not None and line is not None and is_whole(row) and orjson.loads(line)["hash"] == row["hash"]
                for row, line in zip_longest(rows, lines)
            )
    except (EOFError, OSError, zlib.error, ValueError, KeyError):
        return False


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a name to write under; afterwards the file stands at `path`, on disk, whole or not at all.

    Raises: ArchiveFailed if the folder does not take it.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ArchiveFailed(_refused(path.parent, error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(folder: Path, error: OSError) -> str:
    return (
        f"the archives' folder {folder} does not take files ({error.strerror}). Nothing was removed from the stores; "
        "make room or make it writable, or name another with AUDIT_ARCHIVE_DIR"
    )
