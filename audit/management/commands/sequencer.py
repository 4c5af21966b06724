"""Number the ledger's events and ship them to the audit store: the production process."""

import os
import signal
import socket
import threading
from typing import Any

from django.core.management.base import BaseCommand

from audit import bell
from audit.ids import new_id
from audit.live.doorbell import ring_through_redis
from audit.sequencer import Sequencer

_POLL_SECONDS = 0.1  # other processes write the ledger, so no bell is heard


class Command(BaseCommand):
    """`sequencer`: run as many as you like; one leads, the others stand by."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        stop = threading.Event()

        def end(signum: int, frame: Any) -> None:
            stop.set()
            bell.recorded.ring()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-8:]}"
        with ring_through_redis():
            Sequencer(holder, poll_seconds=_POLL_SECONDS).run_forever(stop)
