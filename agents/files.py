"""Documents in and out: what users send into the workspace, and the files of a task that they fetch."""

import hashlib
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from agents.exceptions import ArtifactNotFound, FileNotKept, FileTooLarge
from agents.models import Artifact
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction

UPLOADS: Final = "uploads"
MAX_NAME_LENGTH: Final = 80
_CHUNK: Final = 1 << 18
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


# --- in -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedDocument:
    """A document that was put into the workspace; `path` is relative to its root."""

    file_id: str
    path: str
    size_bytes: int
    sha256: str


def store_upload(uploaded_file: "UploadedFile[Any]", *, actor: str, now: datetime) -> UploadedDocument:
    """Put an upload into `uploads/`, under a name of its own, with its audit event.

    Raises: FileTooLarge, FileNotKept.
    """
    limit: int = settings.MAX_UPLOAD_BYTES
    if (uploaded_file.size or 0) > limit:
        raise FileTooLarge(limit)
    file_id = new_id()
    path = f"{UPLOADS}/{file_id[-8:]}-{safe_name(uploaded_file.name or '')}"
    try:
        size, digest = _write(path, uploaded_file)
    except OSError as error:
        raise FileNotKept(os.strerror(error.errno or 0)) from error
    document = UploadedDocument(file_id=file_id, path=path, size_bytes=size, sha256=digest)
    try:
        _record_upload(document, name=uploaded_file.name or "", actor=actor, now=now)
    except BaseException:  # no document without its event
        (settings.WORKSPACE_ROOT / path).unlink(missing_ok=True)
        raise
    return document


def safe_name(name: str) -> str:
    """Return a file's name in letters, digits, dots, dashes and underscores, its end kept; never hidden or empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().replace("\\", "/").rsplit("/", 1)[-1]
    cleaned = _UNSAFE.sub("_", plain).strip("._-") or "document"
    stem, dot, ending = cleaned.rpartition(".")
    if not dot or len(ending) > 10:
        return cleaned[:MAX_NAME_LENGTH]
    return f"{stem[: MAX_NAME_LENGTH - len(ending) - 1]}.{ending}"


def _write(path: str, uploaded_file: "UploadedFile[Any]") -> tuple[int, str]:
    """Write the file whole or not at all, for its owner only; return its size and digest."""
    target: Path = settings.WORKSPACE_ROOT / path
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    digest, size = hashlib.sha256(), 0
    try:
        with open(temporary, "xb", opener=_open_privately) as file:
            for chunk in uploaded_file.chunks(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return size, digest.hexdigest()


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _record_upload(document: UploadedDocument, *, name: str, actor: str, now: datetime) -> None:
    body = {
        "fileId": document.file_id,
        "path": document.path,
        "sizeBytes": document.size_bytes,
        "sha256": document.sha256,
        "sentAs": ascii(name)[1:-1][:120],
    }
    with write_transaction():
        record(Event(type=EventType.FILE_UPLOADED, at=now, actor=actor, body=body))


# --- out ------------------------------------------------------------------------------------------------------
def open_artifact(artifact: Artifact, *, actor: str, now: datetime) -> BinaryIO:
    """Open a file of a task from its beginning, with its audit event, if it still is what the task wrote.

    Raises: ArtifactNotFound.
    """
    file = _open_unchanged(artifact)
    try:
        _record_read(artifact, actor=actor, now=now)
    except BaseException:
        file.close()
        raise
    return file


def _open_unchanged(artifact: Artifact) -> BinaryIO:
    root = Path(settings.WORKSPACE_ROOT).resolve()
    path = (root / artifact.path).resolve()
    if not path.is_relative_to(root):
        raise ArtifactNotFound(artifact.task_id, changed=True)
    try:
        file = open(path, "rb", opener=_open_plainly)  # noqa: SIM115  (handed out open)
    except OSError as error:
        raise ArtifactNotFound(artifact.task_id, changed=True) from error
    # The skills of other tasks may write here too: what is handed out is what this task wrote, or nothing.
    if hashlib.file_digest(file, "sha256").hexdigest() != artifact.sha256:
        file.close()
        raise ArtifactNotFound(artifact.task_id, changed=True)
    file.seek(0)
    return file


def _open_plainly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _record_read(artifact: Artifact, *, actor: str, now: datetime) -> None:
    task = artifact.task
    event = Event(
        type=EventType.ARTIFACT_READ,
        at=now,
        actor=actor,
        task_id=task.id,
        agent_id=task.agent_id,
        skill_id=task.skill_id,
        body={"name": artifact.name, "sha256": artifact.sha256, "sizeBytes": artifact.size_bytes},
    )
    with write_transaction():
        record(event)
