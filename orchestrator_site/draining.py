"""A process on its way out: it says so while it still answers, and it ends in time.

Whoever sends traffic here needs a moment to learn that it should go elsewhere. So what is asked meanwhile is answered.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from typing import Final, NoReturn

from orchestrator_site import tracing

log = logging.getLogger(__name__)

LEAVING: Final = "This process is about to end: send what comes to another."

_leaving = threading.Event()


def announce() -> None:
    """Have every probe of this process answer from now on that it is about to end."""
    _leaving.set()


def is_draining() -> bool:
    """Tell whether this process is about to end."""
    return _leaving.is_set()


def end_within(seconds: float) -> None:
    """End the process in so many seconds whatever it still does; nothing that was accepted is lost by that."""
    threading.Thread(target=_end_late, args=(seconds,), name="deadline", daemon=True).start()


def _end_late(seconds: float) -> None:
    time.sleep(seconds)
    log.critical("not everything stopped in time", extra={"action": "process.cut-off", "seconds": seconds})
    end_process(1)


def end_process(code: int) -> NoReturn:
    """End now, without waiting for threads that may be in the midst of a skill."""
    tracing.end()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
