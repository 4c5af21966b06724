"""From a body to an order: what is checked before a task exists, in the order that the API promises.

Known ids, then the skill's input model, then the pace. What an agent may do is not asked here: that is the
gate's, in the run.
"""

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic_ns
from typing import Annotated, Any, Final

from django.conf import settings
from django.utils import timezone
from pydantic import BeforeValidator, Field, ValidationError

from agents import registry
from agents.exceptions import (
    AdmissionRefused,
    AgentUnknown,
    InputInvalid,
    KeyInvalid,
    OrderRefused,
    SkillRequired,
    SkillUnknown,
)
from agents.orders import Order
from agents.queue import digest_of
from audit.events import Event, EventType
from audit.ledger import record
from audit.transactions import write_transaction
from toolgate.limits import SECOND_MICROS, make_pace, spend_call
from toolgate.reading import WireModel, list_problems
from toolgate.usage import take_rate

MAX_AWAY: Final = timedelta(days=366)
ADMISSION_KEY: Final = "admission:tasks"
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


class OrderBody(WireModel):
    """What `POST /api/tasks` takes. Without `runAt` a task is due at once; a higher `priority` runs first."""

    agent_id: str
    skill_id: str | None = None
    input: dict[str, Any]
    priority: int = Field(default=0, ge=-100, le=100)
    run_at: Annotated[datetime | None, BeforeValidator(read_run_at)] = None


def read_key(header: str | None) -> str | None:
    """Return the Idempotency-Key, None if none was sent.

    Raises: KeyInvalid.
    """
    if header is not None and not _KEY.fullmatch(header):
        raise KeyInvalid
    return header


# --- the checks -----------------------------------------------------------------------------------------------
def admit_order(body: OrderBody, *, raw: Mapping[str, Any], submitted_by: str, key: str | None, now: datetime) -> Order:
    """Return the order that `body` makes; `raw` is the body as it came, which a repeated key is compared by.

    Raises: AgentUnknown, SkillUnknown, SkillRequired (each audited), InputInvalid, AdmissionRefused.
    """
    try:
        skill_id = _check_ids(body)
    except OrderRefused as refusal:
        _record_refusal(refusal, body, submitted_by=submitted_by, now=now)
        raise
    _check_input(skill_id, body.input)
    admit_task(now=now)
    return Order(
        agent_id=body.agent_id,
        skill_id=skill_id,
        input=body.input,
        priority=body.priority,
        run_at=body.run_at,
        submitted_by=submitted_by,
        idempotency_key=key,
        body_digest=digest_of(raw) if key else "",
    )


def is_id(text: str) -> bool:
    """Say whether `text` could be an id at all; look-alike characters could not."""
    return _ID.fullmatch(text) is not None


def _check_ids(body: OrderBody) -> str:
    if not is_id(body.agent_id) or registry.find_agent(body.agent_id) is None:
        raise AgentUnknown
    if body.skill_id is None:
        raise SkillRequired
    if not is_id(body.skill_id) or registry.find_skill(body.skill_id) is None:
        raise SkillUnknown
    return body.skill_id


def _check_input(skill_id: str, value: Mapping[str, Any]) -> None:
    try:
        registry.get_skill(skill_id).input_model.model_validate(value)
    except ValidationError as error:
        raise InputInvalid(skill_id, list_problems(error, "#/input")) from error


def _record_refusal(refusal: OrderRefused, body: OrderBody, *, submitted_by: str, now: datetime) -> None:
    named = {"agentId": body.agent_id, "skillId": body.skill_id}
    event = Event(
        type=EventType.TASK_REFUSED,
        at=now,
        actor=f"user:{submitted_by}",
        agent_id=body.agent_id if is_id(body.agent_id) else "",
        skill_id=body.skill_id if body.skill_id and is_id(body.skill_id) else "",
        decision="deny",
        reason=refusal.code,
        # Escaped, so that whoever reads the trail sees what was sent and not what it looks like.
        body={name: None if text is None else ascii(text)[1:-1][:_SHOWN] for name, text in named.items()},
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
