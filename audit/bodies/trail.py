"""What the bodies of events about the trail itself hold. PURE."""

from typing import Any, NotRequired, TypedDict


class TrailVerified(TypedDict, total=False):
    after: int  # the numbers after < seq <= to
    to: int
    checked: int
    holds: bool
    findings: list[str] | int
    where: str
    runId: str  # of one that was ordered in the console: told when it is ordered and when it ends
    stage: str
    firstSeq: int
    lastSeq: int
    problems: list[str]


class TrailExported(TypedDict, total=False):
    after: int
    to: int
    format: str
    events: int
    checkpoint: int  # of a bundle: the size that it is proven against
    source: str
    redacted: bool
    exportId: str  # of one that was ordered in the console: told when it is ordered and when it ends
    stage: str
    filters: dict[str, Any]
    sha256: str  # of all its lines but the last


class BackupMade(TypedDict):
    events: int  # numbered when it was begun


class BackupRestored(BackupMade):
    madeAt: str


class TrailArchived(TypedDict):
    after: int  # the numbers after < seq <= to
    to: int
    root: str  # of the log's first `to` events
    file: str  # in the archives' folder
    sha256: str  # of the file, until an erasure rewrites it


class KeyRotated(TypedDict):
    oldKey: str
    newKey: str
    size: NotRequired[int]  # of the log, when it was changed


class PersonErased(TypedDict):
    subject: str  # a random name: nobody can tell who it was
    reason: str
    events: int
    ranges: list[str]  # their numbers: "3", "5-9"
    archives: list[str]  # files that were written anew
    transcripts: int  # tasks whose transcripts are gone
