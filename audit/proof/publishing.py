"""Bring signed checkpoints to a second place, where who rewrites the stores cannot take them back.

Each note reaches each place, in order, at least once: what is cut off between a place and the mark of it is
brought there again.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import close_old_connections, connection
from django.utils import timezone

from audit.models import Checkpoint
from audit.proof.keys import sync_folder
from audit.proof.notes import CUT_OFF, DASH
from audit.transactions import make_durable, write_transaction

logger = logging.getLogger(__name__)

_BATCH: Final = 500
_TAIL_BYTES: Final = 4_096
_RETRY_SECONDS: Final = 5.0
_POST_SECONDS: Final = 10.0
_END_SECONDS: Final = 2.0  # to bring away, at the end, what was signed last


class Publisher:
    """Files and posts what waits, woken by whoever signs; a slow receiver holds up nobody."""

    def __init__(self) -> None:
        self._couriers = (_Courier("filed", file_next), _Courier("posted", post_next))

    @property
    def fault(self) -> str:
        """Why checkpoints do not reach a place, empty if they do."""
        return "; ".join(courier.fault for courier in self._couriers if courier.fault)

    def wake(self) -> None:
        """Say that there may be something new."""
        for courier in self._couriers:
            courier.wake()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Publish while inside; what is signed at the end still goes out, if that takes no more than seconds."""
        with ExitStack() as stack:
            for courier in self._couriers:
                stack.enter_context(courier.running())
            yield


class _Courier:
    """The way to one place, on a thread of its own. `bring_next` takes a batch there, and says if there may be more."""

    def __init__(self, done: str, bring_next: Callable[[], bool]) -> None:
        self._done = done
        self._bring_next = bring_next
        self._rung = threading.Event()
        self._asked = self._stopping = False
        self.fault = ""

    def wake(self) -> None:
        self._asked = True
        self._rung.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        self._stopping = False
        thread = threading.Thread(target=self._run, name=f"audit-checkpoints-{self._done}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping = True
            self._rung.set()
            thread.join(_END_SECONDS)

    def _run(self) -> None:
        while self._asked or not self._stopping:
            self._rung.wait(_RETRY_SECONDS if self.fault else None)
            self._rung.clear()
            if self._asked or self.fault:
                self._asked = False
                self._bring_safely()
        connection.close()

    def _bring_safely(self) -> None:
        try:
            while self._bring_next():
                pass
        except Exception as error:  # whatever it is, the next ring or retry goes on from here
            fault = f"checkpoints are not {self._done}: {error}"
            if self.fault != fault:
                logger.error(
                    "audit %s", fault, exc_info=not isinstance(error, OSError), extra={"action": "checkpoints.unfiled"}
                )
            self.fault = fault
            close_old_connections()
        else:
            self.fault = ""


def file_next() -> bool:
    """Append the oldest unfiled notes to the files of their days, in order; tell whether there may be more.

    Raises: OSError if the folder does not take them.
    """
    waiting = list(Checkpoint.objects.filter(filed_at__isnull=True).order_by("size")[:_BATCH])
    if not waiting:
        return False
    make_durable()  # a signed log that a power cut shortens would look as if somebody had done it
    folder: Path = settings.AUDIT_CHECKPOINT_DIR
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for day, rows in groupby(waiting, key=lambda row: f"{row.at:%Y-%m-%d}"):
        _append(folder / f"{day}.checkpoints", "".join(f"{row.note}\n" for row in rows).encode())
    _mark(waiting, "filed_at")
    return len(waiting) == _BATCH


def _append(path: Path, data: bytes) -> None:
    """Append to a file and have the disk hold it. A note that was cut off before is marked as such."""
    is_new = not path.exists()
    with path.open("a+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        data = _mend(os.pread(file.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))) + data
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)


def _mend(tail: bytes) -> bytes:
    """Return what a file that ends in `tail` lacks to be read on from: nothing, if it ends after a whole note."""
    last_line = tail.removesuffix(b"\n\n").rpartition(b"\n")[2]
    dash, mark = DASH.encode(), CUT_OFF.encode()
    if not tail or (tail.endswith(b"\n\n") and last_line.startswith((dash, mark))):
        return b""
    rest_of_dash = dash[len(last_line) :] if dash.startswith(last_line) else b""  # by it a signature is known
    return (rest_of_dash if last_line else b"") + b"\n" + mark + b"\n\n"


def post_next() -> bool:
    """Post the oldest unposted notes to the webhook, if there is one; tell whether there may be more.

    Raises: OSError for any answer but a success; a redirection is none, for it would drop the notes.
    """
    if not settings.AUDIT_CHECKPOINT_WEBHOOK:
        return False
    waiting = list(Checkpoint.objects.filter(posted_at__isnull=True).order_by("size")[:_BATCH])
    if not waiting:
        return False
    make_durable()
    _post("".join(f"{row.note}\n" for row in waiting).encode())
    _mark(waiting, "posted_at")
    return len(waiting) == _BATCH


def _post(notes: bytes) -> None:
    from http.client import HTTPException
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirection(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None: ...

    headers = {"Content-Type": "text/plain; charset=utf-8"}
    request = Request(settings.AUDIT_CHECKPOINT_WEBHOOK, data=notes, headers=headers)  # noqa: S310 (http or https: settings)
    try:
        build_opener(NoRedirection).open(request, timeout=_POST_SECONDS).close()
    except (OSError, HTTPException, ValueError) as error:
        raise OSError(f"the webhook does not take them ({type(error).__name__}: {error})") from error


def _mark(rows: Sequence[Checkpoint], column: str) -> None:
    with write_transaction():
        Checkpoint.objects.filter(size__in=[row.size for row in rows]).update(**{column: timezone.now()})
