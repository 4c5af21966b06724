"""Agents and their versions; tasks, runs, steps; workers and their leases; bulk runs over tasks."""

from typing import Any

from django.db import models

from agents.states import TaskState
from audit.fields import JsonText
from audit.models import BackgroundRun


class IdTail(models.Func):
    """The last eight characters of an id, by which lists show it; written out, so that an index can hold it."""

    template = "SUBSTR(%(expressions)s, -8)"
    output_field = models.CharField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return PostgreSQL's own: its SUBSTR does not count from the end."""
        return self.as_sql(compiler, connection, template="RIGHT(%(expressions)s, 8)", **context)


class Agent(models.Model):
    """One agent of the fleet; what it is lives in its versions."""

    id = models.CharField(max_length=64, primary_key=True)
    status = models.CharField(max_length=16, default="enabled")  # enabled, paused, quarantined, disabled
    current_version = models.PositiveIntegerField()


class FleetSwitch(models.Model):
    """Whether the fleet may work: one row, absent while nobody ever stopped it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    stopped = models.BooleanField(default=False)
    slots = models.PositiveIntegerField(null=True)  # how many tasks may run while it is resumed in stages; None: all
    reason = models.TextField()
    changed_by = models.CharField(max_length=200)
    changed_at = models.DateTimeField()


class SkillSwitch(models.Model):
    """Whether a skill may be called; absent while nobody ever quarantined it."""

    skill_id = models.CharField(max_length=64, primary_key=True)
    quarantined = models.BooleanField(default=False)
    reason = models.TextField()
    changed_by = models.CharField(max_length=200)
    changed_at = models.DateTimeField()


class AgentVersion(models.Model):
    """One immutable configuration of an agent."""

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    config = JsonText()
    author = models.CharField(max_length=200)
    reason = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "version"], name="agent_version_once")]


class AgentDraft(models.Model):
    """An edit of an agent that is not published: one a person and agent; tasks that try it out keep it."""

    id = models.CharField(max_length=64, primary_key=True)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="drafts")
    base_version = models.PositiveIntegerField()  # what was edited
    config = JsonText()
    author = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)  # published or thrown away; a closed draft is never changed again

    class Meta:
        indexes = [models.Index(fields=["agent", "author"], name="draft_open", condition=models.Q(closed_at=None))]


class Task(models.Model):
    """An order. This row is the truth about it; the engine only carries its id."""

    id = models.CharField(max_length=64, primary_key=True)
    state = models.CharField(max_length=24, choices=[(s.value, s.value) for s in TaskState])
    agent_id = models.CharField(max_length=64)
    agent_version = models.PositiveIntegerField(null=True)  # set at the first start and kept
    skill_id = models.CharField(max_length=64, blank=True)
    input = JsonText()
    result = JsonText(null=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_reason = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    attempt = models.PositiveIntegerField(default=0)  # attempts used; a lost lease uses none
    losses = models.PositiveIntegerField(default=0)
    priority = models.SmallIntegerField(default=0)
    run_at = models.DateTimeField(null=True)  # None: due at once, whatever the clock says
    deadline_at = models.DateTimeField(null=True)  # for waiting on a rate; the run has its own timeout
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    parent_task_id = models.CharField(max_length=64, blank=True)
    workflow_step = models.CharField(max_length=64, blank=True)  # its name among its parent's steps
    draft_id = models.CharField(max_length=64, blank=True)  # the unpublished configuration that it tries out
    tainted = models.BooleanField(default=False)  # a skill brought text from outside into it
    trace_id = models.CharField(max_length=64)
    callback_url = models.CharField(max_length=2_048, blank=True, default="", db_default="")  # who is told of its end
    cost_micro = models.BigIntegerField(default=0)
    submitted_by = models.CharField(max_length=200)
    idempotency_key = models.CharField(max_length=255, null=True)
    body_digest = models.CharField(max_length=64, blank=True)
    cancel_requested = models.BooleanField(default=False)
    worker_id = models.CharField(max_length=64, blank=True)
    fence = models.PositiveIntegerField(default=0)  # raised by every claim; every later write carries it
    queued_by = models.CharField(max_length=64, blank=True)  # the event that queued it last; empty: its submission
    retried_fence = models.PositiveIntegerField(default=0)  # its fence when a person last retried it: bounds count anew

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["submitted_by", "idempotency_key"], name="task_idempotency"),
            models.UniqueConstraint(
                fields=["parent_task_id", "workflow_step"],
                name="task_step_once",
                condition=~models.Q(workflow_step=""),
            ),
        ]
        indexes = [
            models.Index(
                fields=["-priority", "created_at", "id"], name="task_queue", condition=models.Q(state="queued")
            ),
            models.Index(fields=["run_at"], name="task_due", condition=models.Q(state="queued")),
            models.Index(fields=["agent_id", "worker_id"], name="task_running", condition=models.Q(state="running")),
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            models.Index(fields=["state", "-created_at", "-id"], name="task_by_state"),
            models.Index(fields=["agent_id", "-created_at", "-id"], name="task_by_agent"),
            models.Index(fields=["skill_id", "-created_at", "-id"], name="task_by_skill"),
            models.Index(
                fields=["error_code", "-created_at", "-id"], name="task_by_error", condition=~models.Q(error_code="")
            ),
            models.Index(fields=["submitted_by", "-created_at", "-id"], name="task_by_person"),
            models.Index(IdTail("id"), name="task_by_tail"),
            # Of every task: SQLite does not see that a parent's id is not the empty one, and would not use a part.
            models.Index(fields=["parent_task_id", "-created_at", "-id"], name="task_children"),
        ]


class Run(models.Model):
    """One leased attempt at a task."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="runs")
    fence = models.PositiveIntegerField()
    worker_id = models.CharField(max_length=64)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=24, blank=True)  # how it ended, or "lost", "released"

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "fence"], name="run_once")]


