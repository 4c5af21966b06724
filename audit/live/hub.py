"""The live hub: one task a process tails the store by `seq`; every reader holds only a cursor into its ring."""

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson
from django.db import close_old_connections

from audit import bell
from audit.exceptions import StoreUnavailable
from audit.exploring import queries
from audit.live.doorbell import hear_through_redis
from audit.live.items import FeedFilters, to_item
from audit.models import TreeHead
from audit.wire import format_at

logger = logging.getLogger(__name__)

WINDOW: Final = 500
MAX_ITEMS: Final = 200  # a frame shows the newest of them and says how many it skipped
COUNTED: Final = "approval."  # events that change what the badges of every page count, whatever its filters are
_MAX_BATCHES: Final = 128
_PRELOAD: Final = 500  # so that a page rendered a moment ago finds its successors in the ring
_MIN_PAUSE_SECONDS: Final = 0.05
_MAX_PAUSE_SECONDS: Final = 0.25
_PAUSE_BY_COST: Final = 5  # so many times what the loop spent since the last read, which is mostly on readers

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """The frames that bring a reader to the head; `tells` if they hold more than that the head has moved."""

    frames: tuple[str, ...] = ()
    tells: bool = False


NOTHING: Final = Batch()
ReadRange = Callable[..., list[dict[str, Any]]]


def find_end() -> int:
    """Return the highest number in the store, as far as the ledger gave it out: a forged number leads nobody astray.

    Raises: StoreUnavailable; DatabaseError.
    """
    numbered = TreeHead.objects.values_list("seq", flat=True).first() or 0
    return min(int(numbered), queries.get_head_seq())


def find_archived() -> int:
    """Return the number up to which every event was moved out of the store, with its proofs."""
    return TreeHead.objects.values_list("archived_seq", flat=True).first() or 0


