"""The embedded MongoDB of a fresh machine: a child process, started and never imported, for it is GPL-2.0-only."""

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from django.conf import settings

from orchestrator_site.env import write_private

_USER: Final = "orchestrator"
_START_SECONDS: Final = 10.0
_BUSY_SECONDS: Final = 3.0  # how long the lock of a server that was just killed may linger
_LOG_MAX_BYTES: Final = 5_000_000
_LISTENING: Final = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")

# Run in the child before the server: die with the parent (argv[1]), keep files private. A preexec_fn would run
# Python between fork and exec of a process that has threads.
_LAUNCH: Final = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})
if os.getppid() != int(sys.argv[1]): os._exit(1)
os.umask(0o077)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedMongoFailed(Exception):
    """The embedded MongoDB did not start; the message says why and names its log."""


class EmbeddedMongo:
    """One MongoDB-compatible server over the folder `storage`, on a loopback port of its own.

    Its address, with the password, is written to `uri_file` (mode 600) for everyone who connects. Without `auth`
    it takes no password: for tests only. The server dies with this process, even when that is killed.
    """

    def __init__(self, storage: Path, uri_file: Path, *, auth: bool = True) -> None:
        self._storage = storage
        self.uri_file = uri_file
        self._auth = auth
        self._log = storage.with_name(f"{storage.name}.log")
        self._password_file = storage.with_name(f"{storage.name}.password")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        # The kernel sends the death signal when the *thread* that forked ends: so one thread that stays.
        self._spawner = ThreadPoolExecutor(1, "embedded-mongodb")

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it was never started or was stopped."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start the server and return its address.

        Raises: EmbeddedMongoFailed.
        """
        self._storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._auth and not self._password_file.exists():
            self._make_user()
        self._start_server(auth=self._auth)
        uri = self._uri()
        self.uri_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.uri_file, uri)
        return uri

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop the server; kill it if it does not end in time."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the server without a chance to tidy up."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> str:
        """Start the server anew, on the same port if that is still free, and return its address."""
        self.stop()
        return self.start()

    def is_alive(self) -> bool:
        """Tell whether the process is there; whether it answers is another question."""
        return self._process is not None and self._process.poll() is None

    def _uri(self) -> str:
        login = f"{_USER}:{quote(self._password_file.read_text())}@" if self._auth else ""
        source = "authSource=admin&" if self._auth else ""
        return f"mongodb://{login}127.0.0.1:{self.port}/?{source}directConnection=true"

    def _make_user(self) -> None:
        """Start once without login, to create the one user that may enter afterwards."""
        from pymongo import MongoClient
        from pymongo.errors import OperationFailure, PyMongoError

        self._start_server(auth=False)
        password = secrets.token_urlsafe(32)
        roles = [{"role": "readWrite", "db": settings.MONGODB_DATABASE}]
        try:
            with MongoClient[dict[str, object]]("127.0.0.1", self.port, directConnection=True) as client:
                with suppress(OperationFailure):  # the first time there is none; later, its password's file was lost
                    client.admin.command("dropUser", _USER)
                client.admin.command("createUser", _USER, pwd=password, roles=roles)
        except PyMongoError as error:
            raise self._failure(f"could not create its user ({type(error).__name__})") from error
        finally:
            self.stop()
        write_private(self._password_file, password)

    def _start_server(self, *, auth: bool) -> None:
        give_up_at = time.monotonic() + _BUSY_SECONDS
        while not self._try_start(auth=auth):
            said = self._said()
            if self.port and b"failed to bind" in said:
                self.port = 0
            elif b"busy" not in said or time.monotonic() > give_up_at:
                raise self._failure("did not start")
            else:
                time.sleep(0.05)

    def _try_start(self, *, auth: bool) -> bool:
        """Start the server once; tell whether it listens."""
        if self._log.exists() and self._log.stat().st_size > _LOG_MAX_BYTES:
            self._log.unlink()
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *self._command(auth=auth)]
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = self._spawner.submit(self._spawn, command, log.fileno()).result()
        give_up_at = time.monotonic() + _START_SECONDS
        while self.is_alive() and time.monotonic() < give_up_at:
            if found := _LISTENING.search(self._said()):
                self.port = int(found[1])
                return True
            time.sleep(0.005)
        self.stop()
        return False

    def _spawn(self, command: list[str], log: int) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.defpath, "HOME": str(self._storage)}  # no secrets, and no settings found by itself
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )

    def _command(self, *, auth: bool) -> list[str]:
        program = shlex.split(settings.EMBEDDED_MONGODB_COMMAND) or [find_program()]
        flags = {"--host": "127.0.0.1", "--port": str(self.port), "--storage-path": str(self._storage.absolute())}
        flags |= {"--cache-size": "256M", "--log-file-max": "64MB", "--log-level": "WARNING"}
        # Without the sync, kill -9 loses writes that were acknowledged.
        return [*program, *(word for flag in flags.items() for word in flag), "--sync-on-commit", *["--auth"] * auth]

    def _said(self) -> bytes:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read()

    def _failure(self, what: str) -> EmbeddedMongoFailed:
        last = self._said().decode(errors="replace").strip().splitlines()
        return EmbeddedMongoFailed(f"the embedded MongoDB {what}: {last[-1] if last else 'no output'} ({self._log})")


def find_program() -> str:
    """Return the path of the server program that the wheel `secantusdb` installs.

    Raises: EmbeddedMongoFailed if it is not installed.
    """
    program = Path(sysconfig.get_path("platlib"), "secantusdb.scripts", "secantusd-rs")
    if not program.exists():
        raise EmbeddedMongoFailed(
            "the embedded MongoDB is not installed: run make run, which installs requirements-embedded.lock, "
            "or name a MongoDB in DATABASE_URL"
        )
    return str(program)
