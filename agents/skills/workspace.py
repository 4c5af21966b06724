"""Files of the workspace, and nothing else: every path is resolved and opened under one root.

A path is checked twice. `resolve` turns what a caller wrote into a real path relative to the root, which the
gate judges. The open that follows refuses every symlink, so what is opened is what was judged, whoever
changes the tree in between.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agents.skills.base import LimitExceeded, SkillError, SkillRefused

MAX_PATH_CHARACTERS = 1_024
MAX_NAME_CHARACTERS = 255
ENCODED_SEPARATORS = ("%2e", "%2f", "%5c", "%00")

_OPENAT2 = 437  # the same number on every architecture
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One entry of a folder; symlinks and special files are never listed."""

    name: str
    path: str  # relative to the root
    is_folder: bool
    size_bytes: int


def resolve(root: Path, path: str, *, reason: str = "read_path") -> str:
    """Return the real path that `path` names, relative to the root, "/"-separated; "." is the root itself.

    The file need not exist. Nothing is decoded: `%2e%2e` is refused, not interpreted.
    Raises: SkillRefused with `reason` where the path cannot be inside the workspace.
    """
    problem = _find_problem(path)
    if problem:
        raise SkillRefused(reason, f"The path {path[:200]!r} was refused: {problem}. Nothing was opened.")
    base = os.path.realpath(root)
    real = os.path.realpath(os.path.join(base, path))
    if real != base and not real.startswith(base + os.sep):
        raise SkillRefused(reason, f"The path {path[:200]!r} leads out of the workspace. Nothing was opened.")
    return os.path.relpath(real, base)


def _find_problem(path: str) -> str:
    parts = path.split("/")
    problems = {
        f"a path has 1 to {MAX_PATH_CHARACTERS} characters": not 1 <= len(path) <= MAX_PATH_CHARACTERS,
        # isprintable is false for NUL, line ends, zero-width characters and lone surrogates
        "it holds a control character, an invisible character or a backslash": not path.isprintable() or "\\" in path,
        "it holds a percent-encoded separator": any(code in path.lower() for code in ENCODED_SEPARATORS),
        "a path is relative to the workspace": path.startswith(("/", "~")),
        "it climbs with '..'": ".." in parts,
        f"a name in it is over {MAX_NAME_CHARACTERS} characters": max(map(len, parts)) > MAX_NAME_CHARACTERS,
    }
    return next((problem for problem, is_so in problems.items() if is_so), "")


def is_within(path: str, scopes: tuple[str, ...]) -> bool:
    """Say whether a resolved path lies in one of the scopes; "" is the whole workspace, no scope is nothing."""
    return any(scope in ("", ".") or path == scope or path.startswith(scope.rstrip("/") + "/") for scope in scopes)


def require_within(path: str, scopes: tuple[str, ...], *, reason: str) -> None:
    """Raise SkillRefused with `reason` unless a resolved path lies in one of the scopes."""
    if not is_within(path, scopes):
        raise SkillRefused(reason, f"{path!r} is outside the folders that the rules allow. Nothing was opened.")


@contextmanager
def open_root(root: Path) -> Iterator[int]:
    """Yield a descriptor of the workspace root."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_beneath(folder: int, path: str, flags: int) -> int:
    """Open a relative path under a folder's descriptor, through no symlink and never above it.

    Raises: OSError; ELOOP for a symlink, EXDEV for a way out.
    """
    descriptor = _openat2(folder, path, flags | os.O_CLOEXEC)
    return _walk(folder, path, flags | os.O_CLOEXEC) if descriptor is None else descriptor


def _openat2(folder: int, path: str, flags: int) -> int | None:
    how = _OpenHow(flags, 0, _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH)
    for _ in range(8):  # EAGAIN: something was renamed while the kernel walked
        descriptor: int = _libc.syscall(_OPENAT2, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container's filter that knows no openat2
            return None
        if number != errno.EAGAIN:
            break
    raise OSError(number, os.strerror(number), path)


def _walk(folder: int, path: str, flags: int) -> int:
    """Do what openat2 does, one component at a time."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    current = os.dup(folder)
    try:
        for part in parts[:-1]:
            deeper = _open_component(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, current)
            os.close(current)
            current = deeper
        return _open_component(parts[-1] if parts else ".", flags, current)
    finally:
        os.close(current)


