"""The live hub: one task a process tails the store by `seq`; every reader holds only a cursor into its ring."""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson

from audit import bell, queries
from audit.doorbell import hear_through_redis
from audit.exceptions import StoreUnavailable
from audit.feed_items import FeedFilters, to_item
from audit.wire import format_at

__all__ = ["FeedFilters", "Hub", "get_hub", "to_item"]

logger = logging.getLogger(__name__)

WINDOW: Final = 500
MAX_ITEMS: Final = 200  # a frame shows the newest of them and says how many it skipped
COUNTED: Final = "approval."  # events that change what the badges of every page count, whatever its filters are
_PRELOAD: Final = 500  # so that a page rendered a moment ago finds its successors in the ring
_MIN_INTERVAL_SECONDS: Final = 0.05

Item = dict[str, Any]
ReadRange = Callable[..., list[dict[str, Any]]]


class Hub:
    """Tails the store and keeps the last events for its readers; polls when no bell rings.

    Numbers come in order; the hub waits up to `hole_seconds` for one that is not there yet, then goes on and
    tells its readers of the gap.
    """

    def __init__(
        self,
        *,
        read_range: ReadRange = queries.read_range,
        get_head_seq: Callable[[], int] = queries.get_head_seq,
        poll_seconds: float = 0.5,
        ring_size: int = 5_000,
        hole_seconds: float = 1.0,
    ) -> None:
        self.head = 0
        self.version = 0  # raised at each change that readers should look at
        self.store_ok = True
        self.store_changed_at = ""
        self._read_range, self._get_head_seq = read_range, get_head_seq
        self._poll_seconds, self._ring_size, self._hole_seconds = poll_seconds, ring_size, hole_seconds
        self._base = 0  # the ring holds all numbers above it, but for the gaps
        self._seqs: list[int] = []
        self._items: list[Item] = []
        self._gaps: list[tuple[int, int]] = []  # after, to: numbers that the hub went over
        self._hole_since: float | None = None
        self._frames: dict[tuple[int, FeedFilters], tuple[str, ...]] = {}
        self._readers = 0
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
        self._readers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
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
        return await self._loop.run_in_executor(self._executor, lambda: function(*args, **kwargs))

    def collect(self, cursor: int, filters: FeedFilters) -> tuple[str, ...]:
        """Return the frames that bring a reader from `cursor` to the head; readers at the same place share them.

        First a `gap` for all that is no longer in the ring or was never seen, then one `ev`.
        """
        key = (cursor, filters)
        if key not in self._frames:
            self._frames[key] = tuple(self._make_frames(cursor, filters)) if cursor < self.head else ()
        return self._frames[key]

    def _make_frames(self, cursor: int, filters: FeedFilters) -> Iterator[str]:
        if cursor < self._base:
            yield _frame(op="gap", after=cursor, to=self._base)
        for after, to in self._gaps:
            if to > max(cursor, self._base):
                yield _frame(op="gap", after=after, to=to)
        news = self._items[bisect_right(self._seqs, cursor) :]
        wanted = [item for item in news if filters.let_through(item)]
        shown = wanted[-MAX_ITEMS:]
        counts = any(item["type"].startswith(COUNTED) for item in news)
        yield _frame(op="ev", items=shown, head=self.head, skipped=len(wanted) - len(shown), counts=counts)

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
                    logger.warning("live feed: %s", error)
                self._note_store(ok=False)
            except Exception:
                more = False
                logger.exception("live feed: a read failed")
            if not more:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._rung.wait(), self._poll_seconds)
                self._rung.clear()
            await asyncio.sleep(_MIN_INTERVAL_SECONDS)

    async def _advance(self) -> bool:
        """Take in what is new; tell whether there is likely more."""
        if not self._ready.is_set():
            await self._find_start()
        events = await self.run(self._read_range, after=self.head, to=self.head + WINDOW, limit=WINDOW)
        next_seq = events[0]["seq"] if events else 0
        if next_seq != self.head + 1:
            if not await self._may_pass_hole(next_seq):
                return False
        else:
            self._hole_since = None
        self._take_in(events)
        return len(events) == WINDOW

    async def _find_start(self) -> None:
        """Begin near the end of the store, unless the ring reaches so far already."""
        end = await self.run(self._get_head_seq)
        if not self._seqs or end - self.head > self._ring_size:
            self.head = self._base = max(0, end - _PRELOAD)
            self._seqs, self._items, self._gaps = [], [], []
            self._frames.clear()
        if end <= self.head:
            self._ready.set()
            self._change()

    async def _may_pass_hole(self, next_seq: int) -> bool:
        """Tell whether to go over the numbers that are missing after the head: they had their time to appear."""
        now = self._loop.time()
        if not next_seq:
            end = await self.run(self._get_head_seq)
            if end <= self.head:
                self._hole_since = None
                self._ready.set()
                return False
            next_seq = min(end, self.head + WINDOW + 1)
        self._hole_since = self._hole_since or now
        if now - self._hole_since < self._hole_seconds:
            return False
        logger.warning("live feed: events %d to %d are not in the store", self.head + 1, next_seq - 1)
        self._gaps.append((self.head, next_seq - 1))
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
            self.head = item["seq"]
            for news in self._watchers.get(item["taskId"] or "", ()):
                news.set()
        surplus = len(self._seqs) - self._ring_size
        if surplus > 0:
            self._base = self._seqs[surplus - 1]
            del self._seqs[:surplus], self._items[:surplus]
            self._gaps = [gap for gap in self._gaps if gap[1] > self._base]
        if len(events) < WINDOW:
            self._ready.set()
        self._change()

    def _note_store(self, *, ok: bool) -> None:
        if ok is not self.store_ok:
            self.store_ok, self.store_changed_at = ok, format_at(datetime.now(UTC))
            self._change()

    def _change(self) -> None:
        self._frames.clear()
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _ring(self) -> None:
        """Wake the tail, from the thread of whoever shipped."""
        if self._rung.is_set():
            return
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._rung.set)


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
