"""Figures that keep their last good value: each is read by itself and within a time, so that none hangs the others."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from django.db import DatabaseError, connection, transaction

from audit.exceptions import StoreUnavailable
from orchestrator_site.exceptions import FigureUnread

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0  # a store that is found dead by its own time-out says so before this


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen[T]:
    """What a look brought: the last good value, when that was read, and why there is none newer."""

    value: T | None  # None: it was never read in this process
    good_at: datetime | None
    fault: str  # empty if the value is of this look


class Figure[T]:
    """One figure. One that is read `apart` asks what may hang, so it has a thread of its own; never two at a time."""

    def __init__(self, read: Callable[[], T], *, apart: bool = False) -> None:
        self._read = read
        self._apart = apart
        self._lock = threading.Lock()
        self._under_way: threading.Event | None = None
        self._seen: Seen[T] = Seen(value=None, good_at=None, fault="it was not read yet")

    def ask(self) -> None:
        """Begin to read what is read apart, unless that is under way."""
        with self._lock:
            if not self._apart or self._under_way is not None:
                return
            self._under_way = done = threading.Event()
        threading.Thread(target=self._work, args=(done,), name="system-figure", daemon=True).start()

    def see(self, *, give_up_at: float) -> Seen[T]:
        """Return what was read, by `give_up_at` of the monotonic clock."""
        if not self._apart:
            self._look()
            return self._seen
        under_way, asked = self._under_way, monotonic()
        if under_way is not None and not under_way.wait(max(0.0, give_up_at - asked)):
            return Seen(value=self._seen.value, good_at=self._seen.good_at, fault="it does not answer in time")
        return self._seen

    def _work(self, done: threading.Event) -> None:
        self._look()
        with self._lock:
            self._under_way = None
        done.set()

    def _look(self) -> None:
        try:
            with nullcontext() if self._apart else _patience():
                value = self._read()
        except Exception as error:  # the edge of each figure: no other is touched
            self._seen = Seen(value=self._seen.value, good_at=self._seen.good_at, fault=_say(error))
        else:
            self._seen = Seen(value=value, good_at=datetime.now(UTC), fault="")


def look(figures: Mapping[str, Figure[Any]], *, seconds: float = LOOK_SECONDS) -> dict[str, Seen[Any]]:
    """Read all figures, those that are read apart at the same time, and return what each has after `seconds`."""
    give_up_at = monotonic() + seconds
    for figure in figures.values():
        figure.ask()
    return {name: figure.see(give_up_at=give_up_at) for name, figure in figures.items()}


@contextmanager
def _patience() -> Iterator[None]:
    """Have PostgreSQL give a question up in time; SQLite's readers wait for nobody."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {int(LOOK_SECONDS * 1000)}")
        yield


def _say(error: Exception) -> str:
    if isinstance(error, FigureUnread | StoreUnavailable):
        return str(error)
    log.warning("a figure of the system page was not read", exc_info=error, extra={"action": "figure.unread"})
    if isinstance(error, DatabaseError):
        return "the relational store does not answer"
    return "it cannot be read; the log says why"
