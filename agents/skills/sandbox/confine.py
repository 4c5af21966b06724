"""The launcher: a program of its own that locks itself in and then becomes the command.

It is started as `python -I -S confine.py SPEC` and imports the standard library only. A fork in a process
that has threads may run almost nothing safely, so the locking is done here, after exec and before the next.
A failure is written to the descriptor `status` of the spec; a successful exec closes that unwritten.

SPEC is JSON: argv, folder, start_in, readable, environment, status, strict, abi, cpu_seconds, memory_bytes,
file_bytes, open_files, processes.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from seccomp import build_filter, find_machine
else:
    from agents.skills.sandbox.seccomp import build_filter, find_machine

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 24, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
_LANDLOCK_VERSION, _LANDLOCK_PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK, REFER, TRUNCATE, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 13, 1 << 14, 1 << 15
READ_ONLY = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # all that a rule on a file may name
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


class Unavailable(Exception):
    """The kernel cannot lock this process in."""


def find_landlock_abi() -> int:
    """Return the kernel's Landlock version, 0 where there is none."""
    abi: int = _libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    return max(0, abi)


def _call(what: str, result: int) -> int:
    if result < 0:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def handled_rights(abi: int) -> tuple[int, int, int]:
    """Return the rights on files, on the network and the scopes that a Landlock version can take away."""
    files = (1 << 13) - 1
    for version, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        files |= right if abi >= version else 0
    return files, 0b11 if abi >= 4 else 0, 0b11 if abi >= 6 else 0  # bind, connect; abstract sockets, signals


def restrict_files(*, folder: str, readable: list[str], abi: int) -> None:
    """Leave this process and its children `folder` to write in, `readable` to read, and no network.

    Raises: Unavailable.
    """
    files, net, scoped = handled_rights(abi)
    attributes = _Ruleset(files, net, scoped)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call("landlock ruleset", _libc.syscall(_LANDLOCK_CREATE, ctypes.byref(attributes), size, 0))
    _allow(ruleset, folder, files & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))
    for path in readable:
        _allow(ruleset, path, READ_ONLY)
    for path in DEVICES:
        _allow(ruleset, path, READ_FILE | WRITE_FILE)
    _call("landlock", _libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    rights = rights if os.path.isdir(path) else rights & ON_FILES
    rule = _PathBeneath(rights, descriptor)
    result = _libc.syscall(_LANDLOCK_ADD, ruleset, _LANDLOCK_PATH_BENEATH, ctypes.byref(rule), 0)
    _call(f"landlock rule for {path}", result)
    os.close(descriptor)


def restrict_calls(*, abi: int) -> None:
    """Take away the system calls that lead round the other locks. Raises: Unavailable."""
    machine = find_machine()
    if machine is None:
        raise Unavailable("the system call filter knows x86-64 and arm64 only")
    steps = build_filter(machine, abi=abi)
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), instructions)
    arguments = (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)
    _call("seccomp", _libc.prctl(*arguments))


def drop_capabilities() -> None:
    """Give up every capability for good: even root is then an ordinary user that owns root's files."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the last one, or not root and nothing to drop
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def limit_resources(spec: dict[str, Any]) -> None:
    """Set the limits of one process; they are inherited and cannot be raised again."""
    for kind, amount in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, spec["cpu_seconds"]),
        (resource.RLIMIT_AS, spec["memory_bytes"]),
        (resource.RLIMIT_FSIZE, spec["file_bytes"]),
        (resource.RLIMIT_NOFILE, spec["open_files"]),
        (resource.RLIMIT_NPROC, spec["processes"]),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (bound, bound))


def confine(spec: dict[str, Any]) -> None:
    """Lock this process in. Raises: Unavailable, OSError."""
    _call("parent-death signal", _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    os.chdir(spec["start_in"])
    limit_resources(spec)
    drop_capabilities()
    _call("no_new_privs", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    abi = min(find_landlock_abi(), spec["abi"])
    if abi < 1 and spec["strict"]:
        raise Unavailable("the kernel offers no Landlock")
    if abi >= 1:
        restrict_files(folder=spec["folder"], readable=spec["readable"], abi=abi)
    if spec["strict"] or find_machine() is not None:
        restrict_calls(abi=abi)


def main() -> NoReturn:
    """Lock in and exec; report what failed on the status descriptor and leave with 125."""
    spec = json.loads(sys.argv[1])
    os.set_inheritable(spec["status"], False)
    try:
        confine(spec)
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])  # noqa: S606
    except Unavailable as error:
        os.write(spec["status"], f"unavailable: {error}".encode())
    except OSError as error:
        os.write(spec["status"], f"failed: {spec['argv'][0]}: {error.strerror}".encode())
    os._exit(125)


if __name__ == "__main__":
    main()
