"""From a body to an order: what is checked before a task exists, in the order that the API promises.

Known ids, then the input, then the pace. The input is judged by the skill's model; without a skill by the agent's
schema; and a workflow by whether its steps can be carried out, each of them known and its input as it must be.
What an agent may do is not asked here: that is the gate's, in the run.
"""

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic_ns
from typing import Annotated, Any, Final

from django.conf import settings
from django.utils import timezone
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from agents import registry
from agents.exceptions import (
    AdmissionRefused,
    AgentUnknown,
    InputInvalid,
    KeyInvalid,
    OrderRefused,
    SkillUnknown,
    WorkflowInvalid,
)
from agents.ordering.problems import list_input_problems
from agents.orders import Order
from agents.outbound.receivers import check_receiver
from agents.queue import digest_of
from agents.workflows.plan import MAX_STEPS, WorkflowStep, find_references, is_inner, list_steps
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.limits import SECOND_MICROS, make_pace, spend_call
from toolgate.reading import WireModel, list_problems, make_pointer
from toolgate.usage import take_rate

MAX_AWAY: Final = timedelta(days=366)
ADMISSION_KEY: Final = "admission:tasks"
WORKFLOW_AGENT: Final = "integration-agent"  # whose tasks POST /api/workflows makes
_SHOWN: Final = 128  # characters of a refused id that the audit trail keeps
_ID: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)")


