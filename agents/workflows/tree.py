"""A workflow's steps as lines of its page, those not started yet among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from agents import registry
from agents.models import Task
from agents.states import TERMINAL
from agents.workflows.plan import Workflow, WorkflowStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One step; `path` names the workflows that it is in, outermost first, and then the step."""

    path: tuple[str, ...]
    step: WorkflowStep
    task: Task | None  # None if it was not started
    note: str  # what is to be said of one that was not started


def build_tree(task: Task) -> list[Branch]:
    """Return every step of a workflow, inner ones below theirs; nothing for a task that is none."""
    return list(_branches(task, ())) if is_workflow(task) else []


def is_workflow(task: Task) -> bool:
    """Say whether a task is a workflow."""
    return not task.skill_id and task.agent_id in registry.workflow_agents()


def _branches(task: Task, path: tuple[str, ...]) -> Iterator[Branch]:
    try:
        steps = Workflow.model_validate(task.input).steps
    except ValidationError:  # it was never admitted, or by other rules
        return
    started = {child.workflow_step: child for child in Task.objects.filter(parent_task_id=task.id).defer("result")}
    told = _statuses(task)
    for step in steps:
        child = started.get(step.name)
        note = told.get(step.name, "not started" if task.state in TERMINAL else "waits its turn")
        yield Branch(path=(*path, step.name), step=step, task=child, note="" if child else note)
        if child is not None and is_workflow(child):
            yield from _branches(child, (*path, step.name))


def _statuses(task: Task) -> Mapping[str, str]:
    return {entry["name"]: entry["status"] for entry in (task.result or {}).get("steps", ())}
