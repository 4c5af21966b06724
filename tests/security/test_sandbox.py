"""The sandbox: a hostile program, run for real, reaches nothing but its own folder and outlives nothing."""

import json
import os
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.skills.base import LimitExceeded, SkillError, SkillStopped
from agents.skills.sandbox import (
    Command,
    Outcome,
    confine,
    interpreter_folders,
    run_confined,
    sandbox_status,
    scratch_folder,
    seccomp,
)
from agents.skills.sandbox.watch import Bounds, remove_folder

# What the sandbox does without: Landlock 1 knows no truncation, no network and no signals; 6 knows them all.
VERSIONS = [1, 2, 3, 5, 99]


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch_folder() as path:
        yield path


def run(folder: Path, code: str, **options: Any) -> Outcome:
    argv = (sys.executable, "-c", textwrap.dedent(code))
    return run_confined(Command(argv=argv, folder=folder, **{"timeout_seconds": 10, **options}))


def attempt(folder: Path, *statements: str, **options: Any) -> list[str]:
    """Run each statement by itself; return for each what its expression gave or the error it met."""
    code = f"""
        import ctypes, json, os, resource, signal, socket, subprocess, sys, time
        results = []
        for statement in {list(statements)!r}:
            try:
                results.append(repr(eval(statement)))
            except OSError as error:
                results.append(f"errno {{error.errno}}")
            except Exception as error:
                results.append(type(error).__name__)
        print(json.dumps(results))
    """
    outcome = run(folder, code, **options)
    assert outcome.exit_code == 0, outcome.stderr.decode()
    results: list[str] = json.loads(outcome.stdout)
    return results


DENIED = ("errno 1", "errno 13")


def test_it_is_available_here() -> None:
    available, detail = sandbox_status()
    assert available, detail


class TestFiles:
    @pytest.mark.parametrize("abi", VERSIONS)
    def test_it_reads_and_changes_nothing_outside(self, folder: Path, tmp_path: Path, abi: int) -> None:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        secret.chmod(0o640)
        before = secret.stat()
        (folder / "link").symlink_to(secret)
        results = attempt(
            folder,
            f"open({str(secret)!r}).read()",
            "open('link').read()",
            f"open({str(secret)!r}, 'w')",
            f"open({str(secret)!r}, 'a')",
            f"os.truncate({str(secret)!r}, 0)",
            f"os.open({str(secret)!r}, os.O_RDONLY | os.O_TRUNC)",
            f"os.open({str(secret)!r}, os.O_WRONLY)",
            f"os.unlink({str(secret)!r})",
            f"os.rename({str(secret)!r}, 'taken')",
            f"os.listdir({str(tmp_path)!r})",
            f"os.mkdir({str(tmp_path / 'new')!r})",
            f"os.symlink('x', {str(tmp_path / 'new')!r})",
            f"os.chown({str(secret)!r}, 0, 0)",
            f"os.setxattr({str(secret)!r}, 'user.x', b'x')",
            "open('/etc/passwd').read()",
            "open('/proc/1/environ').read()",
            "open(f'/proc/{os.getppid()}/environ').read()",
            "os.mknod('device', 0o20666, os.makedev(1, 3))",
            landlock_abi=abi,
        )
        assert [result for result in results if result not in DENIED] == []
        linked = attempt(folder, f"os.link({str(secret)!r}, 'hard')", landlock_abi=abi)
        assert linked[0] in (*DENIED, f"errno {18}")  # Landlock says so of links across folders
        attempt(folder, f"os.chmod({str(secret)!r}, 0o777)", f"os.utime({str(secret)!r}, (0, 0))", landlock_abi=abi)
        after = secret.stat()
        assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, 6)

    def test_it_writes_in_its_own_folder(self, folder: Path) -> None:
        assert attempt(folder, "open('made', 'w').write('x')", "os.mkdir('d')", "os.rename('made', 'd/made')") == [
            "1", "None", "None",
        ]  # fmt: skip
        assert (folder / "d" / "made").read_text() == "x"

    def test_it_cannot_read_the_folder_that_its_interpreter_lies_in(self, folder: Path) -> None:
        """Beside an environment may lie the server's own state."""
        readable = {os.path.realpath(path) for path in interpreter_folders()}
        assert os.path.realpath(sys.prefix) not in readable
        assert os.path.dirname(os.path.realpath(sys.prefix)) not in readable
        assert attempt(folder, "os.listdir(os.path.dirname(sys.prefix))") == ["errno 13"]