# --- the body -------------------------------------------------------------------------------------------------
def read_run_at(value: Any) -> Any:
    """Return the UTC time that a text names, to the microsecond.

    Raises: ValueError, which pydantic turns into a problem of the field.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("a time such as 2026-11-23T12:00:00Z is needed, with its offset from UTC")
    at = datetime.fromisoformat(value)
    if abs(at - timezone.now()) > MAX_AWAY:
        raise ValueError("this is more than a year away")
    return at.astimezone(UTC)


class _Wishes(WireModel):
    """What every order may say of itself."""

    priority: int = Field(default=0, ge=-100, le=100)
    run_at: Annotated[datetime | None, BeforeValidator(read_run_at)] = None
    callback_url: Annotated[str | None, AfterValidator(check_receiver)] = None


class OrderBody(_Wishes):
    """What `POST /api/tasks` takes. Without `runAt` a task is due at once; a higher `priority` runs first.

    A webhook is sent to `callbackUrl` when the task has ended.

    Without `skillId` it is the agent's own run: the agent chooses its skills, or carries out the workflow in `input`.
    """

    agent_id: str
    skill_id: str | None = None
    input: dict[str, Any]


class WorkflowBody(_Wishes):
    """What `POST /api/workflows` takes: the same as a task of integration-agent with these steps as its input."""

    steps: list[WorkflowStep] = Field(min_length=1, max_length=MAX_STEPS)

    def as_order(self, raw: Mapping[str, Any]) -> OrderBody:
        """Return the order of this workflow, its steps as they came in the body."""
        return OrderBody.model_construct(
            agent_id=WORKFLOW_AGENT,
            input={"steps": raw["steps"]},
            priority=self.priority,
            run_at=self.run_at,
            callback_url=self.callback_url,
        )


def read_key(header: str | None) -> str | None:
    """Return the Idempotency-Key, None if none was sent.

    Raises: KeyInvalid.
    """
    if header is not None and not _KEY.fullmatch(header):
        raise KeyInvalid
    return header


# --- the checks -----------------------------------------------------------------------------------------------
def admit_order(
    body: OrderBody, *, raw: Mapping[str, Any], submitted_by: str, key: str | None, now: datetime, base: str = "#/input"
) -> Order:
    """Return the order that `body` makes.

    `raw` is the body as it came, which a repeated key is compared by; `base` points at the input in it.

    Raises: AgentUnknown, SkillUnknown (each audited), InputInvalid, WorkflowInvalid, AdmissionRefused.
    """
    try:
        _check_ids(body.agent_id, body.skill_id)
        check_input(body.agent_id, body.skill_id or "", body.input, base=base)
    except OrderRefused as refusal:
        record_refusal(refusal, submitted_by=submitted_by, now=now)
        raise
    admit_task(now=now)
    return Order(
        agent_id=body.agent_id,
        skill_id=body.skill_id or "",
        input=body.input,
        priority=body.priority,
        run_at=body.run_at,
        callback_url=body.callback_url or "",
        submitted_by=submitted_by,
        idempotency_key=key,
        body_digest=digest_of(raw) if key else "",
    )


def is_id(text: str) -> bool:
    """Say whether `text` could be an id at all; look-alike characters could not."""
    return _ID.fullmatch(text) is not None


def _check_ids(agent_id: str, skill_id: str | None, *, at: str = "") -> None:
    """See that there are such an agent and skill; `at` is the pointer of the step that names them."""
    if not is_id(agent_id) or registry.find_agent(agent_id) is None:
        raise AgentUnknown(agent_id, skill_id, pointer=at and f"{at}/agentId")
    if skill_id is not None and (not is_id(skill_id) or registry.find_skill(skill_id) is None):
        raise SkillUnknown(agent_id, skill_id, pointer=at and f"{at}/skillId")


def check_input(agent_id: str, skill_id: str, value: Mapping[str, Any], *, base: str = "#/input") -> None:
    """See that a known agent, or its known skill, can take `value`; problems are pointed at below `base`.

    Raises: InputInvalid; of a workflow also WorkflowInvalid, and AgentUnknown or SkillUnknown of its steps.
    """
    config = registry.get_agent(agent_id).config
    if skill_id:
        try:
            registry.get_skill(skill_id).input_model.model_validate(value)
        except ValidationError as error:
            raise InputInvalid(skill_id, list_problems(error, base)) from error
    elif config.is_workflow:
        _check_workflow(value, base=base)
    elif problems := list_input_problems(config.input_schema, value, base):
        raise InputInvalid(agent_id, problems, shown_at=f"/api/agents/{agent_id}")


def _check_workflow(value: Mapping[str, Any], *, base: str) -> None:
    workflow_agents = registry.workflow_agents()
    try:
        placed = list_steps(value, workflow_agents=workflow_agents)
    except ValidationError as error:
        raise WorkflowInvalid(list_problems(error, base)) from error
    for at, step in placed:
        _check_ids(step.agent_id, step.skill_id, at=make_pointer(base, at))
    for at, step in placed:
        # What takes an output is judged when it starts; the steps of an inner workflow are in this list themselves.
        if not is_inner(step, workflow_agents) and not any(find_references(step.input)):
            check_input(step.agent_id, step.skill_id or "", step.input, base=make_pointer(base, (*at, "input")))


def record_refusal(refusal: OrderRefused, *, submitted_by: str, now: datetime) -> None:
    """Write a refused order into the audit trail: who asked for whom."""
    agent_id, skill_id = refusal.agent_id, refusal.skill_id
    event = Event(
        type=EventType.TASK_REFUSED,
        at=now,
        actor=f"user:{submitted_by}",
        agent_id=agent_id if is_id(agent_id) else "",
        skill_id=skill_id if skill_id and is_id(skill_id) else "",
        decision="deny",
        reason=refusal.code,
        # Escaped, so that whoever reads the trail sees what was sent and not what it looks like.
        body={
            name: None if text is None else ascii(text)[1:-1][:_SHOWN]
            for name, text in {"agentId": agent_id, "skillId": skill_id}.items()
        },
    )
    with write_transaction():
        record(event)


# --- the pace -------------------------------------------------------------------------------------------------
class _Gauge:
    """The pace of one process, by a clock that cannot be set back."""

    def __init__(self) -> None:
        self._arrival: int | None = None
        self._lock = threading.Lock()

    def take(self, *, rate: int) -> float | None:
        """Spend one; None, or the seconds to wait."""
        pace = make_pace(rate=rate, burst=rate)
        with self._lock:
            spent = spend_call(self._arrival, pace, monotonic_ns() // 1_000)
            self._arrival = spent.arrival
        return spent.wait / SECOND_MICROS if spent.wait else None

    def rest(self) -> None:
        """Forget what was spent."""
        self._arrival = None


_gauge = _Gauge()


def admit_task(*, now: datetime) -> None:
    """Admit one task of MAX_TASKS_PER_SECOND, with a burst of one second's worth.

    One process counts for itself. With REDIS_URL several may serve, so the count is a row of the store, spent by
    one statement: Redis may be flushed, and an order needs the store anyway.

    Raises: AdmissionRefused.
    """
    rate: int = settings.MAX_TASKS_PER_SECOND
    if settings.REDIS_URL:
        with write_transaction():
            wait = take_rate(ADMISSION_KEY, rate, rate, now)
    else:
        wait = _gauge.take(rate=rate)
    if wait is not None:
        raise AdmissionRefused(retry_after_seconds=wait)


def forget_pace() -> None:
    """Forget what this process has admitted; for tests."""
    _gauge.rest()
