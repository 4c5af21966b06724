"""The step ledger: what is about to happen is written before it happens, and settled after."""

from datetime import datetime

from django.db import connection

from agents.models import Step, StepState, Task
from agents.orders import Lease
from agents.states import TaskState
from audit.ids import new_id


def is_held(lease: Lease) -> bool:
    """Say whether the lease still stands, locking the task's row until the transaction ends."""
    held = Task.objects.select_for_update().filter(
        id=lease.task_id, worker_id=lease.worker_id, fence=lease.fence, state=TaskState.RUNNING
    )
    return held.values_list("id", flat=True).first() is not None


def open_step(lease: Lease, *, decision_id: str, now: datetime) -> str:
    """Write the intent to call the task's skill and return the step's id."""
    step_id = new_id()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO agents_step (id, task_id, fence, ordinal, kind, state, skill_id, decision_id, call_id, model,"
            " cost_micro, error_code, error_message, started_at)"
            " VALUES (%s, %s, %s, 1, 'skill', 'intent', %s, %s, '', '', 0, '', '', %s)",
            [
                step_id,
                lease.task_id,
                lease.fence,
                lease.skill_id,
                decision_id,
                connection.ops.adapt_datetimefield_value(now),
            ],
        )
    return step_id


def is_outcome_unknown(lease: Lease) -> bool:
    """Say whether the last step of the task was left open by a worker that died or was stopped."""
    if lease.fence == 1:
        return False  # nobody held it before
    last = Step.objects.filter(task_id=lease.task_id).order_by("-fence", "-ordinal").values_list("state", flat=True)
    return last.first() == StepState.UNKNOWN
