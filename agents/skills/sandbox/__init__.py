"""Run one command locked in: its own folder to write in, no network, bounded, and killed whole at its time.

Three locks: Landlock judges files, a system call filter takes away what goes round it, resource limits bound
one process. A watcher in the server bounds all of them together. What remains open: a locked-in program can
learn that a file exists and how large it is, and `chmod` or `utime` tell it "done" and do nothing.
"""

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agents.skills.base import LimitExceeded, SkillError, SkillStopped
from agents.skills.sandbox.confine import find_landlock_abi
from agents.skills.sandbox.seccomp import find_machine
from agents.skills.sandbox.watch import Bounds, count_user_threads, find_disk_excess, find_excess, remove_folder

LAUNCHER = Path(__file__).with_name("confine.py")
SYSTEM_FOLDERS = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/libexec", "/usr/share", "/usr/local/bin", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime",
    "/nix/store",
)  # fmt: skip
PREFIX_FOLDERS = ("bin", "lib", "lib64", "include", "share", "pyvenv.cfg")

LOOK_SECONDS = 0.1
DISK_TURNS = 10
_NEWEST_ABI = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command and its bounds."""

    argv: tuple[str, ...]  # the program by its absolute path
    folder: Path  # the only place it may write; its home and its place for temporary files
    timeout_seconds: float
    start_in: str = "."  # where in `folder` it starts
    readable: tuple[str, ...] = ()  # besides the system's programs and the interpreter
    memory_bytes: int = 2 << 30  # of address space, one process
    file_bytes: int = 64 << 20  # one file
    open_files: int = 256
    output_bytes: int = 256 << 10  # of each stream; the tail is kept
    bounds: Bounds = field(default_factory=Bounds)  # of all its processes together
    should_stop: Callable[[], bool] = field(default=lambda: False)
    strict: bool = True  # refuse to run where the kernel cannot lock it in
    landlock_abi: int = _NEWEST_ABI  # tests lower it to see the older kernels' locks


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended."""

    exit_code: int  # negative: the signal that ended it
    stdout: bytes
    stderr: bytes
    stdout_cut: bool
    stderr_cut: bool
    duration_ms: int


def sandbox_status() -> tuple[bool, str]:
    """Say whether commands can be locked in here, and by what or why not."""
    abi = find_landlock_abi()
    if find_machine() is None:
        return False, "The system call filter knows x86-64 and arm64 Linux only; testRunner refuses to run."
    if abi < 1:
        return False, "This kernel offers no Landlock (Linux 5.13 or newer, enabled); testRunner refuses to run."
    return True, f"Landlock {abi}, seccomp, resource limits and a wall-clock kill."


def run_confined(command: Command) -> Outcome:
    """Run a command to its end and return what came of it. Every process it started is dead by then.

    Raises: SkillError `sandbox_unavailable` or `command_not_started`, SkillStopped, LimitExceeded `time`,
    `processes`, `memory`, `files` or `disk`.
    """
    started = time.monotonic()
    status_read, status_write = os.pipe()
    try:
        process = _start(command, status_write)
    finally:
        os.close(status_write)
    with process, os.fdopen(status_read, "rb") as status:
        tails = [_Tail(stream, command.output_bytes) for stream in (process.stdout, process.stderr) if stream]
        try:
            _await_end(process.pid, command, until=started + command.timeout_seconds)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the leader is not reaped yet, so the group is still ours
            process.wait()
            stdout, stderr = (tail.finish() for tail in tails)
        _check_started(status.read(1_000).decode(errors="replace"))
    return Outcome(
        exit_code=process.returncode,
        stdout=stdout.content,
        stderr=stderr.content,
        stdout_cut=stdout.cut,
        stderr_cut=stderr.cut,
        duration_ms=round((time.monotonic() - started) * 1000),
    )


def _start(command: Command, status: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(_describe(command, status))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=(status,),
            start_new_session=True,
        )
    except OSError as error:
        raise SkillError("sandbox_unavailable", f"The sandbox could not be started: {error.strerror}.") from None


def _describe(command: Command, status: int) -> dict[str, object]:
    return {
        "argv": command.argv,
        "folder": os.path.realpath(command.folder),
        "start_in": os.path.join(os.path.realpath(command.folder), command.start_in),
        "readable": [*SYSTEM_FOLDERS, *interpreter_folders(), *command.readable],
        "environment": _build_environment(command.folder),
        "status": status,
        "strict": command.strict,
        "abi": command.landlock_abi,
        "cpu_seconds": int(command.timeout_seconds * (os.cpu_count() or 1)) + 2,
        "memory_bytes": command.memory_bytes,
        "file_bytes": command.file_bytes,
        "open_files": command.open_files,
        "processes": count_user_threads() + command.bounds.processes,
    }


def interpreter_folders() -> list[str]:
    """Return what the running interpreter needs to read, and not the folder that its environment lies in."""
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))
    return [os.path.join(prefix, name) for prefix in prefixes for name in PREFIX_FOLDERS]


def program_path() -> str:
    """Return where programs are looked for: beside the running interpreter, then the system's."""
    return os.pathsep.join((os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin"))


def _build_environment(folder: Path) -> dict[str, str]:
    home = os.path.realpath(folder)
    return {
        "PATH": program_path(),
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
    }


def _await_end(pid: int, command: Command, *, until: float) -> None:
    watched = os.pidfd_open(pid)
    try:
        for turn in itertools.count(1):
            left = until - time.monotonic()
            if left <= 0:
                message = f"The command was stopped after {command.timeout_seconds:g} s. Nothing of it runs on."
                raise LimitExceeded("time", message)
            if select.select([watched], [], [], min(left, LOOK_SECONDS))[0]:
                return
            if command.should_stop():
                raise SkillStopped
            excess = find_excess(pid, command.bounds)
            if not excess and turn % DISK_TURNS == 0:
                excess = find_disk_excess(command.folder, command.bounds)
            if excess:
                raise excess
    finally:
        os.close(watched)


def _check_started(report: str) -> None:
    kind, _, detail = report.partition(": ")
    if kind == "unavailable":
        raise SkillError("sandbox_unavailable", f"The sandbox could not be set up, so nothing was run: {detail}.")
    if kind == "failed":
        raise SkillError("command_not_started", f"The command could not be started: {detail}.")


class _Tail:
    """Reads a stream to its end in a thread and keeps the last bytes of it."""

    def __init__(self, stream: IO[bytes], keep_bytes: int):
        self._stream = stream
        self._keep_bytes = keep_bytes
        self._buffer = bytearray()
        self.cut = False
        self._thread = threading.Thread(target=self._read, name="sandbox-output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while block := os.read(self._stream.fileno(), 65_536):
            self._buffer += block
            if len(self._buffer) > 2 * self._keep_bytes:
                self._shorten()

    def _shorten(self) -> None:
        self.cut = self.cut or len(self._buffer) > self._keep_bytes
        del self._buffer[: -self._keep_bytes]

    def finish(self) -> "_Tail":
        self._thread.join()
        self._shorten()
        return self

    @property
    def content(self) -> bytes:
        return bytes(self._buffer)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can enter; it is removed afterwards, whatever is in it."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-sandbox-"))
    try:
        yield folder
    finally:
        remove_folder(folder)
