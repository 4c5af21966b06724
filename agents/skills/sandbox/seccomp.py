"""The filter of system calls, as a classic BPF program. Standard library only; no libseccomp is needed.

Landlock judges the opening of files. This takes away what goes round it: sockets of any kind (a path-named
UNIX socket reaches Docker and D-Bus), changes of modes, owners and times by path, other processes' memory and
limits, namespaces, mounts, kernel interfaces, io_uring (which calls without calling), and leaving the process
group, which is how everything started here is found and killed.
"""

import errno
import platform
import struct
from dataclasses import dataclass, field
from enum import IntEnum

Step = tuple[int, int, int, int]  # code, jump if true, jump if false, constant

ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
_PRETEND = _ERRNO  # errno 0: the call returns success and does nothing
_REFUSE = _ERRNO | errno.EPERM
_ABSENT = _ERRNO | errno.ENOSYS

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_AT_LEAST = 0x15, 0x35
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32_BIT = 0x40000000

_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* that fits clone's flags
_O_ACCMODE, _O_TRUNC = 0o3, 0o1000
_AF_UNIX, _SOCK_STREAM, _SOCK_MASK = 1, 1, 0xF


class Column(IntEnum):
    """Where a machine's number stands in the tables."""

    X86_64 = 0
    ARM64 = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A processor whose system call numbers are known."""

    column: Column
    audit_architecture: int


@dataclass(slots=True)
class _Assembler:
    steps: list[Step] = field(default_factory=list)

    def add(self, code: int, constant: int, *, then: int = 0, otherwise: int = 0) -> None:
        self.steps.append((code, then, otherwise, constant))

    def answer(self, number: int, action: int) -> None:
        """Answer a call with an action."""
        self.add(_JUMP_EQUAL, number, otherwise=1)
        self.add(_RETURN, action)

    def answer_when(self, number: int, action: int, *, argument: int, mask: int, equals: int, negate: bool) -> None:
        """Answer a call whose argument, masked, is (or with `negate` is not) a value."""
        self.add(_JUMP_EQUAL, number, otherwise=5)
        self.add(_LOAD, _ARGUMENTS + 8 * argument)
        self.add(_AND, mask)
        self.add(_JUMP_EQUAL, equals, then=int(negate), otherwise=int(not negate))
        self.add(_RETURN, action)
        self.add(_LOAD, _NUMBER)


MACHINES = {
    "x86_64": Machine(column=Column.X86_64, audit_architecture=0xC000003E),
    "aarch64": Machine(column=Column.ARM64, audit_architecture=0xC00000B7),
}

# Names with their numbers on x86-64 and arm64; None where the machine has no such call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "bind": (49, 200), "connect": (42, 203), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "acct": (163, 89), "fanotify_init": (300, 262),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "syslog": (103, 116), "vhangup": (153, 58),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
}  # fmt: skip

# Landlock does not judge these, and a file of the server's own is named as easily as one of the test's. Copying
# tools call them on every file, so they are told "done".
PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "file_setattr": (469, 469),
    "setsid": (112, 157), "setpgid": (109, 154),
}  # fmt: skip

ABSENT: dict[str, tuple[int | None, int | None]] = {"clone3": (435, 435)}  # its flags lie behind a pointer

# Landlock keeps signals inside from version 6 on. Before that, a test could kill the server.
SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}  # fmt: skip

_CLONE, _SOCKETPAIR, _PRLIMIT = (56, 220), (53, 199), (302, 261)
_OPEN, _OPENAT, _OPENAT2, _TRUNCATE = (2, None), (257, 56), (437, 437), (76, 45)


def find_machine() -> Machine | None:
    """Return the machine this runs on, None where its numbers are not known."""
    return MACHINES.get(platform.machine()) if struct.calcsize("P") == 8 else None


def build_filter(machine: Machine, *, abi: int) -> list[Step]:
    """Return the program for a machine and a Landlock version: what Landlock lacks there is refused here."""
    code = _Assembler()
    code.add(_LOAD, _ARCHITECTURE)
    code.add(_JUMP_EQUAL, machine.audit_architecture, then=1)
    code.add(_RETURN, _KILL)
    code.add(_LOAD, _NUMBER)
    if machine.column is Column.X86_64:
        code.add(_JUMP_AT_LEAST, _X32_BIT, otherwise=1)
        code.add(_RETURN, _REFUSE)
    tables = [(REFUSED, _REFUSE), (PRETENDED, _PRETEND), (ABSENT, _ABSENT)]
    tables += [(SIGNALS, _REFUSE)] if abi < 6 else []
    for table, action in tables:
        for numbers in table.values():
            number = numbers[machine.column]
            if number is not None:
                code.answer(number, action)
    _answer_by_argument(code, machine.column, abi=abi)
    code.add(_RETURN, ALLOW)
    return code.steps


def _answer_by_argument(code: _Assembler, column: Column, *, abi: int) -> None:
    everything = 0xFFFFFFFF
    for bit in (1 << place for place in range(32) if _NEW_NAMESPACES >> place & 1):
        code.answer_when(_CLONE[column], _REFUSE, argument=0, mask=bit, equals=bit, negate=False)
    code.answer_when(_SOCKETPAIR[column], _REFUSE, argument=0, mask=everything, equals=_AF_UNIX, negate=True)
    # A datagram socket of a pair could still send to a named one.
    code.answer_when(_SOCKETPAIR[column], _REFUSE, argument=1, mask=_SOCK_MASK, equals=_SOCK_STREAM, negate=True)
    code.answer_when(_PRLIMIT[column], _REFUSE, argument=0, mask=everything, equals=0, negate=True)
    if abi < 3:
        _refuse_truncation(code, column)


def _refuse_truncation(code: _Assembler, column: Column) -> None:
    """Refuse to shorten files by name: Landlock judges that from version 3 on."""
    code.answer(_TRUNCATE[column], _REFUSE)
    code.answer(_OPENAT2[column], _ABSENT)
    mask = _O_ACCMODE | _O_TRUNC
    for call, argument in ((_OPEN, 1), (_OPENAT, 2)):
        number = call[column]
        if number is not None:
            code.answer_when(number, _REFUSE, argument=argument, mask=mask, equals=_O_TRUNC, negate=False)
