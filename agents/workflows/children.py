"""A workflow's run: look at its steps, start those that are ready, and say what becomes of the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings

from agents import artifacts, queue, registry
from agents.exceptions import AgentError, InputInvalid
from agents.models import Task
from agents.ordering import admission
from agents.orders import Cancelled, Ending, Failed, Lease, Order, Released, Succeeded, TaskError, Waiting
from agents.states import TaskState
from agents.workflows.plan import (
    SKIPPED,
    Plan,
    ReferenceBroken,
    Workflow,
    WorkflowStep,
    find_failure,
    find_ready,
    find_references,
    is_inner,
    is_over,
    make_plan,
    resolve_input,
    skip_steps,
)


class StepBlocked(Exception):
    """A step cannot start: what it takes from another does not make an input for it."""


def advance_workflow(lease: Lease, *, now: datetime) -> Ending:
    """Start every step that is ready and return how this run ends; inside the caller's transaction.

    The workflow's row is locked first, so that a step that ends in the meantime is either seen here or wakes the
    workflow after it is parked. Each start is a row that can exist only once, so repeating this starts nothing twice.
    """
    workflow = Task.objects.select_for_update().filter(
        id=lease.task_id, worker_id=lease.worker_id, fence=lease.fence, state=TaskState.RUNNING
    )
    task = workflow.first()
    if task is None:
        return Released()  # the lease is lost, as whoever writes this down will notice
    if task.cancel_requested:
        return Cancelled()
    rows = Task.objects.filter(parent_task_id=task.id).defer("input", "result")
    steps = Workflow.model_validate(lease.input).steps
    run = _Advance(task=task, plan=make_plan(steps), rows={row.workflow_step: row for row in rows}, now=now)
    try:
        return run.advance(steps)
    except StepBlocked as why:
        return Failed(error=TaskError(code="step_failed", reason="input_invalid", message=str(why)))


@dataclass(slots=True, kw_only=True)
class _Advance:
    """One look at a workflow."""

    task: Task
    plan: Plan
    rows: dict[str, Task]  # of the steps that were started
    now: datetime
    _outputs: dict[str, Any] = field(default_factory=dict)

    def advance(self, steps: Sequence[WorkflowStep]) -> Ending:
        """Start what is ready, again and again as steps are skipped, and return the ending.

        Raises: StepBlocked by a step that is not optional.
        """
        states = skip_steps(self.plan, {name: row.state for name, row in self.rows.items()})
        while True:
            if failed := find_failure(self.plan, states):
                return Failed(error=_describe_failure(self.rows[failed.name]))
            ready = find_ready(self.plan, states)
            if not ready:
                break
            states = skip_steps(self.plan, {**states, **self._start_all(ready)})
        if is_over(self.plan, states):
            return Succeeded(result=self._summarise(steps))
        return Waiting()

    def _start_all(self, ready: Sequence[WorkflowStep]) -> dict[str, str]:
        """Start steps, having seen that all of them can, and return their states."""
        inputs = {step.name: self._find_input(step) for step in ready}
        for step in ready:
            if (value := inputs[step.name]) is not None:
                self.rows[step.name] = self._start(step, value)
        return {name: SKIPPED if value is None else TaskState.QUEUED for name, value in inputs.items()}

    def _find_input(self, step: WorkflowStep) -> Mapping[str, Any] | None:
        """Return a step's input with what it takes from others put in; None if it is optional and there is none."""
        if is_inner(step, registry.workflow_agents()) or not any(find_references(step.input)):
            return step.input  # checked at submission; an inner workflow's steps take their outputs when they start
        try:
            value = resolve_input(step.input, self._read_output)
            _check_resolved(step, value)
        except (ReferenceBroken, AgentError) as error:
            if step.optional:
                return None
            raise StepBlocked(_describe_block(step, error)) from error
        resolved: Mapping[str, Any] = value
        return resolved

    def _start(self, step: WorkflowStep, value: Mapping[str, Any]) -> Task:
        order = Order(
            agent_id=step.agent_id,
            skill_id=step.skill_id or "",
            input=value,
            priority=self.task.priority,
            submitted_by=self.task.submitted_by,
            parent_task_id=self.task.id,
            trace_id=self.task.trace_id,
            workflow_step=step.name,
            tainted=any(_brings_outside_text(_find_step(self.task, name)) for name in _names_in(step)),
        )
        return queue.submit_task(order, now=self.now).task

    def _read_output(self, name: str) -> Any:
        if name not in self._outputs:
            self._outputs[name] = _find_output(self.task, name)
        return self._outputs[name]

    def _summarise(self, steps: Sequence[WorkflowStep]) -> dict[str, Any]:
        """Return the workflow's output, made from the rows."""
        started_at = self.task.started_at or self.task.created_at
        return {
            "steps": [_report(step, self.rows.get(step.name)) for step in steps],
            "totalMs": _ms(started_at, self.now),
        }


