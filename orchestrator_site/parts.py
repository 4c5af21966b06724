"""The parts that run beside the web server in one process, each on a thread of its own with a start and a stop.

A part that fails is logged and begun anew after a moment: the web server, and with it the trail of what
happened, stays.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, override

import uvloop
from django.conf import settings
from django.db import connection
from django.utils import timezone

from orchestrator_site.embedded import EmbeddedMongo, EmbeddedMongoFailed

if TYPE_CHECKING:
    from agents.worker import Worker
    from audit.sequencer import Sequencer

log = logging.getLogger(__name__)

SILENT_SECONDS: Final = 20.0  # a loop that has not turned for so long is stuck; a worker's lease is 30 s
STUCK_SECONDS: Final = 300.0  # a step of the sequencer waits for its store, which is no fault of the process
END_SECONDS = 2.0
RESTART_SECONDS = 1.0
PROBE_SECONDS = 2.0
PROBE_TIMEOUT_MS = 3_000
PROBES_BEFORE_RESTART = 3


def find_silence(name: str, turned_at: float, *, patience: float = SILENT_SECONDS) -> list[str]:
    """Return the fault of a loop that last turned at `turned_at` of the monotonic clock, none if it turns."""
    silent = time.monotonic() - turned_at
    return [f"{name} has not moved for {silent:.0f} s"] if silent > patience else []


def find_stuck(sequencer: "Sequencer") -> list[str]:
    """Return the fault of a sequencer that does not come back from a step, none if it steps."""
    return find_silence("the sequencer", sequencer.stepped_at, patience=STUCK_SECONDS)


class Part(ABC):
    """A thread that runs `work` again whenever it fails, until it is told to stop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Do the part's work until `stopping` is set."""

    def start(self) -> None:
        """Begin, and return at once."""
        self._thread.start()

    def find_faults(self) -> list[str]:
        """Return why the part must be taken for dead, none if it is alive; touches nothing but memory."""
        return []

    def stop(self) -> None:
        """Ask the part to end, and return at once."""
        self.stopping.set()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; say whether it came in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.work()
            except Exception:  # the edge of this thread
                log.exception("%s failed and is begun anew", self.name, extra={"action": "part.failed"})
                self.stopping.wait(RESTART_SECONDS)
        connection.close()


@contextmanager
def running(part: Part) -> Iterator[None]:
    """Have a part run meanwhile, beside what a command does itself."""
    part.start()
    try:
        yield
    finally:
        part.stop()
        part.join(END_SECONDS)


class WorkerPart(Part):
    """The worker, on an event loop of its own. `alone`: no other process may hold this store's tasks."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__("worker")
        self._alone = alone
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._hurry: asyncio.Event | None = None
        self._worker: Worker | None = None

    @override
    def find_faults(self) -> list[str]:
        return find_silence("the worker's loop", self._worker.turned_at) if self._worker else []

    @override
    def work(self) -> None:
        from agents.leases import forget_workers

        if self._alone:
            forget_workers(now=timezone.now())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._work())

    async def _work(self) -> None:
        from agents.worker import Worker

        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self.stopping.is_set():
            return
        self._worker = Worker(slots=settings.MAX_AGENTS)
        try:
            await self._worker.run(self._stop, self._hurry)
        finally:
            self._loop = self._worker = None

    @override
    def stop(self) -> None:
        super().stop()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            loop.call_soon_threadsafe(stop.set)

    def hurry(self) -> None:
        """Have it wait no longer for the runs that are still going on."""
        loop, hurry = self._loop, self._hurry
        if loop is not None and hurry is not None:
            loop.call_soon_threadsafe(hurry.set)


class SequencerPart(Part):
    """The sequencer. `alone`: take the lease over at once, since whoever held it is dead."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__("sequencer")
        self._alone = alone
        self._sequencer: Sequencer | None = None

    @override
    def find_faults(self) -> list[str]:
        return find_stuck(self._sequencer) if self._sequencer else []

    @override
    def work(self) -> None:
        from audit.live.doorbell import ring_through_redis
        from audit.sequencer import Sequencer

        self._sequencer = Sequencer(f"{socket.gethostname()}:{os.getpid()}", steal=self._alone)
        try:
            with ring_through_redis():
                self._sequencer.run_forever(self.stopping)
        finally:
            self._sequencer = None

    @override
    def stop(self) -> None:
        from audit import bell

        super().stop()
        bell.recorded.ring()


class WebhooksPart(Part):
    """Webhooks: any number of processes may share the work. `alone`: what another held when it died is free at once."""

    def __init__(self, *, alone: bool = False) -> None:
        super().__init__("webhooks")
        self._alone = alone
        self._wake: Callable[[], None] | None = None

    @override
    def work(self) -> None:
        from orchestrator_site.webhooks.courier import Courier
        from orchestrator_site.webhooks.delivering import forget_claims

        if self._alone:
            forget_claims(now=timezone.now())
        courier = Courier()
        self._wake = courier.wake
        courier.run(self.stopping)

    @override
    def stop(self) -> None:
        super().stop()
        if self._wake is not None:
            self._wake()


class MongodbPart(Part):
    """The embedded MongoDB and its keeper: starts it, reads from it now and then, restarts it when it is no use.

    A server whose disk was full stays up and fails every call, so being alive is not enough.
    """

    def __init__(self, var: Path) -> None:
        super().__init__("mongodb")
        self._server = EmbeddedMongo(var / "mongodb", settings.MONGODB_URI_FILE)
        self._started = threading.Event()
        self._failure = ""
        self._uri = ""

    def wait_until_started(self, timeout_seconds: float) -> str:
        """Wait for the first start; return why it failed, or an empty string."""
        if not self._started.wait(timeout_seconds):
            return f"the embedded MongoDB did not start within {timeout_seconds:g} s"
        return self._failure

    @override
    def work(self) -> None:
        self._start_server()
        misses = 0
        while misses < PROBES_BEFORE_RESTART and not self.stopping.wait(PROBE_SECONDS):
            misses = 0 if self._answers() else misses + 1
            if not self._server.is_alive():
                break
        if not self.stopping.is_set():
            log.error("the embedded MongoDB is gone or mute: restarting it", extra={"action": "mongodb.restarted"})
            self._server.stop(timeout_seconds=1.0)

    def _start_server(self) -> None:
        try:
            self._uri = self._server.start()
        except EmbeddedMongoFailed as error:
            if self._started.is_set():
                raise
            self._failure = str(error)  # whoever waits for the first start says it, and ends the process
            self.stop()
        finally:
            self._started.set()

    def _answers(self) -> bool:
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        from audit.documents import AuditEvent

        client: MongoClient[dict[str, object]] = MongoClient(self._uri, timeoutMS=PROBE_TIMEOUT_MS)
        try:
            client[settings.MONGODB_DATABASE][AuditEvent._get_collection_name()].find_one({"seq": 1}, {"_id": 1})
        except PyMongoError:
            return False
        finally:
            client.close()
        return True

    def stop_server(self, timeout_seconds: float) -> None:
        """Stop the server; only after everybody who writes to it has ended."""
        self.stop()
        self._server.stop(timeout_seconds)