class Hub:
    """Tails the store and keeps the last events for its readers; polls when no bell rings.

    Numbers come in order; the hub waits up to `hole_seconds` for one that is not there yet, then goes on and
    tells its readers of the gap.
    """

    def __init__(
        self,
        *,
        read_range: ReadRange = queries.read_range,
        find_end: Callable[[], int] = find_end,
        poll_seconds: float = 0.5,
        ring_size: int = 5_000,
        hole_seconds: float = 1.0,
    ) -> None:
        self.head = 0
        self.version = 0  # raised at each change that readers should look at
        self.store_ok = True
        self.store_changed_at = ""
        self.skipped = self.passed_over = 0  # events that frames left out, numbers that never came
        self._read_range, self._find_end = read_range, find_end
        self._poll_seconds, self._ring_size, self._hole_seconds = poll_seconds, ring_size, hole_seconds
        self._base = 0  # the ring holds all numbers above it, but for the gaps
        self._seqs: list[int] = []
        self._items: list[Item] = []
        self._written: list[orjson.Fragment] = []  # the same as frames carry them
        self._gaps: list[tuple[int, int]] = []  # after, to: numbers that the hub went over
        self._hole_since: float | None = None
        self._batches: dict[tuple[int, FeedFilters], Batch] = {}
        self.readers = 0  # sockets and streams
        self._spent = 0.0  # seconds of CPU of the loop's thread, at the last pause
        self._wanted, self._rung, self._changed, self._ready = (asyncio.Event() for _ in range(4))
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._executor = ThreadPoolExecutor(2, "audit-hub")
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin to tail; no await before the task exists, or two callers would make two."""
        self._tasks = [self._loop.create_task(self._tail()), self._loop.create_task(hear_through_redis(self._rung.set))]
        bell.shipped.listen(self._ring)

    async def stop(self) -> None:
        """End the tail."""
        bell.shipped.unlisten(self._ring)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._executor.shutdown(wait=False)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the hub awake while inside: without readers it does not ask the store."""
        self.readers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers:
                self._wanted.clear()

    @contextmanager
    def watching(self, task_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever there is news of the task."""
        news = asyncio.Event()
        watchers = self._watchers.setdefault(task_id, set())
        watchers.add(news)
        try:
            with self.reading():
                yield news
        finally:
            watchers.discard(news)
            if not watchers:
                self._watchers.pop(task_id, None)

    @property
    def is_ready(self) -> bool:
        """Tell whether the hub knows where the store ends."""
        return self._ready.is_set()

    async def wait_ready(self, timeout_seconds: float | None = None) -> None:
        """Wait until the hub knows where the store ends, or until the time is up: the store may be away."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), timeout_seconds)

    async def wait_change(self, version: int) -> None:
        """Wait until there is something newer than `version`."""
        while self.version == version:
            await self._changed.wait()

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a reading function in one of the hub's threads."""
        return await self._loop.run_in_executor(self._executor, lambda: _run_apart(function, *args, **kwargs))

    def collect(self, cursor: int, filters: FeedFilters) -> Batch:
        """Return what brings a reader from `cursor` to the head; readers at the same place share its frames.

        In the order of their numbers: a `gap` for what left the ring or was never seen, an `ev` for the rest.
        """
        if cursor >= self.head:
            return NOTHING
        key = (cursor, filters)
        batch = self._batches.get(key)
        if batch is None:
            batch = self._make_batch(cursor, filters)
            if len(self._batches) < _MAX_BATCHES:  # while nothing happens, a reader may ask for any number of them
                self._batches[key] = batch
        return batch

    def _make_batch(self, cursor: int, filters: FeedFilters) -> Batch:
        gaps = [(cursor, self._base)] if cursor < self._base else []
        gaps += [gap for gap in self._gaps if gap[1] > max(cursor, self._base)]
        frames, at = list[str](), cursor
        for after, to in gaps:
            if at < after:
                frames.append(self._make_frame(at, after, filters)[0])
            frames.append(_frame(op="gap", after=max(at, after), to=to))
            at = to
        frame, tells = self._make_frame(at, self.head, filters)
        return Batch((*frames, frame), tells=tells or bool(gaps))

    def _make_frame(self, after: int, to: int, filters: FeedFilters) -> tuple[str, bool]:
        """Return the `ev` of `after` < seq ≤ `to`, and whether it holds more than that the head has moved."""
        begin, end = bisect_right(self._seqs, after), bisect_right(self._seqs, to)
        news = self._items[begin:end]
        wanted = [place for place, item in enumerate(news, begin) if filters.let_through(item)]
        shown = [self._written[place] for place in wanted[-MAX_ITEMS:]]
        counts = any((item["type"] or "").startswith(COUNTED) for item in news)
        self.skipped += len(wanted) - len(shown)
        frame = _frame(op="ev", items=shown, head=to, skipped=len(wanted) - len(shown), counts=counts)
        return frame, bool(shown or counts)

    async def _tail(self) -> None:
        while True:
            if not self._wanted.is_set():
                await self._wanted.wait()
                self._ready.clear()
            try:
                more = await self._advance()
                self._note_store(ok=True)
            except StoreUnavailable as error:
                more = False
                if self.store_ok:
                    logger.warning("live feed: %s", error, extra={"action": "feed.behind"})
                self._note_store(ok=False)
            except Exception:
                more = False
                logger.exception("live feed: a read failed", extra={"action": "feed.failed"})
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._rung.wait(), self._poll_seconds)
                self._rung.clear()
            await self._pause()

    async def _pause(self) -> None:
        """Leave the loop to the readers: the more a frame for all of them costs, the fewer and larger they get."""
        spent = time.thread_time()
        wanted = _PAUSE_BY_COST * (spent - self._spent)
        self._spent = spent
        await asyncio.sleep(min(max(wanted, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS))

    async def _advance(self) -> bool:
        """Take in what is new; tell whether there is likely more."""
        if not self._ready.is_set():
            await self._find_start()
        read = await self.run(self._read_range, after=self.head, to=self.head + WINDOW, limit=WINDOW)
        events = [event for event in read if isinstance(event["seq"], int)]  # a number that was made none is a hole
        next_seq = events[0]["seq"] if events else 0
        if next_seq != self.head + 1:
            if not await self._may_pass_hole(next_seq):
                return False
        else:
            self._hole_since = None
        self._take_in(events)
        return len(read) >= WINDOW

    async def _find_start(self) -> None:
        """Begin near the end of the store, unless the ring reaches so far already."""
        end = await self.run(self._find_end)
        if not self._seqs or end - self.head > self._ring_size:
            self.head = self._base = max(0, end - _PRELOAD)
            self._seqs, self._items, self._written, self._gaps = [], [], [], []
            self._batches.clear()
        if end <= self.head:
            self._ready.set()
            self._change()

    async def _may_pass_hole(self, next_seq: int) -> bool:
        """Tell whether to go over the numbers that are missing after the head: they had their time to appear."""
        end = await self.run(self._find_end)
        if end <= self.head:
            self._hole_since = None
            self._ready.set()
            return False
        now = self._loop.time()
        self._hole_since = self._hole_since or now
        if now - self._hole_since < self._hole_seconds:
            return False
        next_seq = min(next_seq or end, end, self.head + WINDOW + 1)
        logger.warning(
            "live feed: events %d to %d are not in the store", self.head + 1, next_seq - 1, extra={"action": "feed.gap"}
        )
        self._gaps.append((self.head, next_seq - 1))
        self.passed_over += next_seq - 1 - self.head
        self.head, self._hole_since = next_seq - 1, None
        return True

    def _take_in(self, events: list[dict[str, Any]]) -> None:
        """Append the events that follow on the head without a hole, and wake everyone whom they concern."""
        for event in events:
            if event["seq"] != self.head + 1:
                break
            item = to_item(event)
            self._seqs.append(item["seq"])
            self._items.append(item)
            self._written.append(_write(item))
            self.head = item["seq"]
            for news in self._watchers.get(item["taskId"] or "", ()):
                news.set()
        surplus = len(self._seqs) - self._ring_size
        if surplus > 0:
            self._base = self._seqs[surplus - 1]
            del self._seqs[:surplus], self._items[:surplus], self._written[:surplus]
            self._gaps = [gap for gap in self._gaps if gap[1] > self._base]
        if len(events) < WINDOW:
            self._ready.set()
        self._change()

    def _note_store(self, *, ok: bool) -> None:
        if ok is not self.store_ok:
            self.store_ok, self.store_changed_at = ok, format_at(datetime.now(UTC))
            self._change()

    def _change(self) -> None:
        self._batches.clear()
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _ring(self) -> None:
        """Wake the tail, from the thread of whoever shipped."""
        if self._rung.is_set():
            return
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._rung.set)


def _run_apart(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function as a request of its own, as far as the database's connections go."""
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


def _write(item: Item) -> orjson.Fragment:
    """Return an item as frames carry it: written once, and without what is empty, since hundreds may get it."""
    return orjson.Fragment(orjson.dumps({name: value for name, value in item.items() if value is not None}))


def _frame(**content: Any) -> str:
    return orjson.dumps(content).decode()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """Return the hub of this process's loop, started the first time."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub()
        hub.start()
    return hub


def list_hubs() -> list[Hub]:
    """Return the hubs of this process, one a loop; from any thread."""
    return list(_hubs.values())