def _names_in(step: WorkflowStep) -> set[str]:
    return {str(reference["$from"]) for _, reference in find_references(step.input)}


def _find_output(task: Task, name: str) -> Any:
    """Return the output of a step.

    Raises: ReferenceBroken.
    """
    row = _find_step(task, name)
    if row is None:
        raise ReferenceBroken(f"there is no output of step {name}")
    if row.result is not None and artifacts.is_kept(row.result):
        raise ReferenceBroken(f"the output of step {name} was too large for a row and is a file")
    return row.result


def _find_step(task: Task | None, name: str) -> Task | None:
    """Return a step of this workflow or, as names are used once, of one around it; None if it was not started."""
    while task is not None:
        row = Task.objects.filter(parent_task_id=task.id, workflow_step=name).first()
        if row is not None:
            return row
        task = Task.objects.filter(id=task.parent_task_id).first()
    return None


def _brings_outside_text(step: Task | None) -> bool:
    """Say whether what a step put out holds text from outside: it read some, or is the call of a skill that does."""
    if step is None or not step.skill_id:
        return step is not None and step.tainted
    skill = registry.find_skill(step.skill_id)
    return step.tainted or skill is None or skill.brings_outside_text(skill.input_model.model_validate(step.input))


def _check_resolved(step: WorkflowStep, value: Any) -> None:
    if not isinstance(value, dict):
        raise ReferenceBroken("its input would be no object")
    if len(orjson.dumps(value)) > settings.MAX_BODY_BYTES:
        raise ReferenceBroken(f"its input would be larger than {settings.MAX_BODY_BYTES // 1_000_000} MB")
    admission.check_input(step.agent_id, step.skill_id or "", value)


def _describe_block(step: WorkflowStep, error: Exception) -> str:
    why = str(error)
    if isinstance(error, InputInvalid):
        taker = step.skill_id or step.agent_id
        why = f"its input does not fit {taker}: " + "; ".join(f"{p.pointer} {p.detail}" for p in error.problems)
    return f"Step {step.name} could not start: {why}"


def _describe_failure(row: Task) -> TaskError:
    name = row.workflow_step
    if row.state == TaskState.CANCELLED:
        return TaskError(code="step_failed", reason="cancelled", message=f"Step {name} was cancelled.")
    message = f"Step {name} failed with {row.error_code}: {row.error_message}"
    return TaskError(code="step_failed", reason=row.error_reason or row.error_code, message=message)


def _report(step: WorkflowStep, row: Task | None) -> dict[str, Any]:
    if row is None:
        return {"name": step.name, "taskId": None, "status": SKIPPED, "durationMs": 0}
    took = _ms(row.started_at, row.ended_at) if row.started_at and row.ended_at else 0
    return {"name": step.name, "taskId": row.id, "status": row.state, "durationMs": took}


def _ms(start: datetime, end: datetime) -> int:
    return max(0, int((end - start).total_seconds() * 1000))
