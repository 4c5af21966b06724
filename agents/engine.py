"""The engine: carries "there is work" from whoever queued it to a worker, and nothing more.

Django's `django.tasks` is the contract; the two backends are here. In one process it is a bounded queue into
the worker's loop; on many machines it is docket on Redis Streams, imported only when `REDIS_URL` is set. A
message may be lost, late or doubled: the task row is the truth, workers look for themselves each second, and the
claim decides.
"""

import asyncio
import atexit
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, override

from django.conf import settings
from django.tasks import Task, TaskResult, TaskResultStatus, task, task_backends
from django.tasks.backends.base import BaseTaskBackend

if TYPE_CHECKING:
    from docket import Docket

log = logging.getLogger(__name__)

RunNext = Callable[[], Awaitable[bool]]  # claim and run one task; False if there was none
DOCKET_NAME = "orchestrator"
TIMER_SECONDS = 60.0
PRODUCER_SLOTS = 8  # messages on their way to Redis at once
SEND_SECONDS = 5.0  # then a message is given up
RESTART_SECONDS = 2.0
CLOSE_SECONDS = 1.0  # what a Redis that does not answer may cost at the end


def enqueue(task_id: str, *, key: str, run_at: datetime | None) -> None:
    """Tell the engine that a task is due at `run_at`. Never fails and never waits: the sweep makes up for it."""
    try:
        run_task.enqueue(task_id, key, run_at.isoformat() if run_at else None)
    except Exception:  # the broker's trouble must not undo what is committed
        log.warning("engine unreachable; a worker's sweep finds it", extra={"action": "engine.enqueue-failed"})


def cancel(task_id: str) -> None:
    """Tell the worker of this process to stop a running task; workers elsewhere notice it in the row."""
    for listener in tuple(_cancel_listeners):
        listener(task_id)


_cancel_listeners: list[Callable[[str], None]] = []


def on_cancel(listener: Callable[[str], None]) -> None:
    """Register what stops a running task in this process."""
    _cancel_listeners.append(listener)


def off_cancel(listener: Callable[[str], None]) -> None:
    """Undo `on_cancel`."""
    _cancel_listeners.remove(listener)


def backend() -> "InProcessBackend | DocketBackend":
    """Return the configured engine."""
    return task_backends["default"]  # type: ignore[return-value]


class _CarriesIds(BaseTaskBackend):
    """What both backends share: only ids travel, and no result comes back."""

    supports_defer = False

    def _result[**P, R](self, task: "Task[P, R]", args: list[Any]) -> "TaskResult[P, R]":
        return TaskResult(
            task=task,
            id=args[1],
            status=TaskResultStatus.READY,
            enqueued_at=datetime.now(UTC),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs={},
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )


class _Inbox:
    """What the one worker of this process listens to; Django makes a backend a thread, so it is kept here.

    It holds at most one message a slot: a claim takes the best task of the table whatever the message said, so
    more would say nothing new.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._messages: asyncio.Queue[str] = asyncio.Queue(maxsize=1)

    def open(self, slots: int) -> "asyncio.Queue[str]":
        """Listen from the running loop on."""
        self._messages = asyncio.Queue(maxsize=slots)
        self._loop = asyncio.get_running_loop()
        return self._messages

    def close(self) -> None:
        """Listen no more; the table keeps what is due."""
        self._loop = None

    def put(self, task_id: str) -> None:
        """Leave a message, from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._put, task_id)

    def put_at(self, task_id: str, at: datetime) -> None:
        """Leave a message when it is due; what is far off is left to the sweep."""
        delay = (at - datetime.now(UTC)).total_seconds()
        if self._loop is not None and delay <= TIMER_SECONDS:
            self._loop.call_soon_threadsafe(self._loop.call_later, max(delay, 0.0), self._put, task_id)

    def _put(self, task_id: str) -> None:
        if not self._messages.full():
            self._messages.put_nowait(task_id)


_inbox = _Inbox()


class InProcessBackend(_CarriesIds):
    """A queue into the worker's loop of this same process."""

    @override
    def enqueue[**P, R](self, task: "Task[P, R]", args: list[Any], kwargs: dict[str, Any]) -> "TaskResult[P, R]":
        task_id, _key, run_at = args
        if run_at is None:
            _inbox.put(task_id)
        else:
            _inbox.put_at(task_id, datetime.fromisoformat(run_at))
        return self._result(task, args)

    async def consume(self, run_next: RunNext, *, slots: int, stop: asyncio.Event) -> None:
        """Run tasks on `slots` coroutines of this loop until `stop`; later ones wait in the table."""
        messages = _inbox.open(slots)
        consumers = [asyncio.create_task(self._consume(run_next, messages, stop)) for _ in range(slots)]
        try:
            await stop.wait()
        finally:
            _inbox.close()
            for consumer in consumers:
                consumer.cancel()
            await asyncio.gather(*consumers, return_exceptions=True)

    async def _consume(self, run_next: RunNext, messages: "asyncio.Queue[str]", stop: asyncio.Event) -> None:
        while not stop.is_set():
            await messages.get()
            await drain(run_next, stop)


