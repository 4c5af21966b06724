"""Files that belong to a task: results too large for a row, and copies of what skills wrote."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
from django.conf import settings

from agents.orders import KeptFile
from agents.skills.base import SkillError
from agents.skills.workspace import read_file

MAX_INLINE_BYTES = 1_000_000
MAX_COPY_BYTES = 10_000_000
FOLDER = "artifacts/tasks"
RESULT = "result.json"
MAX_NAME_CHARACTERS = 200  # of a copy; the end says what it is


def keep_result(task_id: str, result: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[KeptFile, ...]]:
    """Return the result to store in the row, and the file it went to if it is over `MAX_INLINE_BYTES`."""
    content = orjson.dumps(result)
    if len(content) <= MAX_INLINE_BYTES:
        return result, ()
    kept = _keep(task_id, RESULT, content, content_type="application/json")
    return {"artifact": kept.name, "sizeBytes": kept.size_bytes, "sha256": kept.sha256}, (kept,)


def is_kept(result: Mapping[str, Any]) -> bool:
    """Say whether a stored result only names the file that it went to."""
    return result.keys() == {"artifact", "sizeBytes", "sha256"}


def keep_written(task_id: str, paths: tuple[str, ...], *, whole: bool = False) -> tuple[KeptFile, ...]:
    """Copy what a skill wrote, so that the task shows it as it was then, and return the copies.

    A copy has its file's name, or its `whole` path as a name where a task may write several of one name.
    """
    root: Path = settings.WORKSPACE_ROOT
    return tuple(
        _keep(task_id, _name_copy(path, whole=whole), content, content_type="application/octet-stream")
        for path in paths
        if (content := _read_written(root, path)) is not None
    )


def _name_copy(path: str, *, whole: bool) -> str:
    name = path.replace("/", ".") if whole else PurePosixPath(path).name
    return f"written-{name}" if name == RESULT else name[-MAX_NAME_CHARACTERS:]


def _read_written(root: Path, path: str) -> bytes | None:
    """Return what a skill wrote, through no symlink; None if it is gone again."""
    try:
        return read_file(root, path, max_bytes=MAX_COPY_BYTES)
    except SkillError:
        return None


def _keep(task_id: str, name: str, content: bytes, *, content_type: str) -> KeptFile:
    path = Path(FOLDER) / task_id / name
    target: Path = settings.WORKSPACE_ROOT / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.write_bytes(content)
    return KeptFile(
        name=name,
        path=path.as_posix(),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type=content_type,
    )
