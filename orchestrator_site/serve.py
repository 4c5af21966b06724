"""One process: the web server in front, worker, sequencer and the embedded MongoDB behind it.

Order matters at both ends. The database that the others write to starts first and stops last; the web server
is ready only when the rest is there, and the first to go: it says so, answers for a while, and then takes no more.
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
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from orchestrator_site import draining, stores
from orchestrator_site.draining import end_process
from orchestrator_site.front import BoundedHttpProtocol, BoundedSocketProtocol
from orchestrator_site.launch import Launch
from orchestrator_site.observing.port import open_port
from orchestrator_site.observing.standing import Standing, find_lack_of_web
from orchestrator_site.parts import MongodbPart, Part, SequencerPart, WebhooksPart, WorkerPart, find_silence
from orchestrator_site.preflight import Claim, PreflightError
from orchestrator_site.welcome import welcome

log = logging.getLogger(__name__)

MONGODB_START_SECONDS = 20.0
END_SECONDS = 2.7  # for what comes after the last answer and the last run; then the process ends whatever still goes on
STREAMS_LOOK_SECONDS = 0.05
MAX_CONNECTIONS = 1_000


def serve(launch: Launch, *, more: Sequence[Part] = ()) -> NoReturn:
    """Prepare the stores, run the server and `more` parts until it is told to stop, and end the process."""
    try:
        server = Server(launch.claim, mongodb=launch.mongodb, more=more)
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
        self.turned_at = time.monotonic()

    @override
    async def on_tick(self, counter: int) -> bool:
        self.turned_at = time.monotonic()
        return await super().on_tick(counter)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await asyncio.to_thread(self._on_ready)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and let answers end; sockets are closed by uvicorn with 1012, streams between two events."""
        ending = asyncio.create_task(end_streams())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()


class Server:
    """Everything that one `manage.py serve` runs."""

    def __init__(self, claim: Claim, *, mongodb: MongodbPart | None, more: Sequence[Part] = ()) -> None:
        self._claim = claim
        self._mongodb = mongodb
        alone = claim.lock is not None and connection.vendor == "sqlite"
        self._parts: list[Part] = []
        if not claim.web_only:
            self._parts = [WorkerPart(alone=alone), WebhooksPart(alone=alone), SequencerPart(alone=alone)]
        self._parts += [*more, *open_port(Standing(find_faults=self._find_faults, find_lack=find_lack_of_web))]
        self._web: WebServer | None = None
        self._stopping = False
        self._drain_seconds = settings.SHUTDOWN_DRAIN_SECONDS

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

    def _find_faults(self) -> list[str]:
        web = find_silence("the web server's loop", self._web.turned_at) if self._web else []
        return [*web, *(fault for part in self._parts for fault in part.find_faults())]

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
        """Stop; only a first SIGTERM is given time to drain: a person, or who asks twice, waits for nothing."""
        if self._stopping or self._web is None or number != signal.SIGTERM:
            self._drain_seconds = 0
        if not self._stopping:
            self._begin_to_stop()
        else:
            self._worker_hurries()
        if not self._drain_seconds:
            self._take_no_more()

    def _begin_to_stop(self) -> None:
        self._stopping = True
        draining.announce()
        draining.end_within(self._find_limit())
        for part in self._parts:
            if isinstance(part, WorkerPart | WebhooksPart):  # they begin nothing more while the last answers are given
                part.stop()
        if self._drain_seconds:
            timer = threading.Timer(self._drain_seconds, self._take_no_more)
            timer.daemon = True
            timer.start()

    def _find_limit(self) -> float:
        """Return how many seconds the end may take, all of it."""
        answers = self._drain_seconds + settings.SHUTDOWN_GRACE_SECONDS
        runs = 0 if self._claim.web_only else settings.WORKER_DRAIN_SECONDS
        return max(answers, runs) + END_SECONDS

    def _worker_hurries(self) -> None:
        for part in self._parts:
            if isinstance(part, WorkerPart):
                part.hurry()

    def _take_no_more(self) -> None:
        if self._web:
            self._web.should_exit = True

    def _wind_up(self) -> None:
        started = time.monotonic()
        limit = self._find_limit()
        for part in self._parts:  # the worker before the sequencer, which has its last events to number
            part.stop()
            if not part.join(limit):
                log.error("%s did not stop in time", part.name, extra={"action": "serve.part-late"})
        if self._mongodb:
            self._mongodb.stop_server(timeout_seconds=1.0)
        if self._web:
            log.info("stopped", extra={"action": "serve.stopped", "seconds": round(time.monotonic() - started, 2)})


async def end_streams() -> None:
    """End event streams, also those that begin meanwhile, until cancelled."""
    from audit.live.streams import end_open_streams

    while True:
        end_open_streams()
        await asyncio.sleep(STREAMS_LOOK_SECONDS)


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
        timeout_graceful_shutdown=settings.SHUTDOWN_GRACE_SECONDS,
    )
