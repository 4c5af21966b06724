"""A private copy of a workspace folder, made through descriptors so that no link leads the copy astray."""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from agents.skills.base import LimitExceeded
from agents.skills.workspace import open_beneath, open_folder

MAX_FILES = 5_000
MAX_BYTES = 100 << 20
MAX_DEPTH = 50
LEFT_OUT = frozenset({".git", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"})


@dataclass(slots=True)
class _Tally:
    files: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.files += 1
        self.size_bytes += size_bytes
        if self.files > MAX_FILES:
            raise LimitExceeded("files", f"The target holds over {MAX_FILES:,} files. Name a smaller folder.")
        if self.size_bytes > MAX_BYTES:
            raise LimitExceeded("bytes", f"The target is over {MAX_BYTES >> 20} MB. Name a smaller folder.")


def copy_folder(workspace: Path, path: str, destination: Path) -> None:
    """Copy a folder's files, folders and links (as links); special files and caches are left out.

    Raises: LimitExceeded `files`, `bytes` or `depth`; SkillError `folder_not_found`; SkillRefused.
    """
    tally = _Tally()
    with open_folder(workspace, path) as source:
        for relative, folders, files, descriptor in os.fwalk(".", dir_fd=source):
            if relative.count("/") > MAX_DEPTH:
                raise LimitExceeded("depth", f"The target is over {MAX_DEPTH} folders deep. Name a smaller folder.")
            here = destination / relative
            here.mkdir(parents=True, exist_ok=True)
            folders[:] = [name for name in folders if name not in LEFT_OUT]
            for name in (*folders, *files):
                _copy_entry(descriptor, name, here / name, tally)


def _copy_entry(folder: int, name: str, destination: Path, tally: _Tally) -> None:
    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        tally.add(0)
        destination.symlink_to(os.readlink(name, dir_fd=folder))  # where it leads is the sandbox's to judge
    elif stat.S_ISREG(info.st_mode):
        tally.add(info.st_size)
        _copy_file(folder, name, destination)


def _copy_file(folder: int, name: str, destination: Path) -> None:
    descriptor = open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as source, destination.open("xb") as copy:
        shutil.copyfileobj(source, copy, length=1 << 20)
        os.fchmod(copy.fileno(), 0o700 if os.fstat(descriptor).st_mode & stat.S_IXUSR else 0o600)
