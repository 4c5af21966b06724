"""Number the ledger's events and ship them to the audit store: the production process."""

import os
import signal
import socket
import threading
from contextlib import ExitStack
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import bell
from audit.ids import new_id
from audit.live.doorbell import ring_through_redis
from audit.sequencer import Sequencer
from orchestrator_site import draining, stores
from orchestrator_site.observing.port import open_port
from orchestrator_site.observing.standing import standing_of_sequencer
from orchestrator_site.parts import running
from orchestrator_site.preflight import PreflightError

_POLL_SECONDS = 0.1  # other processes write the ledger, so no bell is heard


class Command(BaseCommand):
    """`sequencer`: run as many as you like; one leads, the others stand by."""

    help = __doc__ or ""
    requires_system_checks: list[str] = []  # ours are run below, and logged

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        stop = threading.Event()

        def end(signum: int, frame: Any) -> None:
            stop.set()
            draining.announce()
            bell.recorded.ring()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-8:]}"
        sequencer = Sequencer(holder, poll_seconds=_POLL_SECONDS)
        try:
            stores.refuse_wrong_settings()
            port = open_port(standing_of_sequencer(sequencer))
        except PreflightError as error:
            raise CommandError(str(error)) from error
        with ExitStack() as around:
            for part in port:
                around.enter_context(running(part))
            around.enter_context(ring_through_redis())
            sequencer.run_forever(stop)
