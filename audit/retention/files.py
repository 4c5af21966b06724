"""One archive as a file: an export bundle of its segment, which the auditor's program checks as any other."""

import gzip
import os
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from audit.bundles.bundle import prepare_bundle, write_bundle
from audit.exceptions import ArchiveFailed
from audit.ids import collect_ids
from audit.proof.rotation import trusted_keys
from audit.retention.archives import Segment

BLANK: Final[dict[str, Any]] = {"actor": None, "body": None, "salt": None}


def write_archive(path: Path, segment: Segment) -> None:
    """Write the events of a segment with all that proves them, under the newest checkpoint. Raises: OSError."""
    bundle = prepare_bundle(after=segment.after, to=segment.to, made_by="system")
    with open(path, "wb", opener=_private) as file:
        write_bundle(file, bundle)


def rewrite_archive(source: Path, target: Path, *, erased: Collection[int]) -> None:
    """Write an archive anew without the private parts of the events numbered so. Raises: OSError; ArchiveFailed."""
    digest = sha256()
    with open(target, "wb", opener=_private) as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        for line in _read_lines(source):
            if line.startswith(b'{"end":'):
                packed.write(orjson.dumps({"end": digest.hexdigest()}, option=orjson.OPT_APPEND_NEWLINE))
                return
            kept = _blank(line) if _find_seq(line) in erased else line
            digest.update(kept)
            packed.write(kept)


def _find_seq(line: bytes) -> int:
    """Return the number of the event in a line, 0 if it is another line."""
    return int(orjson.loads(line)["event"]["seq"]) if line.startswith(b'{"event":') else 0


def _blank(line: bytes) -> bytes:
    """Return an event's line without its private part; a leaf is flat, so its end cannot stand in a string of it."""
    leaf, divider, rest = line.partition(b',"hash":"')
    return leaf + divider + rest.partition(b'"')[0] + b'","private":null}\n'


def iterate_archived(path: Path) -> Iterator[dict[str, Any]]:
    """Give the documents of an archive, in order, as the store held them. Raises: OSError; ArchiveFailed."""
    for line in _read_lines(path):
        if line.startswith(b'{"event":'):
            yield _to_document(orjson.loads(line))


def _to_document(line: dict[str, Any]) -> dict[str, Any]:
    event, private = line["event"], line["private"]
    document = {"_id": event.pop("id"), **event, "hash": line["hash"]}
    if private is None:
        document |= BLANK
    else:
        body = orjson.dumps(private["body"], option=orjson.OPT_SORT_KEYS).decode()
        document |= {"actor": private["actor"], "salt": private["salt"], "body": body}
    return document | {"ids": collect_ids(document)}


def check_archive(path: Path, segment: Segment) -> None:
    """See that a file holds exactly the events of a segment, and that a checkpoint signed by a known key covers them.

    Raises: OSError; ArchiveFailed.
    """
    header = orjson.loads(next(_read_lines(path), b"{}"))
    if (header.get("after"), header.get("to")) != (segment.after, segment.to):
        raise ArchiveFailed(f"the archive {path} does not hold {segment}")
    if problem := _find_problem(path):
        raise ArchiveFailed(f"the archive {path} is damaged: {problem}")


def _find_problem(path: Path) -> str:
    """Return what the auditor's program says first against a bundle, empty if it holds."""
    from audit.bundles import verify_trail

    findings = verify_trail.Findings()
    keys = verify_trail.Keys(verify_trail.read_key(str(trusted.key)) for trusted in trusted_keys())
    try:
        with gzip.open(path, "rb") as file:
            verify_trail.check_bundle(file, keys, [], findings)
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, verify_trail.Stop) as error:
        return findings[0] if findings else str(error)
    return findings[0] if findings else ""


def _read_lines(path: Path) -> Iterator[bytes]:
    with _damage_told(path), gzip.open(path, "rb") as packed:
        yield from packed


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ArchiveFailed(f"the archive {path} is damaged: {error}") from error


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
