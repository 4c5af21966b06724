"""Check the archives in their folder: there, whole, in one unbroken row, and of the log that was signed."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from audit.events import EventType
from audit.exceptions import ArchiveFailed
from audit.models import ArchivedSegment
from audit.proof.leaves import is_erased
from audit.proof.log import read_frontier
from audit.retention.archives import Segment, archive_path, digest_file, find_unaccounted
from audit.retention.erasures import is_named, list_unsettled, read_erased, read_ranges
from audit.retention.files import check_archive, iterate_archived
from audit.wire import read_body


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found: how many archives there should be, and what is wrong with them, a sentence each."""

    archives: int
    events: int
    findings: tuple[str, ...]


def inspect_archives() -> Inspection:
    """Check every archive on record against its file, the file against its proofs, and all against the log's tree."""
    rows = list(ArchivedSegment.objects.order_by("to_seq"))
    findings = [finding for row in rows for finding in _inspect(row)] + list(_find_unexplained(rows))
    if lost := find_unaccounted():
        findings.append(f"event {lost} and those after it are said to be archived, and no archive on record holds them")
    return Inspection(archives=len(rows), events=rows[-1].to_seq if rows else 0, findings=tuple(findings))


def _inspect(row: ArchivedSegment) -> Iterator[str]:
    path = archive_path(row.file)
    try:
        rewritten = any(row.file in erasure.archived for erasure in list_unsettled())
        if not rewritten and digest_file(path) != row.sha256:
            yield f"{row.file} is another file than the one that was written: its digest differs"
        check_archive(path, Segment(after=row.after_seq, to=row.to_seq))
        if read_frontier(row.to_seq).root.hex() != row.root:
            yield f"{row.file}: the tree does not give the root that was archived"
    except FileNotFoundError:
        yield f"{row.file} is not there"
    except (OSError, ArchiveFailed) as error:
        yield str(error)
    except LookupError:
        yield f"{row.file}: the tree's hashes up to event {row.to_seq} are not kept"


def _find_unexplained(rows: list[ArchivedSegment]) -> Iterator[str]:
    """Give the archived events whose private part is gone although no erasure says so, here or in a later archive."""
    named = read_erased()
    for row in reversed(rows):
        try:
            documents = list(_read_erasing(row))
        except (OSError, ArchiveFailed):
            continue  # told of already
        named += [numbers for document in documents for numbers in read_ranges(read_body(document["body"]))]
        lost = next(
            (seq for seq in map(itemgetter("seq"), filter(is_erased, documents)) if not is_named(seq, named)), 0
        )
        if lost:
            yield f"{row.file}: actor and body of event {lost} were taken out, and no erasure on record says so"


def _read_erasing(row: ArchivedSegment) -> Iterator[dict[str, Any]]:
    """Give of an archive what was erased, and what tells of erasures."""
    for document in iterate_archived(archive_path(row.file)):
        if is_erased(document) or document["type"] == EventType.PERSON_ERASED:
            yield document
