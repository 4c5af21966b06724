"""The worker: slots that run tasks, a heartbeat that keeps its lease, a sweep, and a watchdog over its loop."""

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import Error as DatabaseError
from django.utils import timezone

from agents import circuits, engine, leases, queue, registry
from agents.bulk import running as bulk
from agents.flow import Flow, Opened
from agents.orders import Lease
from agents.providers.switchboard import CircuitChange, Switchboard
from agents.providers.vendors import build_switchboard, is_configured
from agents.run import claim, run_task
from agents.switches.stops import Stop, Switches, find_cut
from agents.turns import load_early
from agents.writer import GroupWriter
from audit import background
from audit.exploring import verifying
from toolgate import approvals
from toolgate.replay import runs as what_ifs

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25  # a switch is to be felt within a second, also by a call that began between two looks
SWEEP_SECONDS = 1.0
BACKGROUND = ((bulk,), (what_ifs, verifying))  # a person who cancels a thousand tasks does not wait for a what-if
WATCHDOG_SECONDS = leases.LEASE_SECONDS - 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run under way."""

    lease: Lease
    opened: Opened
    task: asyncio.Task[None]

    def stop(self, why: Stop) -> None:
        """Cut it off, once: asked again, or on its way out, it would be torn from writing how it ended."""
        if not self.task.cancelling() and not self.opened.is_over:
            self.task.cancel(why)


class Worker:
    """Run tasks in this process until told to stop."""

    def __init__(
        self, *, slots: int = 40, clock: Callable[[], datetime] = timezone.now, models: Switchboard | None = None
    ) -> None:
        self._slots = slots
        self._clock = clock
        self._runs: dict[str, _Run] = {}
        self._claims = 0  # under way: each may become a run
        self._drains: set[asyncio.Task[None]] = set()  # begun by the sweep, not by the engine
        self._unknown: set[str] = set()  # held in the table at the last sweep, and not among the runs
        self._writer = GroupWriter()
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="skill")
        self._last_tick = time.monotonic()
        self._last_beat = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._models = models or build_switchboard(self._keep_circuit)
        self._ending = threading.Event()
        self._ended = threading.Event()
        self._background: dict[tuple[background.Job, ...], Future[None]] = {}
        self.worker_id = ""

    @property
    def turned_at(self) -> float:
        """When its loop last turned, by the monotonic clock."""
        return self._last_tick

    @property
    def beat_at(self) -> float | None:
        """When it last renewed its lease, by the monotonic clock; None before it is registered."""
        return self._last_beat if self.worker_id else None

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> None:
        """Register, work until `stop` is set, then let runs finish for WORKER_DRAIN_SECONDS and give the rest back.

        `hurry` ends the waiting.
        """
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self.worker_id = await self._write(lambda: leases.register_worker(now=self._clock(), slots=self._slots))
        if is_configured():
            self._threads.submit(load_early, now=self._clock())
        engine.on_cancel(self._cancel_from_thread)
        chores = [asyncio.create_task(chore) for chore in (self._beat(), self._sweep(stop), self._poll(), self._tick())]
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            await engine.backend().consume(self._run_next, slots=self._slots, stop=stop)
            await self._let_finish(hurry or asyncio.Event())
        finally:
            self._ending.set()
            engine.off_cancel(self._cancel_from_thread)
            for task in (*chores, *self._drains):
                task.cancel()
            await self._wind_up()

    async def _run_next(self) -> bool:
        """Claim the next task and see it through; False if none is due or no slot is free, whoever asks."""
        run = await self._begin_next()
        if run is None:
            return False
        await self._see_through(run)
        return True

    async def _begin_next(self) -> _Run | None:
        """Claim the next task and begin its run, if a slot is free: one that is being claimed for is not."""
        if len(self._runs) + self._claims >= self._slots:
            return None
        self._claims += 1
        try:
            lease = await claim(self._flow())
            return None if lease is None else self._begin(lease)
        except Exception:  # a slot must outlive whatever stopped it from claiming
            log.exception("cannot claim", extra={"action": "worker.claim-failed"})
            await asyncio.sleep(SWEEP_SECONDS)
            return None
        finally:
            self._claims -= 1

    def _begin(self, lease: Lease) -> _Run:
        opened = Opened()
        task = asyncio.create_task(run_task(lease, self._flow(), opened), name=lease.task_id)
        self._runs[lease.task_id] = run = _Run(lease=lease, opened=opened, task=task)
        return run

    async def _fill_slots(self, stop: asyncio.Event) -> None:
        """Run what is due though no message says so, each on a drain of its own: the broker may be gone.

        One claim after the other, so that tasks that may not start yet cost a look a second and not one a slot.
        """
        while not stop.is_set() and (run := await self._begin_next()):
            drain = asyncio.create_task(self._go_on_from(run, stop))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)

    async def _go_on_from(self, run: _Run, stop: asyncio.Event) -> None:
        await self._see_through(run)
        await engine.drain(self._run_next, stop)

    async def _see_through(self, run: _Run) -> None:
        """Wait for the end of a run, apart from which it goes on, so that the engine's stop does not cut it off."""
        try:
            await asyncio.wait([run.task])
        finally:
            if run.task.done():
                self._runs.pop(run.lease.task_id, None)

    def _flow(self) -> Flow:
        return Flow(
            worker_id=self.worker_id,
            write=self._write,
            clock=self._clock,
            threads=self._threads,
            draw=random.random,
            models=self._models,
        )

    async def _write[T](self, function: Callable[[], T]) -> T:
        return await self._writer.write(function)

    async def _keep_circuit(self, change: CircuitChange) -> None:
        def keep() -> list[str]:
            circuits.keep_change(change, worker_id=self.worker_id, now=self._clock())
            return [change.provider]

        await self._chore(keep)

    async def _beat(self) -> None:
        """Keep the lease; without it, stop all runs before others may claim them."""
        while True:
            try:
                await self._renew()
            except Exception:  # whatever it is, without a beat the lease lapses
                log.exception("the lease was not renewed", extra={"action": "worker.beat-failed"})
                if time.monotonic() - self._last_beat > WATCHDOG_SECONDS:
                    self._abandon("the lease cannot be renewed")
            await asyncio.sleep(leases.BEAT_SECONDS)

    async def _renew(self) -> None:
        try:
            await self._write(lambda: leases.beat(self.worker_id, now=self._clock()))
        except leases.WorkerGone:
            self._abandon("the lease was taken away")
            self.worker_id = await self._write(lambda: leases.register_worker(now=self._clock(), slots=self._slots))
        self._last_beat = time.monotonic()

    def _abandon(self, why: str) -> None:
        log.error("stopping all runs: %s", why, extra={"action": "worker.abandoned", "runs": len(self._runs)})
        for run in self._runs.values():
            run.task.cancel()

    async def _sweep(self, stop: asyncio.Event) -> None:
        """Look after what no message tells: due tasks, dead workers, approvals that nobody answered."""
        while True:
            await self._chore(lambda: leases.reap(own=self.worker_id, now=self._clock()))
            await self._chore(lambda: [a.id for a in approvals.expire_due(self._clock())])
            await self._chore(lambda: [a.id for a in approvals.escalate_due(self._clock())])
            await self._chore(lambda: queue.wake_idle_workflows(now=self._clock()))
            await self._fill_slots(stop)
            await self._take_back_forgotten()
            await self._run_background()
            await asyncio.sleep(SWEEP_SECONDS)

    async def _run_background(self) -> None:
        """Have what outlasts a request done on threads, one run of a lane at a time; nothing may wait for it."""
        for lane in BACKGROUND:
            before = self._background.get(lane)
            if before is not None and not before.done():
                continue
            if await self._chore(partial(self._list_due, lane)):
                self._background[lane] = self._threads.submit(
                    background.run_due_apart, lane, clock=self._clock, is_stopping=self._ending.is_set
                )

    def _list_due(self, lane: Iterable[background.Job]) -> list[str]:
        return [id_ for job in lane for id_ in job.list_due(self._clock())]

    async def _take_back_forgotten(self) -> None:
        """Take back what this worker holds in the table but has not run for two sweeps."""
        held = set(await self._chore(lambda: [task.id for task in leases.list_held(self.worker_id)]))
        unknown = held - self._runs.keys()
        forgotten, self._unknown = unknown & self._unknown, unknown
        if forgotten:
            take_back = partial(leases.take_back_forgotten, self.worker_id, forgotten=forgotten)
            await self._chore(lambda: take_back(now=self._clock()))

    async def _poll(self) -> None:
        """Notice cancellations asked for and switches turned in other processes."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._runs:
                for task_id in await self._chore(lambda: leases.cancel_requests(self.worker_id)):
                    self._cancel(task_id)
                for switches in await self._chore(lambda: [registry.read_switches()]):
                    self._heed(switches)

    def _heed(self, switches: Switches) -> None:
        for run in self._runs.values():
            why = find_cut(switches, agent_id=run.lease.agent_id, skill_id=run.opened.skill_id)
            if why is not None:
                run.stop(why)

    async def _chore[T](self, function: Callable[[], Iterable[T]]) -> Iterable[T]:
        try:
            return await self._write(function)
        except DatabaseError:
            log.warning("the store is away", extra={"action": "worker.store-away"})
        except Exception:  # a chore is done again in a moment; it must not end for a defect
            log.exception("a chore failed", extra={"action": "worker.chore-failed"})
        return ()

    def _cancel_from_thread(self, task_id: str) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel, task_id)

    def _cancel(self, task_id: str) -> None:
        run = self._runs.get(task_id)
        if run is not None:
            run.stop(Stop.CANCELLED)

    async def _tick(self) -> None:
        while True:
            self._last_tick = time.monotonic()
            await asyncio.sleep(1)

    def _watch(self) -> None:
        """End the process if its loop is blocked so long that the lease is about to lapse.

        A blocked loop cannot cancel its own runs, and another worker is about to start them a second time.
        """
        while not self._ended.wait(1):
            if time.monotonic() - self._last_tick > WATCHDOG_SECONDS:
                log.critical("the worker's loop is blocked: ending the process", extra={"action": "worker.blocked"})
                os._exit(70)

    async def _let_finish(self, hurry: asyncio.Event) -> None:
        """Wait for the runs under way; the lease is kept meanwhile, and switches and cancellations are heeded."""
        self._ending.set()
        if runs := [run.task for run in self._runs.values()]:
            waiting = [asyncio.create_task(asyncio.wait(runs)), asyncio.create_task(hurry.wait())]
            await asyncio.wait(waiting, timeout=settings.WORKER_DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def _wind_up(self) -> None:
        self._ended.set()
        leftover = [run.task for run in self._runs.values()]
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)
        await self._chore(lambda: leases.release_unfinished(self.worker_id, now=self._clock()))
        await self._chore(lambda: leases.retire_worker(self.worker_id))
        await self._models.aclose()
        await asyncio.to_thread(self._writer.stop)
        self._threads.shutdown(wait=False, cancel_futures=True)