async def drain(run_next: RunNext, stop: asyncio.Event) -> None:
    """Run one task after the other until none is due."""
    while not stop.is_set() and await run_next():
        pass


class DocketBackend(_CarriesIds):
    """docket on Redis Streams: many workers on many machines."""

    @override
    def enqueue[**P, R](self, task: "Task[P, R]", args: list[Any], kwargs: dict[str, Any]) -> "TaskResult[P, R]":
        _get_producer().send(*args)
        return self._result(task, args)

    async def consume(self, run_next: RunNext, *, slots: int, stop: asyncio.Event) -> None:
        """Run tasks on docket's worker, `slots` at once, until `stop`, whatever becomes of Redis."""
        listening = asyncio.create_task(self._listen(run_next, slots=slots, stop=stop))
        try:
            await stop.wait()
        finally:
            listening.cancel()
            _, late = await asyncio.wait([listening], timeout=CLOSE_SECONDS)
            if late:
                log.warning("Redis does not let go of the engine", extra={"action": "engine.close-late"})

    async def _listen(self, run_next: RunNext, *, slots: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._run_docket(run_next, slots=slots, stop=stop)
            except Exception:  # it waits out what it knows of; whatever this is, the worker's sweep goes on
                log.warning("docket's worker is begun anew", exc_info=True, extra={"action": "engine.restarted"})
            if not stop.is_set():
                await asyncio.sleep(RESTART_SECONDS)

    async def _run_docket(self, run_next: RunNext, *, slots: int, stop: asyncio.Event) -> None:
        from docket import Worker  # docket costs a second to import: only where it is used

        async def execute(task_id: str) -> None:
            # docket waits for what it runs before it stops; a run outlives its slot, so the slot need not wait.
            await _first_of(drain(run_next, stop), stop.wait())

        async with _open_docket(slots) as docket:
            docket.register(execute, names=["run_task"])
            worker = Worker(
                docket,
                concurrency=slots,
                # The defaults (250 ms) cap the rate at four times the slots a second.
                minimum_check_interval=timedelta(milliseconds=20),
                scheduling_resolution=timedelta(milliseconds=50),
                redelivery_timeout=timedelta(seconds=30),
                schedule_automatic_tasks=False,
            )
            async with worker:
                await worker.run_forever()


async def _first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Await whichever ends first and cancel the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _open_docket(slots: int) -> "Docket":
    from docket import Docket

    separator = "&" if "?" in settings.REDIS_URL else "?"
    url = f"{settings.REDIS_URL}{separator}max_connections={4 * slots}"
    return Docket(name=DOCKET_NAME, url=url, execution_ttl=timedelta(0))


@cache
def _get_producer() -> "_Producer":
    producer = _Producer()
    atexit.register(producer.close)
    return producer


async def _carry(task_id: str) -> None:
    """Stand in for the worker's function: a producer only names it."""


class _Producer:
    """A loop on a thread of its own that puts messages on docket, so that no request waits for Redis."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._docket: Docket | None = None
        self._opening = asyncio.Lock()
        # Fewer than the pool has connections: a pool that is used up raises instead of waiting.
        self._sending = asyncio.Semaphore(PRODUCER_SLOTS)
        self._is_heard = True
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine-producer", daemon=True)
        self._thread.start()

    def send(self, task_id: str, key: str, run_at: str | None) -> None:
        """Put one message on the stream, soon."""
        asyncio.run_coroutine_threadsafe(self._send(task_id, key, run_at), self._loop)

    def close(self) -> None:
        """Send what is on its way, and end the thread."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if self._docket is not None:
            await self._docket.__aexit__(None, None, None)
        for other in others:
            other.cancel()

    async def _send(self, task_id: str, key: str, run_at: str | None) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS), self._sending:
                docket = await self._get_docket()
                when = datetime.fromisoformat(run_at) if run_at else None
                await docket.add("run_task", when=when, key=key)(task_id)
            self._is_heard = True
        except Exception as error:  # the edge of this thread; the sweep makes up for it
            if self._is_heard:  # an outage is told of once, not once a task
                log.warning(
                    "engine unreachable (%s); workers' sweeps find what is due", type(error).__name__,
                    extra={"action": "engine.enqueue-failed"},
                )  # fmt: skip
            self._is_heard = False

    async def _get_docket(self) -> "Docket":
        async with self._opening:
            if self._docket is None:
                docket = await _open_docket(slots=PRODUCER_SLOTS).__aenter__()
                docket.register(_carry, names=["run_task"])
                self._docket = docket
            return self._docket


# Below the backends: declaring a task looks its backend up.
@task
def run_task(task_id: str, key: str, run_at: str | None) -> None:
    """Name the unit of work for `django.tasks`; a worker runs it by `agents.run`, never by calling this."""
    raise NotImplementedError(f"task {task_id} is run by a worker's loop")
