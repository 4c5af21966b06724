"""The step ledger: what is about to happen is written before it happens, and settled after.

Each function joins its caller's transaction, which checked first that the lease still stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import connection

from agents.models import Step, StepState
from agents.orders import Lease, TaskError
from audit.ids import new_id

MAX_CALL_ID = 200  # characters of a model's name for a call
MESSAGE_LIMIT = 2_000  # characters of an error message that are kept

_HELD = """
    SELECT tainted, retried_fence FROM agents_task
    WHERE id = %s AND worker_id = %s AND fence = %s AND state = 'running' {lock}
"""
_INSERT = """
    INSERT INTO agents_step
        (id, task_id, fence, ordinal, kind, state, skill_id, decision_id, call_id, model, cost_micro, output,
         error_code, error_message, started_at, ended_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0, %s, %s, %s, %s, %s)
"""
_READ = "SELECT * FROM agents_step WHERE task_id = %s ORDER BY fence, ordinal"
_CLOSE = """
    UPDATE agents_step SET state = %s, output = %s, ended_at = %s, error_code = %s, error_message = %s WHERE id = %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a standing lease tells of its task."""

    tainted: bool
    retried_fence: int


def find_held(lease: Lease) -> Held | None:
    """Lock the task's row until the transaction ends and return what it says; None if the lease was lost."""
    lock = "FOR UPDATE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(_HELD.format(lock=lock), [lease.task_id, lease.worker_id, lease.fence])
        row = cursor.fetchone()
    return None if row is None else Held(tainted=bool(row[0]), retried_fence=row[1])


def open_step(
    lease: Lease,
    *,
    kind: str,
    ordinal: int,
    now: datetime,
    skill_id: str = "",
    decision_id: str = "",
    call_id: str = "",
    model: str = "",
) -> str:
    """Write the intent of one model turn or skill call and return the step's id: a call has its decision's."""
    step_id = decision_id or new_id()
    columns = (kind, StepState.INTENT.value, skill_id, decision_id, call_id, model)
    _insert(lease, step_id, ordinal, columns, output=None, error=None, started_at=now, ended_at=None)
    return step_id


def refuse_step(
    lease: Lease,
    *,
    ordinal: int,
    skill_id: str,
    decision_id: str,
    call_id: str,
    output: Mapping[str, Any],
    error: TaskError,
    now: datetime,
) -> None:
    """Write down a call of the model that the gate let nothing come of."""
    columns = ("skill", StepState.REFUSED.value, skill_id, decision_id, call_id, "")
    _insert(lease, decision_id, ordinal, columns, output=output, error=error, started_at=now, ended_at=now)


def _insert(
    lease: Lease,
    step_id: str,
    ordinal: int,
    columns: tuple[str, ...],
    *,
    output: Mapping[str, Any] | None,
    error: TaskError | None,
    started_at: datetime,
    ended_at: datetime | None,
) -> None:
    stamp = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                step_id, lease.task_id, lease.fence, ordinal, *columns,
                _dump(output), *_error_columns(error), stamp(started_at), None if ended_at is None else stamp(ended_at),
            ],
        )  # fmt: skip


def close_step(
    step_id: str, *, state: StepState, now: datetime, output: Any = None, error: TaskError | None = None
) -> None:
    """Settle a step: done, or failed with its error; `output` is what the next attempt goes on with."""
    stamp = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, [state.value, _dump(output), stamp, *_error_columns(error), step_id])


def _dump(output: Any) -> str | None:
    return None if output is None else orjson.dumps(output).decode()


def _error_columns(error: TaskError | None) -> tuple[str, str]:
    return (error.code, error.message[:MESSAGE_LIMIT]) if error else ("", "")


def read_steps(task_id: str) -> list[Step]:
    """Return the steps of a task, oldest first."""
    return list(Step.objects.raw(_READ, [task_id]))


def is_outcome_unknown(lease: Lease) -> bool:
    """Say whether the last step of the task was left open by a worker that died or was stopped."""
    if lease.fence == 1:
        return False  # nobody held it before
    last = Step.objects.filter(task_id=lease.task_id).order_by("-fence", "-ordinal").values_list("state", flat=True)
    return last.first() == StepState.UNKNOWN
