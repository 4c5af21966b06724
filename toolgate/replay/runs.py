"""What-ifs: asked for, run at once or by a worker, taken over from a dead one, kept with their report."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import batched
from time import monotonic
from typing import Any

from django.db import DatabaseError, connections
from django.db.models import Q, QuerySet
from django.utils import timezone

from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.editing.versions import get_newest, read_rules
from toolgate.exceptions import TooManyWhatIfs, WhatIfNotFound
from toolgate.fleet import TaskFacts, get_fleet
from toolgate.models import WhatIf, WhatIfState
from toolgate.policy import Rule, dump_policy, policy_digest, read_policy
from toolgate.records import restore_resource
from toolgate.replay.report import Report, Tally, write_report
from toolgate.replay.scan import Span, count_pairs, read_agent
from toolgate.replay.scope import Comparison, compare
from toolgate.replay.simulation import PairReplay

AT_ONCE_ROWS = 100_000  # replayed while the asker waits: about two seconds
MAX_OPEN = 3  # what-ifs of one person that wait or run
BEAT_SECONDS = 0.5
STALE = timedelta(seconds=30)  # silent for so long, a runner is taken for dead
CHECK_ROWS = 1_000
TASKS_A_QUERY = 500
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
OPEN = (WhatIfState.WAITING, WhatIfState.RUNNING)

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class _Stopped(Exception):
    """The process ends: another runner takes the what-if from its start."""


class _Lost(Exception):
    """Another runner has taken the what-if over; it keeps nothing of this one."""


def _go_on() -> bool:
    return False


# --- ask --------------------------------------------------------------------------------------------------------
def start_what_if(
    rules: Iterable[Rule | Mapping[str, Any]], *, base_version: int | None, asked_by: str, since: datetime | None,
    now: datetime,
) -> WhatIf:  # fmt: skip
    """Ask what `rules` would have made of the history since `since` (None: all of it), beside a version's rules.

    A small history is replayed before this returns; a large one waits for a worker, or for `run_what_if`.
    `base_version` None is the version in force. Raises: PolicyInvalid, TooManyWhatIfs,
    VersionMissing.
    """
    policy = read_policy(rules)
    base_version = get_newest().number if base_version is None else base_version
    base = read_policy(read_rules(base_version))
    comparison = compare(base, policy, version=base_version, now=now)
    counts = count_pairs(Span(start=since or BEGINNING, end=now))
    what_if = WhatIf(
        id=new_id(),
        base_version=base_version,
        rules=dump_policy(policy),
        digest=policy_digest(policy),
        since=since,
        asked_by=asked_by,
        created_at=now,
        total=sum(count for pair, count in counts.items() if comparison.find_changed(*pair)),
    )
    if what_if.total > AT_ONCE_ROWS:
        _open(what_if, now=now)
    else:
        what_if.state, what_if.beat_at = WhatIfState.RUNNING, now  # held from the start: no worker is quicker
        _open(what_if, now=now)
        _see_through(_Run(what_if, clock=timezone.now, is_stopping=_go_on))
    return get_what_if(what_if.id)


def _open(what_if: WhatIf, *, now: datetime) -> None:
    with write_transaction():
        if WhatIf.objects.filter(asked_by=what_if.asked_by, state__in=OPEN).count() >= MAX_OPEN:
            raise TooManyWhatIfs(MAX_OPEN)
        what_if.save(force_insert=True)
        body = {
            "whatIfId": what_if.id,
            "digest": what_if.digest,
            "baseVersion": what_if.base_version,
            "since": what_if.since.isoformat() if what_if.since else None,
            "decisions": what_if.total,
        }
        record(Event(type=EventType.POLICY_REPLAYED, at=now, actor=f"user:{what_if.asked_by}", body=body))


# --- read -------------------------------------------------------------------------------------------------------
def find_what_if(what_if_id: str) -> WhatIf | None:
    """Return one what-if, or None."""
    return WhatIf.objects.filter(id=what_if_id).first()


def get_what_if(what_if_id: str) -> WhatIf:
    """Return one what-if. Raises: WhatIfNotFound."""
    what_if = find_what_if(what_if_id)
    if what_if is None:
        raise WhatIfNotFound(what_if_id)
    return what_if


def find_latest(digest: str) -> WhatIf | None:
    """Return the newest what-if of these rules that is done, None if there is none."""
    return WhatIf.objects.filter(digest=digest, state=WhatIfState.DONE).order_by("-created_at").first()


def list_due(now: datetime) -> list[str]:
    """Return the ids of what waits for a runner, or was left by a dead one; the oldest first."""
    return list(_due(now).values_list("id", flat=True)[:MAX_OPEN])


def _due(now: datetime) -> QuerySet[WhatIf]:
    left = Q(state=WhatIfState.RUNNING, beat_at__lt=now - STALE)
    # The first condition is the partial index's: the list of all what-ifs only grows.
    return WhatIf.objects.filter(Q(state__in=OPEN), Q(state=WhatIfState.WAITING) | left).order_by("created_at", "id")


# --- run --------------------------------------------------------------------------------------------------------
def run_due(*, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = _go_on) -> str | None:
    """Run the next what-if that is due, to its end; return its id, None if there is none.

    Once `is_stopping` says so, it is given back within a thousand rows.
    """
    what_if_id = next(iter(list_due(clock())), None)
    if what_if_id is not None:
        run_what_if(what_if_id, clock=clock, is_stopping=is_stopping)
    return what_if_id


def run_due_apart(*, clock: Clock, is_stopping: Callable[[], bool]) -> None:
    """Do `run_due` on a thread that somebody else lends: its connection is closed afterwards."""
    try:
        run_due(clock=clock, is_stopping=is_stopping)
    except DatabaseError:
        log.warning("the store is away", extra={"action": "what-if.store-away"})
    finally:
        connections.close_all()


def run_what_if(what_if_id: str, *, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = _go_on) -> None:
    """Run one what-if in this thread, unless somebody else runs it; what goes wrong is kept in its row."""
    run = _claim(what_if_id, clock=clock, is_stopping=is_stopping)
    if run is not None:
        _see_through(run)


def _see_through(run: "_Run") -> None:
    extra = {"what_if_id": run.what_if.id}
    try:
        run.finish(_replay(run))
    except _Lost:
        log.warning("a what-if was taken over", extra={"action": "what-if.lost", **extra})
    except _Stopped:
        run.end(state=WhatIfState.WAITING, beat_at=None, done=0)
    except Exception as error:  # the edge of the runner: whoever asked has to be told
        log.exception("a what-if failed", extra={"action": "what-if.failed", **extra})
        run.end(state=WhatIfState.FAILED, ended_at=run.clock(), error=f"{type(error).__name__}: {error}"[:500])


class _Run:
    """One runner's hold on a what-if: every write is bound to its own last beat."""

    def __init__(self, what_if: WhatIf, *, clock: Clock, is_stopping: Callable[[], bool]) -> None:
        self.what_if = what_if
        self.clock = clock
        self._is_stopping = is_stopping
        self._beaten = monotonic()

    def beat(self, done: int) -> None:
        """Say how far it is, now and then. Raises: _Stopped, _Lost."""
        if self._is_stopping():
            raise _Stopped
        if monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = monotonic()
            self._write(beat_at=self.clock(), done=min(done, self.what_if.total))

    def finish(self, report: Report) -> None:
        """Keep the report. Raises: _Lost."""
        self._write(state=WhatIfState.DONE, ended_at=self.clock(), done=self.what_if.total, result=report)

    def end(self, **columns: Any) -> None:
        """Let go of it; if it is no longer held, or cannot be written, others will find it."""
        try:
            self._write(**columns)
        except Exception:  # the store is away, or somebody else has it
            log.warning("a what-if was not let go of", extra={"action": "what-if.held", "what_if_id": self.what_if.id})

    def _write(self, **columns: Any) -> None:
        mine = WhatIf.objects.filter(id=self.what_if.id, state=WhatIfState.RUNNING, beat_at=self.what_if.beat_at)
        with write_transaction():
            if not mine.update(**columns):
                raise _Lost
        self.what_if.beat_at = columns.get("beat_at", self.what_if.beat_at)


