"""Work that outlasts a request: a row that whoever does it holds by its beats, so that a dead one's is taken over."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from django.db import DatabaseError, connections
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.models import BackgroundRun, RunState
from audit.transactions import write_transaction

BEAT_SECONDS: Final = 0.5
STALE: Final = timedelta(seconds=30)  # silent for so long, a runner is taken for dead
OPEN: Final = (RunState.WAITING, RunState.RUNNING)
_MAX_DUE: Final = 3
_OURS: Final = {"audit", "toolgate", "agents", "orchestrator_site"}  # whose errors are written for people

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]
Kind = type[BackgroundRun]


class Stopped(Exception):
    """The process ends: another runner takes the run from its start."""


class Lost(Exception):
    """Another runner has taken the run over; it keeps nothing of this one."""


def go_on() -> bool:
    """Never stop."""
    return False


class Job(Protocol):
    """A kind of run, as the worker does it: a module will do."""

    def list_due(self, now: datetime) -> Sequence[str]:
        """Return the ids of what waits, or was left by a dead runner; the oldest first."""
        ...

    def run_due(self, *, clock: Clock, is_stopping: Callable[[], bool]) -> str | None:
        """Do the next that is due, to its end; return its id, None if there is none."""
        ...


class Hold[Run: BackgroundRun]:
    """One runner's hold on a run: every write is bound to its own last beat."""

    def __init__(self, run: Run, *, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = go_on) -> None:
        self.run = run
        self.clock = clock
        self._is_stopping = is_stopping
        self._beaten = monotonic()

    def beat(self, done: int) -> None:
        """Say how far it is, now and then. Raises: Stopped, Lost."""
        if self._is_stopping():
            raise Stopped
        if monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = monotonic()
            self._write(beat_at=self.clock(), done=min(done, self.run.total))

    def finish(self, result: Any, *, tell: Callable[[], None] | None = None) -> None:
        """Keep what came out; `tell` records it in the same transaction. Raises: Lost."""
        with write_transaction():
            self._write(state=RunState.DONE, ended_at=self.clock(), done=self.run.total, result=result)
            if tell:
                tell()

    def end(self, **columns: Any) -> None:
        """Let go of it; if it is no longer held, or cannot be written, others will find it."""
        try:
            self._write(**columns)
        except Exception:  # the store is away, or somebody else has it
            log.warning("a run was not let go of", extra={"action": "run.held", "run_id": self.run.id})

    def fail(self, error: Exception) -> None:
        """Say in the row what went wrong."""
        self.end(state=RunState.FAILED, ended_at=self.clock(), error=say_failure(error)[:500])

    def _write(self, **columns: Any) -> None:
        mine = type(self.run)._default_manager.filter(id=self.run.id, state=RunState.RUNNING, beat_at=self.run.beat_at)
        with write_transaction():
            if not mine.update(**columns):
                raise Lost
        self.run.beat_at = columns.get("beat_at", self.run.beat_at)


def say_failure(error: Exception) -> str:
    """Return in words why a run failed; what only a programmer can read is in the log, under the run's id."""
    if isinstance(error, DatabaseError):
        return "The relational store did not answer."
    if type(error).__module__.partition(".")[0] in _OURS and str(error):
        return str(error)
    return "It met an error that nobody foresaw; the log has it under this run's id."


def filter_due[Run: BackgroundRun](runs: QuerySet[Run], now: datetime) -> QuerySet[Run]:
    """Return of `runs` what waits for a runner, or was left by a dead one; the oldest first."""
    left = Q(state=RunState.RUNNING, beat_at__lt=now - STALE)
    # The first condition is the partial index's: the list of all runs only grows.
    return runs.filter(Q(state__in=OPEN), Q(state=RunState.WAITING) | left).order_by("created_at", "id")


def list_ids(due: QuerySet[Any]) -> list[str]:
    """Return the ids of the first that are due."""
    return list(due.values_list("id", flat=True)[:_MAX_DUE])


def claim[Run: BackgroundRun](due: QuerySet[Run], *, clock: Clock, is_stopping: Callable[[], bool]) -> Hold[Run] | None:
    """Take the first of what is due; None if there is none, or somebody was quicker."""
    run, now = due.first(), clock()
    if run is None:
        return None
    same = due.model._default_manager.filter(id=run.id, state=run.state, beat_at=run.beat_at)
    with write_transaction():
        if not same.update(state=RunState.RUNNING, beat_at=now, done=0):
            return None
    run.beat_at, run.state, run.done = now, RunState.RUNNING, 0
    return Hold(run, clock=clock, is_stopping=is_stopping)


def see_through[Run: BackgroundRun](
    hold: Hold[Run], work: Callable[[Hold[Run]], Any], *, tell: Callable[[Run, Any], None] | None = None
) -> None:
    """Do the work of a run that is held and keep its result, recorded by `tell`; what goes wrong is in its row."""
    extra = {"run_id": hold.run.id}
    try:
        result = work(hold)
        hold.finish(result, tell=partial(tell, hold.run, result) if tell else None)
    except Lost:
        log.warning("a run was taken over", extra={"action": "run.lost", **extra})
    except Stopped:
        hold.end(state=RunState.WAITING, beat_at=None, done=0)
    except Exception as error:  # the edge of the runner: whoever asked has to be told
        log.exception("a run failed", extra={"action": "run.failed", **extra})
        hold.fail(error)


def run_due_apart(jobs: Sequence[Job], *, clock: Clock, is_stopping: Callable[[], bool]) -> None:
    """Do the next due run of each kind on a thread that somebody else lends: its connection is closed afterwards."""
    try:
        for job in jobs:
            job.run_due(clock=clock, is_stopping=is_stopping)
    except DatabaseError:
        log.warning("the store is away", extra={"action": "run.store-away"})
    finally:
        connections.close_all()
