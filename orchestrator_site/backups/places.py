"""What a backup holds, and where that belongs.

The ledger in the state store is the truth; the audit store's copy is made of it again and is left out. A copy is taken
while everything goes on, so the order counts: checkpoints before the ledger that they speak of, or the copy would look
cut short; the ledger before the archives, or events that move meanwhile would be in neither; rows before the files of
the workspace that they name.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from django.conf import settings

MANIFEST: Final = "manifest.json"
SQLITE: Final = "state.sqlite3"
DUMP: Final = "state.dump"  # of PostgreSQL, in pg_dump's own format
CHECKPOINTS, ARCHIVES, WORKSPACE, KEYS = "checkpoints", "archives", "workspace", "keys"
SESSION_KEY: Final = "secret_key"
_PIECE: Final = 1 << 20


@contextmanager
def private_files() -> Iterator[None]:
    """Make what is made inside for its owner only, by whichever program."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def list_folders() -> dict[str, Path]:
    """Return where each folder of a backup belongs, but the keys'."""
    return {
        CHECKPOINTS: settings.AUDIT_CHECKPOINT_DIR,
        ARCHIVES: settings.AUDIT_ARCHIVE_DIR,
        WORKSPACE: settings.WORKSPACE_ROOT,
    }


def list_keys() -> dict[str, Path]:
    """Return where each key is that this installation keeps itself, and what says which came before, by its name."""
    beside = settings.AUDIT_KEY_FILE.parent.iterdir() if settings.AUDIT_KEY_FILE.parent.is_dir() else ()
    found = (settings.VAR / SESSION_KEY, *sorted(beside))
    return {file.name: file for file in found if file.is_file()}


def find_key(name: str) -> Path:
    """Return where the key of this name belongs."""
    return Path(settings.VAR if name == SESSION_KEY else settings.AUDIT_KEY_FILE.parent, name)


def walk(folder: Path) -> Iterator[Path]:
    """Give the regular files below a folder, by name; links are not followed and not copied."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        files = (Path(place, name) for name in sorted(names))
        yield from (file for file in files if file.is_file() and not file.is_symlink())


def copy_file(source: Path, target: Path) -> str:
    """Copy a file, for its owner only, whole or not at all; return its SHA-256 in hex. Raises: OSError."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, digest = target.with_name(f".{target.name}.part"), hashlib.sha256()
    with (
        source.open("rb") as read,
        os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as write,
    ):
        while piece := read.read(_PIECE):
            digest.update(piece)
            write.write(piece)
        write.flush()
        os.fsync(write.fileno())
    part.replace(target)
    return digest.hexdigest()


def digest_of(file: Path) -> str:
    """Return a file's SHA-256 in hex. Raises: OSError."""
    with file.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()