def _claim(what_if_id: str, *, clock: Clock, is_stopping: Callable[[], bool]) -> _Run | None:
    now = clock()
    what_if = _due(now).filter(id=what_if_id).first()
    if what_if is None:
        return None
    same = WhatIf.objects.filter(id=what_if.id, state=what_if.state, beat_at=what_if.beat_at)
    with write_transaction():
        if not same.update(state=WhatIfState.RUNNING, beat_at=now, done=0):
            return None
    what_if.beat_at = now
    return _Run(what_if, clock=clock, is_stopping=is_stopping)


def _replay(run: _Run) -> Report:
    what_if, started = run.what_if, monotonic()
    base = read_policy(read_rules(what_if.base_version))
    comparison = compare(base, read_policy(what_if.rules), version=what_if.base_version, now=what_if.created_at)
    start = what_if.since or BEGINNING
    counts = count_pairs(Span(start=start, end=what_if.created_at))
    tally = Tally(changed=frozenset(rule.id for rule in comparison.changed))
    for agent_id, skill_ids in _concerned(counts, comparison).items():
        _replay_agent(run, tally, comparison, agent_id=agent_id, skill_ids=skill_ids)
    report = write_report(tally, _find_tasks(tally.touched))
    total = sum(counts.values())
    report["coverage"] |= {"recorded": total, "untouched": total - what_if.total, "leftOut": list(comparison.left_out)}
    report["tookSeconds"] = round(monotonic() - started, 3)
    return report


def _concerned(counts: Iterable[tuple[str, str]], comparison: Comparison) -> dict[str, list[str]]:
    """Return the agents that are to be replayed, with their skills."""
    found: dict[str, list[str]] = {}
    for agent_id, skill_id in counts:
        if comparison.find_changed(agent_id, skill_id):
            found.setdefault(agent_id, []).append(skill_id)
    return found


def _replay_agent(run: _Run, tally: Tally, comparison: Comparison, *, agent_id: str, skill_ids: list[str]) -> None:
    what_if = run.what_if
    replays = {skill_id: PairReplay(agent_id, skill_id, comparison, restore_resource) for skill_id in skill_ids}
    since = what_if.since or BEGINNING
    span = Span(start=max(since - comparison.warm_up, BEGINNING), end=what_if.created_at)
    for number, row in enumerate(read_agent(agent_id, skill_ids, span, sizes=comparison.weighs_arguments)):
        turn = replays[row.skill_id].replay(row)
        if row.at >= since:
            tally.take(agent_id, turn, base_version=what_if.base_version)
        if number % CHECK_ROWS == 0:
            run.beat(tally.taken)


def _find_tasks(task_ids: Iterable[str]) -> dict[str, TaskFacts]:
    fleet, found = get_fleet(), dict[str, TaskFacts]()
    for some in batched(task_ids, TASKS_A_QUERY, strict=False):
        found |= fleet.find_tasks(some)
    return found
