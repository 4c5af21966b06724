"""A task followed while it goes on, from the ledger: news is there as soon as it is committed, store or no store."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from agents.models import Task
from agents.queries import get_task
from agents.states import TERMINAL
from audit.events import EventType
from audit.models import LedgerEvent
from audit.wire import format_at
from orchestrator_site.terminal.printing import Item, Tone, Toned
from orchestrator_site.terminal.tasks import ask_lines
from toolgate.models import Approval

LOOK_SECONDS: Final = 0.25
_LATE: Final = 1_000  # ledger rows that are looked at again: on PostgreSQL a lower id may commit later
_WHEN: Final = {str(type_): f"{type_.when[:1].upper()}{type_.when[1:]}" for type_ in EventType}
_DECISIONS: Final[dict[str, tuple[str, Tone]]] = {
    "allow": ("The gate allowed", "good"),
    "ask": ("The gate asks a person about", "warn"),
    "deny": ("The gate refused", "bad"),
}
_STEPS: Final[dict[str, tuple[str, Tone]]] = {
    EventType.STEP_FINISHED: ("finished", "good"),
    EventType.STEP_FAILED: ("failed", "bad"),
    EventType.STEP_LOST: ("may or may not have finished", "warn"),
}
_ENDS: Final[dict[str, Tone]] = {EventType.TASK_SUCCEEDED: "good", EventType.TASK_FAILED: "bad"}


class Follower:
    """Gives what happens to a task and to the steps of a workflow, each event once, until it has ended."""

    def __init__(self, task_id: str) -> None:
        """Raises: TaskNotFound."""
        self.task = get_task(task_id)
        self._steps = {task_id: ""}  # ids of the tasks, with the step that each is
        submitted = LedgerEvent.objects.filter(event_id=task_id).values_list("id", flat=True).first()
        self._from = submitted or 0
        self._seen: set[str] = set()

    def follow(self) -> Iterator[LedgerEvent]:
        """Give the events so far, then those that come; end when the task has ended and all of it was told."""
        while True:
            self.task = get_task(self.task.id)  # before its events: a change and its event commit together
            yield from self._read_news()
            if self.task.state in TERMINAL:
                return
            time.sleep(LOOK_SECONDS)

    def _read_news(self) -> list[LedgerEvent]:
        self._find_steps()
        newest = LedgerEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
        rows = LedgerEvent.objects.filter(id__gte=self._from, task_id__in=self._steps).order_by("id")
        news = [row for row in rows if row.event_id not in self._seen]
        self._seen.update(row.event_id for row in news)
        self._from = max(self._from, newest - _LATE)
        return news

    def _find_steps(self) -> None:
        """Find the steps that were started since, and theirs."""
        found: Iterable[str] = [self.task.id] if not self.task.skill_id else []
        while found:
            rows = Task.objects.filter(parent_task_id__in=found).values_list("id", "workflow_step")
            self._steps.update(rows)
            found = [id_ for id_, _ in rows]

    def describe(self, event: LedgerEvent) -> Iterator[Item]:
        """Give the lines that tell of one event."""
        step = self._steps.get(event.task_id, "")
        text, tone = _tell(event)
        line = f"{event.at:%H:%M:%S}  {f'[{step}] ' if step else ''}{text}"
        yield Toned(line, tone) if tone else line
        if event.type == EventType.APPROVAL_ASKED:
            approval = Approval.objects.filter(id=event.body.get("approvalId")).first()
            yield from ask_lines(approval) if approval else ()


def event_to_wire(event: LedgerEvent) -> dict[str, Any]:
    """Return an event as the stream of a task sends it; `seq` is null until it has its number."""
    return {
        "seq": event.seq,
        "id": event.event_id,
        "type": event.type,
        "at": format_at(event.at),
        "actor": event.actor,
        "taskId": event.task_id,
        "agentId": event.agent_id,
        "skillId": event.skill_id,
        "decision": event.decision,
        "reason": event.reason,
        "traceId": event.trace_id,
        "causeId": event.cause_id,
    }


def _tell(event: LedgerEvent) -> tuple[str, Tone | None]:
    body = event.body or {}  # empty once it was erased
    what = event.skill_id or body.get("model") or "the agent's turn"
    if event.type == EventType.DECISION_MADE and event.decision in _DECISIONS:
        words, tone = _DECISIONS[event.decision]
        return f"{words} {what}{f': {event.reason}' if event.decision != 'allow' else ''}", tone
    if event.type in _STEPS:
        words, step_tone = _STEPS[event.type]
        return f"{what} {words}{_why(body)}", step_tone
    return f"{_WHEN.get(event.type, event.type)}{_why(body)} ({event.type})", _ENDS.get(event.type)


def _why(body: dict[str, Any]) -> str:
    said = [str(body[name]) for name in ("cause", "message", "note") if body.get(name)]
    return f": {': '.join(said)}" if said else ""
