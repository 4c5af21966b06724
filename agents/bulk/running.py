"""Do a bulk run, one task at a time; whoever takes it over goes on where the last one was."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, OperationalError
from django.utils import timezone

from agents import control
from agents.bulk.actions import Action
from agents.exceptions import TaskNotFound, TaskStateConflict
from agents.models import BulkItem, BulkRun
from audit import background
from audit.background import Clock, Hold, Lost, Stopped, filter_due, go_on, say_failure, see_through
from audit.context import caused_by
from audit.events import Event, EventType
from audit.exceptions import TrailBehind
from audit.ledger import record
from audit.transactions import write_transaction

log = logging.getLogger(__name__)

RIGHTS_EVERY: Final = 20  # turns between two looks at whether whoever started it may still do this
_TURNS: Final = {Action.CANCEL: control.cancel_task, Action.RETRY: control.retry_task}


def _nobody(user: str) -> bool:
    return False


# May this person still change tasks? This app knows no roles: the composition root says; until then nobody.
may_change: Callable[[str], bool] = _nobody


def admit(changers: Callable[[str], bool]) -> None:
    """Set who may change tasks; by the composition root."""
    global may_change  # noqa: PLW0603
    may_change = changers


# --- run, as the worker does it ---------------------------------------------------------------------------------
def list_due(now: datetime) -> list[str]:
    """Return the ids of what waits for a runner, or was left by a dead one; the oldest first."""
    return background.list_ids(filter_due(BulkRun.objects.all(), now))


def run_due(*, clock: Clock = timezone.now, is_stopping: Callable[[], bool] = go_on) -> str | None:
    """Do the next bulk run that is due, to its end; return its id, None if there is none."""
    hold = background.claim(filter_due(BulkRun.objects.all(), clock()), clock=clock, is_stopping=is_stopping)
    if hold is None:
        return None
    see_through(hold, work_through, tell=tell_end)
    return hold.run.id


def work_through(hold: Hold[BulkRun]) -> dict[str, Any]:
    """Give each task that had none its turn; return how many were done, refused and left, and why these were.

    Raises: Stopped, also when the store is away: another runner goes on; Lost.
    """
    try:
        why = _take_turns(hold)
        had, refused = hold.run.items.count(), hold.run.items.exclude(refusal="").count()
    except OperationalError as error:
        raise Stopped from error
    return {"done": had - refused, "refused": refused, "left": hold.run.total - had, "why": why}


def _take_turns(hold: Hold[BulkRun]) -> str:
    """Return why tasks were left; what nobody foresaw is such a reason, for the trail has to tell of each end."""
    run, begun = hold.run, hold.run.items.count()
    for place, task_id in enumerate(run.task_ids[begun:], begun):
        if (place - begun) % RIGHTS_EVERY == 0 and not may_change(run.asked_by):
            return f"{run.asked_by} may not change tasks any more"
        try:
            hold.beat(place)
            _take_turn(run, task_id, place=place, now=hold.clock())
        except (Stopped, Lost, OperationalError):
            raise
        except Exception as error:
            log.exception("a bulk run broke off", extra={"action": "bulk.failed", "run_id": run.id})
            return say_failure(error).removesuffix(".")
    return ""


def _take_turn(run: BulkRun, task_id: str, *, place: int, now: datetime) -> None:
    change = _TURNS[Action(run.action)]
    with write_transaction():
        item = _write_item(run, task_id, place=place, now=now)
        try:
            with caused_by(run.id):
                change(task_id, actor=f"user:{run.asked_by}", now=now)
        except (TaskNotFound, TaskStateConflict, TrailBehind) as error:
            item.refusal = str(error)
            item.save(update_fields=["refusal"])


def _write_item(run: BulkRun, task_id: str, *, place: int, now: datetime) -> BulkItem:
    """Write the turn down before it is taken: of two runners, one fails here and changes nothing."""
    try:
        return BulkItem.objects.create(run=run, place=place, task_id=task_id, at=now)
    except IntegrityError as error:
        raise Lost from error


def tell_end(run: BulkRun, result: dict[str, Any]) -> None:
    """Record what came of a run."""
    body = {"bulkId": run.id, "action": run.action} | result
    event = Event(
        type=EventType.BULK_ENDED, at=timezone.now(), actor=f"user:{run.asked_by}", cause_id=run.id, body=body
    )
    record(event)