def _open_component(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except NotADirectoryError:  # what O_DIRECTORY | O_NOFOLLOW says of a symlink
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


@contextmanager
def open_folder(root: Path, path: str) -> Iterator[int]:
    """Yield a descriptor of a folder of the workspace.

    Raises: SkillError `folder_not_found`, SkillRefused `read_path`.
    """
    with open_root(root) as base:
        try:
            descriptor = open_beneath(base, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise translate_error(error, path, missing="folder_not_found") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(root: Path, path: str, *, max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises: SkillError `file_not_found` or `not_a_file`, LimitExceeded `bytes`, SkillRefused `read_path`.
    """
    with open_root(root) as base:
        return read_beneath(base, path, max_bytes=max_bytes)


def read_beneath(folder: int, path: str, *, max_bytes: int) -> bytes:
    """Return the content of a regular file under a folder's descriptor; raises as `read_file` does."""
    try:
        descriptor = open_beneath(folder, path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not hold us
    except OSError as error:
        raise translate_error(error, path) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SkillError("not_a_file", f"{path!r} is not a regular file. Name a file.")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise LimitExceeded("bytes", f"{path!r} is over the limit of {max_bytes:,} bytes. Nothing was kept.")
    return content


def find_beneath(folder: int, path: str, *, max_bytes: int) -> bytes | None:
    """Return the content of a regular file under a folder's descriptor, None if there is none."""
    try:
        return read_beneath(folder, path, max_bytes=max_bytes)
    except SkillError as error:
        if error.code == "file_not_found":
            return None
        raise


def list_folder(root: Path, path: str = ".", *, max_entries: int = 1_000) -> list[FileEntry]:
    """Return the files and folders in a folder, sorted by name, at most `max_entries`."""
    with open_folder(root, path) as folder, os.scandir(folder) as found:
        entries = []
        for entry in found:
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode):
                entries.append(_describe(path, entry.name, info))
            if len(entries) >= max_entries:
                break
    return sorted(entries, key=lambda entry: entry.name)


def _describe(folder: str, name: str, info: os.stat_result) -> FileEntry:
    path = name if folder in ("", ".") else f"{folder}/{name}"
    is_folder = stat.S_ISDIR(info.st_mode)
    return FileEntry(name=name, path=path, is_folder=is_folder, size_bytes=0 if is_folder else info.st_size)


@contextmanager
def lock_folder_of(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """Hold the lock of the folder that holds `path`; yield the folder's descriptor and the file's name.

    Every process that changes a file there goes through this lock, so that no change is lost between a read
    and a write.
    """
    parent, _, name = path.rpartition("/")
    with open_folder(root, parent or ".") as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)  # given back when the descriptor is closed
        yield folder, name


def replace_file(folder: int, name: str, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, flushed, then renamed over it.

    Keeps the permissions of the file it replaces; a new file is readable by its owner only.
    """
    temporary = f".{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _copy_permissions(folder, name, descriptor)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


def _copy_permissions(folder: int, name: str, descriptor: int) -> None:
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISREG(info.st_mode):
        os.fchmod(descriptor, stat.S_IMODE(info.st_mode) & 0o777)


def translate_error(
    error: OSError, path: str, *, missing: str = "file_not_found", reason: str = "read_path"
) -> SkillError:
    """Return what an operating system error on a path means to a caller."""
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return SkillRefused(reason, f"{path!r} is or became a link that leads elsewhere. Nothing was opened.")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return SkillError(missing, f"There is no {path!r} in the workspace. Check the path, or upload the file first.")
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return SkillError("not_a_file", f"{path!r} is not a regular file. Name a file.")
    return SkillError("file_unreadable", f"{path!r} could not be opened: {os.strerror(error.errno or 0)}.")
