"""What-ifs: asked for, run at once or by a worker, taken over from a dead one, kept with their report."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import batched
from time import monotonic
from typing import Any

from django.utils import timezone

from audit import background, bodies
from audit.background import OPEN, Clock, Hold, filter_due, go_on, see_through
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.models import RunState
from audit.transactions import write_transaction
from toolgate.editing.versions import get_newest, read_rules
from toolgate.exceptions import TooManyWhatIfs, WhatIfNotFound
from toolgate.fleet import TaskFacts, get_fleet
from toolgate.models import WhatIf
from toolgate.policy import Rule, dump_policy, policy_digest, read_policy
from toolgate.records import restore_resource
from toolgate.replay.report import Report, Tally, write_report
from toolgate.replay.scan import Span, count_pairs, read_agent
from toolgate.replay.scope import Comparison, compare
from toolgate.replay.simulation import PairReplay

AT_ONCE_ROWS = 100_000  # replayed while the asker waits: about two seconds
MAX_OPEN = 3  # what-ifs of one person that wait or run
CHECK_ROWS = 1_000
TASKS_A_QUERY = 500
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


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
        what_if.state, what_if.beat_at = RunState.RUNNING, now  # held from the start: no worker is quicker
        _open(what_if, now=now)
        see_through(Hold(what_if), _replay, tell=_tell)
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
        actor = f"user:{what_if.asked_by}"
        record(Event(type=EventType.POLICY_REPLAYED, at=now, actor=actor, body=body, id=what_if.id))


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
    return WhatIf.objects.filter(digest=digest, state=RunState.DONE).order_by("-created_at").first()


def list_due(now: datetime) -> list[str]:
    """Return the ids of what waits for a runner, or was left by a dead one; the oldest first."""
    return background.list_ids(filter_due(WhatIf.objects.all(), now))


# --- run --------------------------------------------------------------------------------------------------------
def run_due(*, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = go_on) -> str | None:
    """Run the next what-if that is due, to its end; return its id, None if there is none.

    Once `is_stopping` says so, it is given back within a thousand rows.
    """
    what_if_id = next(iter(list_due(clock())), None)
    if what_if_id is not None:
        run_what_if(what_if_id, clock=clock, is_stopping=is_stopping)
    return what_if_id


def run_what_if(what_if_id: str, *, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = go_on) -> None:
    """Run one what-if in this thread, unless somebody else runs it; what goes wrong is kept in its row."""
    due = filter_due(WhatIf.objects.filter(id=what_if_id), clock())
    hold = background.claim(due, clock=clock, is_stopping=is_stopping)
    if hold is not None:
        see_through(hold, _replay, tell=_tell)


def _tell(what_if: WhatIf, report: Report) -> None:
    """Record that the report is there: pages that wait for it follow the trail."""
    body = bodies.PolicyCompared(whatIfId=what_if.id, digest=what_if.digest)
    actor = f"user:{what_if.asked_by}"
    record(Event(type=EventType.POLICY_COMPARED, at=timezone.now(), actor=actor, body=body))


def _replay(hold: Hold[WhatIf]) -> Report:
    what_if, started = hold.run, monotonic()
    base = read_policy(read_rules(what_if.base_version))
    comparison = compare(base, read_policy(what_if.rules), version=what_if.base_version, now=what_if.created_at)
    start = what_if.since or BEGINNING
    counts = count_pairs(Span(start=start, end=what_if.created_at))
    tally = Tally(changed=frozenset(rule.id for rule in comparison.changed))
    for agent_id, skill_ids in _concerned(counts, comparison).items():
        _replay_agent(hold, tally, comparison, agent_id=agent_id, skill_ids=skill_ids)
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


def _replay_agent(
    hold: Hold[WhatIf], tally: Tally, comparison: Comparison, *, agent_id: str, skill_ids: list[str]
) -> None:
    what_if = hold.run
    replays = {skill_id: PairReplay(agent_id, skill_id, comparison, restore_resource) for skill_id in skill_ids}
    since = what_if.since or BEGINNING
    span = Span(start=max(since - comparison.warm_up, BEGINNING), end=what_if.created_at)
    for number, row in enumerate(read_agent(agent_id, skill_ids, span, sizes=comparison.weighs_arguments)):
        turn = replays[row.skill_id].replay(row)
        if row.at >= since:
            tally.take(agent_id, turn, base_version=what_if.base_version)
        if number % CHECK_ROWS == 0:
            hold.beat(tally.taken)


def _find_tasks(task_ids: Iterable[str]) -> dict[str, TaskFacts]:
    fleet, found = get_fleet(), dict[str, TaskFacts]()
    for some in batched(task_ids, TASKS_A_QUERY, strict=False):
        found |= fleet.find_tasks(some)
    return found
