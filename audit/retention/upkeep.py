"""What the leading sequencer sees to once a day, beside numbering: erasures left over, archives, old checkpoints."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from audit.exceptions import AuditError
from audit.metrics import upkeep_failures
from audit.retention.archiving import archive_sealed
from audit.retention.thinning import thin_checkpoints

logger = logging.getLogger(__name__)

_FIRST_SECONDS: Final = 60.0  # a process that has just started has other things to do
_EVERY_SECONDS: Final = 86_400.0
_RETRY_SECONDS: Final = 3_600.0
_LOOK_SECONDS: Final = 5.0


class Upkeep:
    """A thread that does the day's upkeep while `is_leading` says that this process leads."""

    def __init__(self, is_leading: Callable[[], bool], *, first_seconds: float = _FIRST_SECONDS) -> None:
        self._is_leading = is_leading
        self._stopping = threading.Event()
        self._due_at = time.monotonic() + first_seconds
        self._look_seconds = min(_LOOK_SECONDS, max(first_seconds, 0.01))

    @contextmanager
    def running(self) -> Iterator[None]:
        """See to it while inside; what is under way at the end stops after its segment."""
        self._stopping.clear()
        thread = threading.Thread(target=self._run, name="audit-upkeep", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join(1.0)

    def _run(self) -> None:
        while not self._stopping.wait(self._look_seconds):
            if time.monotonic() >= self._due_at and self._is_leading():
                self._due_at = time.monotonic() + (_EVERY_SECONDS if self._tend_safely() else _RETRY_SECONDS)
        connection.close()

    def _tend_safely(self) -> bool:
        """Do it; tell whether nothing went wrong. Whatever does is said, and tried again in an hour."""
        try:
            archive_sealed(now=timezone.now(), is_stopping=lambda: self._stopping.is_set() or not self._is_leading())
            thin_checkpoints(now=timezone.now())
        except (AuditError, DatabaseError, OSError) as error:
            upkeep_failures.inc()
            logger.error("audit: the day's upkeep failed: %s", error, extra={"action": "upkeep.refused"})
            close_old_connections()
            return False
        except Exception:
            upkeep_failures.inc()
            logger.exception("audit: the day's upkeep failed", extra={"action": "upkeep.failed"})
            return False
        return True
