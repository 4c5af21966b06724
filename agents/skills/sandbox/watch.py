"""What all processes of one command use together, read from outside; resource limits bound each alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agents.skills.base import LimitExceeded

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most that one command's processes may use together."""

    processes: int = 256  # threads count
    memory_bytes: int = 1 << 30  # resident
    files: int = 20_000
    disk_bytes: int = 512 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProcessStat:
    group: int
    threads: int
    resident_bytes: int


def find_excess(group: int, bounds: Bounds) -> LimitExceeded | None:
    """Return the bound that a process group is over, None while it is within all."""
    members = [stat for stat in _list_processes() if stat.group == group]
    threads = sum(stat.threads for stat in members)
    if threads > bounds.processes:
        return _exceeded("processes", f"{bounds.processes} processes and threads")
    if sum(stat.resident_bytes for stat in members) > bounds.memory_bytes:
        return _exceeded("memory", f"{bounds.memory_bytes >> 20} MB of memory")
    return None


def _exceeded(limit: str, bound: str) -> LimitExceeded:
    return LimitExceeded(limit, f"The command was stopped: it used more than {bound}. Nothing of it runs on.")


def _list_processes() -> Iterator[_ProcessStat]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            yield _ProcessStat(
                group=int(fields[2]), threads=int(fields[17]), resident_bytes=int(fields[21]) * _PAGE_BYTES
            )


def count_user_threads() -> int:
    """Return how many threads this user has: the limit on processes counts them all."""
    user, count = os.getuid(), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


def find_disk_excess(folder: Path, bounds: Bounds) -> LimitExceeded | None:
    """Return the bound on files that a folder is over, None while it is within both."""
    files = used = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    if files > bounds.files:
                        return _exceeded("files", f"{bounds.files} files")
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        used += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # removed meanwhile, unreadable or too deep: its size is bounded by the count above it
    return _exceeded("disk", f"{bounds.disk_bytes >> 20} MB of files") if used > bounds.disk_bytes else None


def remove_folder(folder: Path) -> None:
    """Remove a folder that a hostile program filled: unreadable folders and great depth included."""
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o700)
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        subprocess.run(["rm", "-rf", "--", str(folder)], check=False, capture_output=True)
