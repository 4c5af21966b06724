"""Verifications of a range, asked for by a person: small ones at once, large ones by a worker, each kept."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone

from audit import background
from audit.background import Clock, Hold, filter_due, go_on, see_through
from audit.checking.recording import record_run
from audit.checking.report import load_report
from audit.checking.verification import verify
from audit.exceptions import BadQuery, RunUnknown
from audit.ids import new_id
from audit.lease import get_head
from audit.models import RunState, TrailRun, TrailRunKind
from audit.transactions import write_transaction

AT_ONCE: Final = 2_000  # events that are checked while the asker waits: a second at most
MAX_OPEN: Final = 3  # of one person
_KEPT_IN_LIST: Final = 20


def start_verification(*, first: int, last: int, asked_by: str, now: datetime) -> TrailRun:
    """Ask for a check of the events `first` ≤ seq ≤ `last`; a large one waits for a worker, or for `run_due`.

    Raises: BadQuery for a range that holds no numbered event that is still here, or with three of theirs open.
    """
    head = get_head()
    first, last = max(first, head.archived_seq + 1), min(last, head.seq)
    if first > last:
        raise BadQuery(f"There is nothing to verify there: the stores hold {head.archived_seq + 1} to {head.seq}.")
    is_small = last - first < AT_ONCE
    run = TrailRun(
        id=new_id(),
        kind=TrailRunKind.VERIFY,
        state=RunState.RUNNING if is_small else RunState.WAITING,
        asked_by=asked_by,
        created_at=now,
        beat_at=now if is_small else None,  # held from the start: no worker is quicker
        first_seq=first,
        last_seq=last,
        total=last - first + 1,
        details={},
    )
    _open(run)
    if is_small:
        see_through(Hold(run), _verify, tell=_tell)
    return get_run(run.id)


def _open(run: TrailRun) -> None:
    theirs = TrailRun.objects.filter(kind=TrailRunKind.VERIFY, asked_by=run.asked_by, state__in=background.OPEN)
    with write_transaction():
        if theirs.count() >= MAX_OPEN:
            raise BadQuery(f"{MAX_OPEN} verifications of yours are under way already; wait for one of them.")
        run.save(force_insert=True)


def get_run(run_id: str) -> TrailRun:
    """Return one verification or export. Raises: RunUnknown."""
    run = TrailRun.objects.filter(id=run_id).first()
    if run is None:
        raise RunUnknown("There is no such verification or export.")
    return run


def list_runs(kind: TrailRunKind) -> list[TrailRun]:
    """Return the newest of a kind, the newest first."""
    return list(TrailRun.objects.filter(kind=kind).order_by("-created_at")[:_KEPT_IN_LIST])


# --- run, as the worker does it ---------------------------------------------------------------------------------
def list_due(now: datetime) -> list[str]:
    """Return the ids of what waits for a runner, or was left by a dead one; the oldest first."""
    return background.list_ids(filter_due(_verifications(), now))


def run_due(*, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = go_on) -> str | None:
    """Do the next verification that is due, to its end; return its id, None if there is none."""
    hold = background.claim(filter_due(_verifications(), clock()), clock=clock, is_stopping=is_stopping)
    if hold is None:
        return None
    see_through(hold, _verify, tell=_tell)
    return hold.run.id


def _verifications() -> QuerySet[TrailRun]:
    return TrailRun.objects.filter(kind=TrailRunKind.VERIFY)


def _verify(hold: Hold[TrailRun]) -> dict[str, Any]:
    run = hold.run
    report = verify(since=run.first_seq - 1, to=run.last_seq, progress=lambda done, _: hold.beat(done))
    return report.dump()


def _tell(run: TrailRun, result: dict[str, Any]) -> None:
    record_run(load_report(result), actor=f"user:{run.asked_by}")
