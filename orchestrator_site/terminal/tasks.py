"""Tasks in words, for a terminal."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from agents.advice import find_advice
from agents.models import Task
from agents.states import TaskState
from orchestrator_site.templatetags.console import NOTHING
from orchestrator_site.templatetags.money import pounds
from orchestrator_site.terminal.printing import Cell, Item, Table, Tone, Toned
from toolgate.lines import dump_plain
from toolgate.models import Approval, ApprovalState
from toolgate.queries import list_approvals_of_task

EXIT_CODES: Final = {TaskState.SUCCEEDED: 0, TaskState.FAILED: 1, TaskState.CANCELLED: 2}
_TONES: Final[dict[str, Tone]] = {
    TaskState.SUCCEEDED: "good",
    TaskState.FAILED: "bad",
    TaskState.AWAITING_APPROVAL: "warn",
}
_HEADINGS: Final = ("TASK", "STATUS", "AGENT", "SKILL", "PRIORITY", "CREATED (UTC)", "COST")


def tone_state(state: str) -> Cell:
    """Return a task's state with its colour."""
    word = str(state)
    return Toned(word, _TONES[state]) if state in _TONES else word


def format_time(at: datetime | None) -> str:
    """Return a time as a table shows it, a dash for none."""
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else NOTHING


def list_lines(tasks: Sequence[Task], *, following: str | None) -> Iterator[Item]:
    """Give a page of tasks, and how the next one is asked for."""
    if not tasks:
        yield "No task fits."
        return
    yield Table(_HEADINGS, [_row(task) for task in tasks])
    if following:
        yield f"There are older ones: --cursor {following}"


def _row(task: Task) -> list[Cell]:
    skill, cost = task.skill_id or NOTHING, pounds(task.cost_micro)
    return [
        task.id,
        tone_state(task.state),
        task.agent_id,
        skill,
        str(task.priority),
        format_time(task.created_at),
        cost,
    ]


def show_lines(task: Task) -> Iterator[Item]:
    """Give all there is to know of one task, and what a person can do about it."""
    facts: list[tuple[str, Cell]] = [
        ("task", task.id),
        ("status", tone_state(task.state)),
        ("agent", task.agent_id),
        ("skill", task.skill_id or "chosen by the agent"),
        ("submitted", f"{format_time(task.created_at)} UTC by {task.submitted_by}"),
        ("due", format_time(task.run_at) if task.run_at else "at once"),
        ("started", format_time(task.started_at)),
        ("ended", format_time(task.ended_at)),
        ("attempt", str(task.attempt)),
        ("priority", str(task.priority)),
        ("cost", pounds(task.cost_micro)),
        ("trace", task.trace_id),
    ]
    if task.parent_task_id:
        facts.append(("step of", f"{task.parent_task_id} as {task.workflow_step}"))
    yield Table((), facts)
    yield "input:"
    yield from dump_plain(task.input, indent=2).splitlines()
    yield from end_lines(task)
    for approval in list_approvals_of_task(task.id):
        if approval.state == ApprovalState.PENDING:
            yield from ask_lines(approval)


def end_lines(task: Task) -> Iterator[Item]:
    """Give what came of a task: its result, or why there is none, what was kept and what to do."""
    if task.result is not None:
        yield "result:"
        yield from dump_plain(task.result, indent=2).splitlines()
    if task.error_code:
        advice = find_advice(task.error_code, task.error_reason)
        yield Toned(f"{task.error_code}: {task.error_message}", "bad")
        yield f"{advice.kept} {advice.next}"
        yield f"Try it again: manage.py task retry {task.id}"


def ask_lines(approval: Approval) -> Iterator[Item]:
    """Give what waits for a person, and how that person answers."""
    asked = f"{approval.agent_id} wants to call {approval.skill_id or 'nothing more'}: a person has to answer"
    yield Toned(f"{asked} until {format_time(approval.expires_at)} UTC.", "warn")
    yield f"  look:   manage.py approvals show {approval.id}"
    yield f"  answer: manage.py approvals approve {approval.id} --user NAME"
    yield f"          manage.py approvals refuse {approval.id} --user NAME --note WHY"