class StepState(models.TextChoices):
    INTENT = "intent"  # written before the effect
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"  # the gate let nothing through; the model was told so
    UNKNOWN = "unknown"  # an intent that a dead worker left


class Step(models.Model):
    """One skill call (or model turn) of a task, known before it happens and settled after."""

    id = models.CharField(max_length=64, primary_key=True)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="steps")
    fence = models.PositiveIntegerField()
    ordinal = models.PositiveIntegerField()
    kind = models.CharField(max_length=8)  # "skill" or "model"
    state = models.CharField(max_length=8, choices=StepState.choices)
    skill_id = models.CharField(max_length=64, blank=True)
    decision_id = models.CharField(max_length=64, blank=True)
    call_id = models.CharField(max_length=200, blank=True)  # the model's name for this call; empty for a direct task
    model = models.CharField(max_length=100, blank=True)  # "provider:model" of a model turn
    usage = JsonText(null=True)  # of a model turn, as the vendor reported it
    cost_micro = models.BigIntegerField(default=0)  # millionths of a US dollar
    output = JsonText(null=True)  # the model's reply, or what the model was told of a skill call
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "fence", "ordinal"], name="step_once")]


class Artifact(models.Model):
    """A file that belongs to a task: a result over 1 MB, or what a skill wrote."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="artifacts")
    name = models.CharField(max_length=200)
    path = models.CharField(max_length=500)  # relative to the workspace root
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    content_type = models.CharField(max_length=100)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "name"], name="artifact_name_once")]


class Worker(models.Model):
    """A worker process and its lease; a task whose worker's lease ran out is given to another."""

    id = models.CharField(max_length=64, primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    slots = models.PositiveIntegerField(default=0, db_default=0)  # tasks at once; 0: it did not say
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField(db_index=True)


class BudgetAccount(models.Model):
    """What one scope has spent and promised, in millionths of a US dollar.

    The key names the scope: "fleet:2026-11", "agent:ID:2026-11" or "task:ID".
    """

    key = models.CharField(max_length=160, primary_key=True)
    cap_micro = models.BigIntegerField()
    spent_micro = models.BigIntegerField(default=0)
    held_micro = models.BigIntegerField(default=0)
    warned_percent = models.PositiveSmallIntegerField(default=0)  # the highest threshold that was told of


class ReservationState(models.TextChoices):
    HELD = "held"  # promised; nothing has left this machine
    DISPATCHED = "dispatched"  # bytes may have left: from now on it can only be settled
    SETTLED = "settled"
    RELEASED = "released"  # the vendor did no work


class Reservation(models.Model):
    """The worst case of one model call, held in every scope until the call is settled."""

    id = models.CharField(max_length=64, primary_key=True)
    task_id = models.CharField(max_length=64)
    fence = models.PositiveIntegerField()
    step_id = models.CharField(max_length=64)
    agent_id = models.CharField(max_length=64)
    model = models.CharField(max_length=100)  # "provider:model"
    month = models.CharField(max_length=7)  # "2026-11": it is settled where it was held
    worst_micro = models.BigIntegerField()
    actual_micro = models.BigIntegerField(null=True)
    state = models.CharField(max_length=12, choices=ReservationState.choices)
    is_estimate = models.BooleanField(default=False)  # settled at the bound: the usage never arrived
    opened_at = models.DateTimeField()
    dispatched_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["task_id", "fence"], name="reservation_of_run"),
            models.Index(fields=["opened_at"], name="reservation_open", condition=models.Q(closed_at=None)),
        ]


class ProviderCircuit(models.Model):
    """How the worker that last saw a change found a vendor: whether it is asked, since when, and why not."""

    provider = models.CharField(max_length=32, primary_key=True)
    state = models.CharField(max_length=12)  # agents.breaker.CircuitState
    since = models.DateTimeField()
    why = models.CharField(max_length=64, blank=True)  # an error's code


class DailyCost(models.Model):
    """What one agent spent on one model on one day (UTC)."""

    day = models.DateField()
    agent_id = models.CharField(max_length=64)
    model = models.CharField(max_length=100)
    calls = models.PositiveIntegerField(default=0)
    spent_micro = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["day", "agent_id", "model"], name="daily_cost_once")]


class CapChange(models.Model):
    """A cap that a person set, with the reason; the newest of a scope is in force."""

    scope = models.CharField(max_length=80)  # "fleet", or "agent:ID"
    amount_micro_gbp = models.BigIntegerField()
    author = models.CharField(max_length=200)
    reason = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["scope", "-id"], name="cap_newest")]


class BulkRun(BackgroundRun):
    """One thing done to many tasks, whose list is fixed when it starts; see `agents.bulk`."""

    action = models.CharField(max_length=16)  # agents.bulk.actions.Action
    reason = models.TextField()
    filters = JsonText()  # under the names that addresses use; empty if the tasks were named one by one
    task_ids = JsonText()  # in the order of their turn

    class Meta:
        indexes = [
            models.Index(fields=["created_at"], name="bulk_open", condition=models.Q(state__in=["waiting", "running"])),
        ]


class BulkItem(models.Model):
    """What became of one task of a bulk run: written with the change itself, so that no task has two turns."""

    run = models.ForeignKey(BulkRun, on_delete=models.CASCADE, related_name="items")
    place = models.PositiveIntegerField()  # in the run's list, from 0
    task_id = models.CharField(max_length=64)
    refusal = models.TextField(blank=True)  # why nothing was done; empty if it was done
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "place"], name="bulk_item_once")]
        indexes = [
            models.Index(fields=["run", "place"], name="bulk_item_refused", condition=~models.Q(refusal="")),
        ]
