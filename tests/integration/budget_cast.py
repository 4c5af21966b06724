"""Leases and calls for the tests of the budget."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from agents.models import BudgetAccount, Reservation, Step, Task
from agents.money.budget import Refusal
from agents.money.spending import mark_dispatched, reserve
from agents.orders import Lease
from agents.providers.base import Usage
from agents.registry import get_agent
from agents.types import AgentConfig
from audit.ids import new_id
from audit.models import LedgerEvent
from audit.transactions import write_transaction

AGENT, MODEL = "content-agent", "anthropic:claude-sonnet-5-5"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USAGE = Usage(input_tokens=1_000, output_tokens=100)  # 3,000 micro-dollars
WORST = 50_000


def make_lease(*, task_cap: str = "0.50", agent_id: str = AGENT, task_id: str = "", **columns: Any) -> Lease:
    """Insert a running task and return the lease on it."""
    if not task_id:
        values = {
            "state": "running",
            "worker_id": "w",
            "fence": 1,
            "attempt": 1,
            "trace_id": "t",
            "submitted_by": "olga",
        }
        task = Task.objects.create(id=new_id(), agent_id=agent_id, input={}, created_at=NOW, **(values | columns))
        task_id = task.id
    return Lease(
        task_id=task_id, worker_id="w", fence=columns.get("fence", 1), agent_id=agent_id, agent_version=1,
        config=config_of(agent_id, max_cost_gbp=Decimal(task_cap)), skill_id="", input={}, input_bytes=2, attempt=1,
        submitted_by="olga", trace_id="t", started_at=NOW, deadline_at=None, task_type="t", timeout_seconds=60.0,
        max_attempts=2,
    )  # fmt: skip


def config_of(agent_id: str, **limits: Any) -> AgentConfig:
    """Return an agent's configuration with other limits."""
    config = get_agent(agent_id).config
    return config.model_copy(update={"limits": config.limits.model_copy(update=limits)})


def open_step(lease: Lease) -> str:
    """Insert the intent of a model turn."""
    ordinal = Step.objects.filter(task_id=lease.task_id, fence=lease.fence).count() + 1
    step = Step.objects.create(
        id=new_id(), task_id=lease.task_id, fence=lease.fence, ordinal=ordinal, kind="model", state="intent",
        started_at=NOW,
    )  # fmt: skip
    return step.id


def try_hold(lease: Lease, worst: int = WORST, *, now: datetime = NOW, step_id: str = "") -> str | Refusal:
    """Reserve in a transaction of its own."""
    with write_transaction():
        return _reserve(lease, worst, now=now, step_id=step_id)


def _reserve(lease: Lease, worst: int, *, now: datetime, step_id: str) -> str | Refusal:
    return reserve(lease, step_id=step_id or open_step(lease), model=MODEL, worst_micro=worst, now=now)


def hold(lease: Lease, worst: int = WORST, *, now: datetime = NOW, dispatched: bool = False, step_id: str = "") -> str:
    """Reserve what fits, and dispatch it if asked to: in one transaction, as a turn does."""
    with write_transaction():
        came = _reserve(lease, worst, now=now, step_id=step_id)
        assert isinstance(came, str), came
        if dispatched:
            mark_dispatched(came, now=now)
    return came


def figures(key: str) -> tuple[int, int]:
    """Return what an account has spent and holds."""
    account = BudgetAccount.objects.get(key=key)
    return account.spent_micro, account.held_micro


def state_of(reservation_id: str) -> tuple[str, int | None, bool]:
    """Return a reservation's state, its charge, and whether that is an estimate."""
    row = Reservation.objects.get(id=reservation_id)
    return row.state, row.actual_micro, row.is_estimate


def events_of(type_: str) -> list[dict[str, Any]]:
    """Return the bodies of the ledger's events of one type, in order."""
    import orjson

    rows = LedgerEvent.objects.filter(type=type_).order_by("id").values_list("body", flat=True)
    return [orjson.loads(body) if isinstance(body, str | bytes) else body for body in rows]
