"""What must be true before anything is loaded. Each failure is one line on stderr and exit code 1.

Only the standard library and `env.py` are imported, so that the answer comes at once.
"""

import argparse
import contextlib
import fcntl
import os
import platform
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured

from orchestrator_site.env import read_int, read_text

BASE_DIR = Path(__file__).resolve().parent.parent
NEEDED_FOR_WEB_ONLY = ("DATABASE_URL", "STATE_DATABASE_URL", "REDIS_URL")


class PreflightError(Exception):
    """The server cannot start; the message is the one line that says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the server holds before it loads anything: its folder, its port, and what to start."""

    var: Path
    listener: socket.socket
    address: str  # http://host:port
    web_only: bool
    embedded_mongodb: bool
    lock: int | None  # the descriptor that holds the lock on `var`; None where the stores are elsewhere


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `manage.py serve`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--only", choices=["web"], help="serve pages and API only; worker and sequencer run elsewhere")


def claim_or_exit(options: argparse.Namespace) -> Claim:
    """Check everything and take the lock and the port; end the process with one line if that cannot be."""
    try:
        return claim(host=options.host, web_only=options.only == "web")
    except (PreflightError, ImproperlyConfigured) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the process with one line."""
    sys.exit(f"serve: {message}")


def claim(*, host: str, web_only: bool) -> Claim:
    """Return what the server holds.

    Raises: PreflightError, ImproperlyConfigured.
    """
    check_platform()
    embedded = not web_only and not read_text("DATABASE_URL")
    if web_only:
        _check_stores()
    if embedded:
        _check_embedded()
    var = Path(os.environ.get("ORCHESTRATOR_VAR") or BASE_DIR / "var").absolute()
    prepare_folder(var)
    lock = None if web_only else lock_folder(var)
    port = read_int("PORT", 3000)
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    if lock is not None:
        os.pwrite(lock, f"process {os.getpid()} at {address}".encode(), 0)
    return Claim(var=var, listener=listener, address=address, web_only=web_only, embedded_mongodb=embedded, lock=lock)


def check_platform() -> None:
    """Refuse what was never tried.

    Raises: PreflightError.
    """
    if sys.version_info[:2] != (3, 13):
        raise PreflightError(f"Python 3.13 is needed, and this is {platform.python_version()}: use .venv/bin/python")
    if sys.platform != "linux":
        raise PreflightError(f"this is proven on Linux only, and this is {platform.system()}: use a Linux machine")


def _check_stores() -> None:
    missing = [name for name in NEEDED_FOR_WEB_ONLY if not read_text(name)]
    if missing:
        raise PreflightError(f"--only web shares its stores with other processes: set {', '.join(missing)}")


def _check_embedded() -> None:
    """Refuse at once, as in an image, which holds no such server: not after the stores were migrated."""
    from orchestrator_site.embedded import EmbeddedMongoFailed, find_program

    if not os.environ.get("EMBEDDED_MONGODB_COMMAND"):
        try:
            find_program()
        except EmbeddedMongoFailed as error:
            raise PreflightError(str(error)) from error


def prepare_folder(var: Path) -> None:
    """Make the state folder, for its owner only, and see that it can be written.

    Raises: PreflightError.
    """
    try:
        for folder in (var, var / "run"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = var / "run" / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)  # of a shared folder: in containers, processes have the same number
    except OSError as error:
        raise PreflightError(
            f"{var} cannot be written ({error.strerror}): make it writable, or name another with ORCHESTRATOR_VAR"
        ) from error


def lock_folder(var: Path) -> int:
    """Return the descriptor that holds the lock on `var`; the kernel frees it when the process ends, however.

    Raises: PreflightError if another server holds it.
    """
    path = var / "run" / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        holder = path.read_text() or "another process"
        raise PreflightError(f"{var} is used by {holder}: stop it, or name another with ORCHESTRATOR_VAR") from error
    os.truncate(descriptor, 0)
    return descriptor


def find_holder(var: Path) -> str:
    """Return which server holds the lock on `var`, as it wrote it; empty if none does."""
    path = var / "run" / "lock"
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return ""
    except OSError:
        return path.read_text() or "another process"
    return ""


def listen(host: str, port: int, *, setting: str = "PORT") -> socket.socket:
    """Return a socket that listens on `port`; 0 takes any that is free.

    Raises: PreflightError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise PreflightError(f"port {port} on {host} cannot be used ({why}): free it, or set {setting}") from error
    return listener