class TestNetwork:
    @pytest.mark.parametrize("abi", VERSIONS)
    def test_it_has_no_sockets_but_pairs(self, folder: Path, abi: int) -> None:
        results = attempt(
            folder,
            "socket.socket()",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
            "socket.socket(socket.AF_INET6)",
            "socket.socket(socket.AF_UNIX)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "socket.socket(socket.AF_VSOCK)",
            "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
            "ctypes.CDLL(None, use_errno=True).syscall(425, 4, ctypes.create_string_buffer(256))",
            landlock_abi=abi,
        )
        assert results == ["errno 1"] * 7 + ["-1"]
        assert attempt(folder, "len(socket.socketpair())", landlock_abi=abi) == ["2"]

    def test_a_named_socket_of_another_program_is_out_of_reach(self, folder: Path, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            listener.setblocking(False)
            code = f"a, b = socket.socketpair(); a.close(); b.connect({str(tmp_path / 's')!r})"
            assert attempt(folder, f"exec({code!r})") == ["errno 1"]
            with pytest.raises(BlockingIOError):
                listener.accept()

    def test_asyncio_and_subprocesses_work(self, folder: Path) -> None:
        code = """
            import asyncio, subprocess
            async def main():
                process = await asyncio.create_subprocess_exec("echo", "hello", stdout=-1)
                return (await process.communicate())[0]
            print(asyncio.run(main()), subprocess.run(["sh", "-c", "exit 3"], start_new_session=True).returncode)
        """
        assert run(folder, code).stdout == b"b'hello\\n' 3\n"


class TestOtherProcesses:
    @pytest.mark.parametrize("abi", VERSIONS)
    def test_it_leaves_them_alone(self, folder: Path, abi: int) -> None:
        mine = os.getpid()
        results = attempt(
            folder,
            f"os.kill({mine}, 0)",
            f"os.kill({mine}, signal.SIGTERM)",
            "os.kill(-1, 0) or os.kill(1, 0)",
            f"signal.pidfd_send_signal(os.pidfd_open({mine}), 0)",
            f"resource.prlimit({mine}, resource.RLIMIT_NOFILE, (1, 1))",
            f"os.setpriority(os.PRIO_PROCESS, {mine}, 19)",
            f"os.sched_setaffinity({mine}, [0])",
            "os.unshare(os.CLONE_NEWUSER)",
            "os.chroot('.')",
            "time.clock_settime(time.CLOCK_REALTIME, 0)",
            landlock_abi=abi,
        )
        assert results == ["errno 1"] * 10
        libc = "ctypes.CDLL(None, use_errno=True)"
        raw = attempt(
            folder, f"{libc}.ptrace(16, {mine}, 0, 0)", f"{libc}.mount(0, 0, 0, 0, 0)", f"{libc}.shmget(0, 1, 0o1666)"
        )
        assert raw == ["-1"] * 3

    def test_it_has_no_capabilities_whoever_started_it(self, folder: Path) -> None:
        code = """
            import ctypes
            libc, header, data = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
            libc.capget(ctypes.byref(header), ctypes.byref(data))
            bounding = [libc.prctl(23, number, 0, 0, 0) for number in range(41)]
            print([list(data), bounding, libc.prctl(39, 0, 0, 0, 0)])
        """
        sets, bounding, no_new_privileges = json.loads(run(folder, code).stdout)
        assert (sets, no_new_privileges) == ([0] * 6, 1)
        assert not any(bounding) or os.geteuid() != 0  # who is not root has none to drop

    def test_nothing_it_started_lives_on(self, folder: Path) -> None:
        code = """
            import os, subprocess, sys
            for session in (False, True):
                subprocess.Popen(["sleep", "61.7"], start_new_session=session)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    import time; time.sleep(61.7)
        """
        started = time.monotonic()
        run(folder, code)
        assert time.monotonic() - started < 5, "it waited for what lives on"
        assert not _is_running(b"61.7")

    def test_when_told_to_stop_all_of_it_is_killed(self, folder: Path) -> None:
        told = threading.Event()
        threading.Timer(0.4, told.set).start()
        started = time.monotonic()
        with pytest.raises(SkillStopped):
            run(folder, "import subprocess; subprocess.run(['sleep', '64.1'])", should_stop=told.is_set)
        assert time.monotonic() - started < 2
        assert not _is_running(b"64.1")

    def test_at_its_time_all_of_it_is_killed(self, folder: Path) -> None:
        code = "import subprocess, time; subprocess.Popen(['sleep', '62.8']); time.sleep(62)"
        with pytest.raises(LimitExceeded) as reached:
            run(folder, code, timeout_seconds=0.7)
        assert reached.value.limit == "time"
        assert not _is_running(b"62.8")


def _is_running(word: bytes) -> bool:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if word in words:
                return True
    return False


MANY_THREADS = """
import _thread, time
for _ in range(99): _thread.start_new_thread(time.sleep, (9,))
time.sleep(9)
"""


class TestBounds:
    @pytest.mark.parametrize(
        ("code", "limit"),
        [
            ("import os\nwhile True:\n    os.fork()", "processes"),
            (MANY_THREADS, "processes"),
            ("import os, time\nx = [bytearray(os.urandom(1 << 20)) for _ in range(200)]\ntime.sleep(9)", "memory"),
            ("import time\nfor n in range(600): open(f'f{n}', 'w').close()\ntime.sleep(9)", "files"),
            ("import time\nfor n in range(9): open(f'f{n}', 'wb').write(bytes(1 << 20))\ntime.sleep(9)", "disk"),
        ],
    )  # fmt: skip
    def test_all_its_processes_together_have_bounds(self, folder: Path, code: str, limit: str) -> None:
        memory_bytes = 4 << 30 if limit == "processes" else 100 << 20  # 64 interpreters take more than 100 MB
        bounds = Bounds(processes=64, memory_bytes=memory_bytes, files=500, disk_bytes=8 << 20)
        with pytest.raises(LimitExceeded) as reached:
            run(folder, code, bounds=bounds)
        assert reached.value.limit == limit

    def test_each_process_has_bounds(self, folder: Path) -> None:
        results = attempt(
            folder,
            "bytearray(1 << 30)",
            "open('large', 'wb').write(bytes(2 << 20))",
            "[open(f'n{n}', 'w') for n in range(100)]",
            "resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))",
            memory_bytes=512 << 20,
            file_bytes=1 << 20,
            open_files=64,
        )
        assert results == ["MemoryError", "errno 27", "errno 24", "ValueError"]

    def test_output_without_end_is_cut_to_its_tail(self, folder: Path) -> None:
        outcome = run(
            folder, "import os\nfor n in range(400): os.write(1, b'x' * 65536)\nprint('end')", output_bytes=1000
        )
        assert (len(outcome.stdout), outcome.stdout_cut, outcome.stdout[-4:]) == (1000, True, b"end\n")
        assert (outcome.stderr, outcome.stderr_cut) == (b"", False)

    def test_a_folder_made_to_be_hard_to_remove_is_removed(self, folder: Path) -> None:
        code = """
            import os
            for _ in range(2500):
                os.mkdir("deep"); os.chdir("deep")
            os.mkdir("closed", 0)
        """
        assert run(folder, code).exit_code == 0
        remove_folder(folder)
        assert not folder.exists()
        folder.mkdir()


class TestRefusals:
    def test_it_says_when_a_program_cannot_be_started(self, folder: Path) -> None:
        with pytest.raises(SkillError) as failed:
            run_confined(Command(argv=("/no/such",), folder=folder, timeout_seconds=5))
        assert failed.value.code == "command_not_started"

    def test_it_runs_nothing_where_the_kernel_has_no_landlock(self, folder: Path) -> None:
        with pytest.raises(SkillError) as failed:
            run(folder, "open('ran', 'w')", landlock_abi=0)
        assert failed.value.code == "sandbox_unavailable"
        assert not (folder / "ran").exists()

    def test_its_state_names_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agents.skills.sandbox.find_landlock_abi", lambda: 0)
        assert sandbox_status()[0] is False
        assert "Landlock" in sandbox_status()[1]
        monkeypatch.setattr("agents.skills.sandbox.find_machine", lambda: None)
        assert "x86-64" in sandbox_status()[1]

    def test_many_at_once_do_not_mix(self) -> None:
        seen: dict[int, bytes] = {}

        def work(number: int) -> None:
            with scratch_folder() as own:
                seen[number] = run(own, f"import os; open('{number}', 'w'); print({number}, os.listdir('.'))").stdout

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == {number: f"{number} ['{number}']\n".encode() for number in range(8)}


class TestFilter:
    @pytest.mark.parametrize("machine", seccomp.MACHINES.values(), ids=seccomp.MACHINES)
    @pytest.mark.parametrize("abi", [1, 99])
    def test_its_program_is_sound(self, machine: seccomp.Machine, abi: int) -> None:
        """Every jump lands in the program, and every way through it ends in an answer."""
        steps = seccomp.build_filter(machine, abi=abi)
        assert len(steps) < 4_096
        for place, (code, then, otherwise, _) in enumerate(steps):
            if code in (seccomp._JUMP_EQUAL, seccomp._JUMP_AT_LEAST):
                assert place + 1 + max(then, otherwise) < len(steps)
        assert steps[-1] == (seccomp._RETURN, 0, 0, seccomp.ALLOW)

    @pytest.mark.parametrize("machine", seccomp.MACHINES.values(), ids=seccomp.MACHINES)
    def test_it_answers_as_its_tables_say(self, machine: seccomp.Machine) -> None:
        for abi in (1, 99):
            steps = seccomp.build_filter(machine, abi=abi)
            for numbers in seccomp.REFUSED.values():
                if numbers[machine.column] is not None:
                    assert simulate(steps, machine, numbers[machine.column]) == seccomp._REFUSE
            for numbers in seccomp.SIGNALS.values():
                expected = seccomp._REFUSE if abi < 6 else seccomp.ALLOW
                assert simulate(steps, machine, numbers[machine.column]) == expected
            clone = seccomp._CLONE[machine.column]
            assert simulate(steps, machine, clone, 0x1200011) == seccomp.ALLOW
            for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x02000000, 0x80):
                assert simulate(steps, machine, clone, flag | 17) == seccomp._REFUSE

    def test_another_architecture_is_killed(self) -> None:
        machine = seccomp.MACHINES["x86_64"]
        steps = seccomp.build_filter(machine, abi=99)
        assert simulate(steps, seccomp.MACHINES["aarch64"], 0) == seccomp._KILL
        assert simulate(steps, machine, 0x40000000 + 41) == seccomp._REFUSE

    def test_old_kernels_lose_no_right_that_they_know(self) -> None:
        sizes = [bin(confine.handled_rights(abi)[0]).count("1") for abi in (1, 2, 3, 4, 5, 6)]
        assert sizes == [13, 14, 15, 15, 16, 16]


def simulate(steps: list[seccomp.Step], machine: seccomp.Machine, number: int | None, *arguments: int) -> int:
    """Run the filter as the kernel does."""
    padded = (*arguments, *[0] * 6)[:6]
    words = {0: number or 0, 4: machine.audit_architecture} | {16 + 8 * at: value for at, value in enumerate(padded)}
    value, place = 0, 0
    while True:
        code, then, otherwise, constant = steps[place]
        place += 1
        if code == seccomp._RETURN:
            return constant
        if code == seccomp._LOAD:
            value = words[constant]
        elif code == seccomp._AND:
            value &= constant
        else:
            holds = value == constant if code == seccomp._JUMP_EQUAL else value >= constant
            place += then if holds else otherwise


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """The server is killed while a test runs: the test does not run on."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from agents.skills.sandbox import Command, run_confined
run_confined(Command(argv=("/bin/sleep", "63.9"), folder=Path({str(tmp_path)!r}), timeout_seconds=60))
"""
    import subprocess

    with subprocess.Popen([sys.executable, "-c", program]) as server:
        _wait(lambda: _is_running(b"63.9"))
        server.send_signal(signal.SIGKILL)
    _wait(lambda: not _is_running(b"63.9"))


def _wait(condition: Any) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
