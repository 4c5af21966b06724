"""One process: the web server in front, worker, sequencer and the embedded MongoDB behind it.

Order matters at both ends. The database that the others write to starts first and stops last; the web server
is ready only when the rest is there, and the first to go.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn, override

import uvicorn
import uvloop
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from orchestrator_site import stores
from orchestrator_site.front import BoundedHttpProtocol, BoundedSocketProtocol
from orchestrator_site.launch import Launch
from orchestrator_site.parts import MongodbPart, Part, SequencerPart, WebhooksPart, WorkerPart
from orchestrator_site.preflight import Claim, PreflightError
from orchestrator_site.welcome import welcome

log = logging.getLogger(__name__)

MONGODB_START_SECONDS = 20.0
REQUESTS_GRACE_SECONDS = 1  # how long answers under way may still take
STOP_SECONDS = 4.7  # all of it; then the process ends whatever is still running
MAX_CONNECTIONS = 1_000


def serve(launch: Launch, *, more: Sequence[Part] = ()) -> NoReturn:
    """Prepare the stores, run the server and `more` parts until it is told to stop, and end the process."""
    server = Server(launch.claim, mongodb=launch.mongodb, more=more)
    try:
        server.run(prepare_stores=lambda: prepare_stores(launch.claim), on_ready=lambda: welcome(launch))
    except (PreflightError, ImproperlyConfigured) as error:
        print(f"serve: {error}", file=sys.stderr)  # noqa: T201
        end_process(1)  # at once: parts that are still starting would complain of an interpreter that goes away
    end_process(0)


def prepare_stores(claim: Claim) -> None:
    """Check the settings and the schema; migrate and seed, unless other processes share the stores.

    Raises: PreflightError.
    """
    stores.refuse_wrong_settings()
    stores.refuse_missing_static_files()
    if claim.web_only:
        stores.refuse_unapplied()
    else:
        stores.migrate_if_needed()
        stores.seed()


class WebServer(uvicorn.Server):
    """uvicorn without its signal handling, which ends the process before anything could be wound up."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await asyncio.to_thread(self._on_ready)


class Server:
    """Everything that one `manage.py serve` runs."""

    def __init__(self, claim: Claim, *, mongodb: MongodbPart | None, more: Sequence[Part] = ()) -> None:
        self._claim = claim
        self._mongodb = mongodb
        alone = claim.lock is not None and connection.vendor == "sqlite"
        self._parts: list[Part] = []
        if not claim.web_only:
            self._parts = [WorkerPart(alone=alone), WebhooksPart(alone=alone), SequencerPart(alone=alone)]
        self._parts += more
        self._web: WebServer | None = None
        self._stopping = False

    def run(self, *, prepare_stores: Callable[[], None], on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM, Ctrl-C or the terminal's end, then wind everything up.

        Raises: PreflightError if something cannot start.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            prepare_stores()
            self._start_parts()
            self._serve(on_ready)
        finally:
            self._wind_up()

    def _start_parts(self) -> None:
        if self._mongodb and (failure := self._mongodb.wait_until_started(MONGODB_START_SECONDS)):
            raise PreflightError(failure)
        for part in self._parts:
            part.start()

    def _serve(self, on_ready: Callable[[], None]) -> None:
        from orchestrator_site.asgi import application

        self._web = WebServer(web_config(application), on_ready)
        self._web.should_exit = self._stopping
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._web.serve(sockets=[self._claim.listener]))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: worker and webhooks may begin to wind up while the last answers are given."""
        if not self._stopping:
            self._stopping = True
            threading.Thread(target=_end_late, name="deadline", daemon=True).start()
        if self._web:
            self._web.should_exit = True
        for part in self._parts[:2]:
            part.stop()

    def _wind_up(self) -> None:
        started = time.monotonic()
        for part in self._parts:  # the worker before the sequencer, which has its last events to number
            part.stop()
            if not part.join(STOP_SECONDS):
                log.error("%s did not stop in time", part.name, extra={"action": "serve.part-late"})
        if self._mongodb:
            self._mongodb.stop_server(timeout_seconds=1.0)
        if self._web:
            log.info("stopped", extra={"action": "serve.stopped", "seconds": round(time.monotonic() - started, 2)})


def _end_late() -> None:
    """End the process when its time is up; the kernel ends the embedded MongoDB with it, and nothing is lost."""
    time.sleep(STOP_SECONDS)
    log.critical("not everything stopped in time", extra={"action": "serve.cut-off"})
    end_process(1)


def end_process(code: int) -> NoReturn:
    """End now, without waiting for threads that may be in the midst of a skill."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def web_config(application: object) -> uvicorn.Config:
    """Return how the web server serves an application."""
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        http=BoundedHttpProtocol,
        ws=BoundedSocketProtocol,
        ws_max_size=64_000,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        # Who stands behind a proxy names it in uvicorn's own variable.
        proxy_headers=bool(os.environ.get("FORWARDED_ALLOW_IPS")),
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=REQUESTS_GRACE_SECONDS,
    )
