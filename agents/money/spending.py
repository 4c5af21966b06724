"""Reserve, dispatch, settle: money is held before a call and charged after it, so that no cap can be overshot.

    reserve ──► held ──► dispatched ──► settled    charged what the vendor reported, or the worst case
                  │           │
                  └───────────┴───────► released   the vendor did no work

Everything here runs inside its caller's transaction. A hold is one conditional update a scope, `spent + held + worst
<= cap`, so the store decides it however many processes ask, and all scopes are held or none.

A task's cap is of all its attempts, also of those after a person's retry: what it has spent stays spent, and only a
configuration with a higher `maxCostGbp` gives it more. A reservation is settled in the month where it was held.
"""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import connection, transaction

from agents import metrics
from agents.exceptions import ReservationClosed
from agents.models import BudgetAccount, Reservation, ReservationState, Task
from agents.money.budget import (
    FLEET,
    Refusal,
    ScopeKind,
    agent_scope,
    explain_refusal,
    month_key,
    month_of,
    task_key,
    to_micro_usd,
    to_pounds,
    write_pounds,
)
from agents.money.caps import open_account, take_turn, tell_crossed
from agents.money.pricing import PriceUnknown, price_usage
from agents.orders import Lease
from agents.providers.base import Usage
from audit.context import caused_by
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record

log = logging.getLogger(__name__)

_CAP_TASK = """
    INSERT INTO agents_budgetaccount (key, cap_micro, spent_micro, held_micro, warned_percent)
    VALUES (%s, %s, 0, 0, 0) ON CONFLICT (key) DO UPDATE SET cap_micro = excluded.cap_micro
"""
_HOLD = """
    UPDATE agents_budgetaccount SET held_micro = held_micro + %s
    WHERE key = %s AND spent_micro + held_micro + %s <= cap_micro
"""
_UNHOLD = """
    UPDATE agents_budgetaccount SET held_micro = held_micro - %s, spent_micro = spent_micro + %s WHERE key = %s
    RETURNING key, cap_micro, spent_micro, held_micro, warned_percent
"""
_RESERVATION = """
    INSERT INTO agents_reservation
        (id, task_id, fence, step_id, agent_id, model, month, worst_micro, state, is_estimate, opened_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'held', %s, %s)
"""
_DISPATCH = "UPDATE agents_reservation SET state = 'dispatched', dispatched_at = %s WHERE id = %s AND state = 'held'"
_LOCK = "SELECT * FROM agents_reservation WHERE id = %s {lock}"
_SETTLE = """
    UPDATE agents_reservation SET state = 'settled', actual_micro = %s, is_estimate = %s, closed_at = %s WHERE id = %s
"""
_STEP_COST = "UPDATE agents_step SET cost_micro = cost_micro + %s, usage = COALESCE(%s, usage) WHERE id = %s"
_DAILY_COST = """
    INSERT INTO agents_dailycost (day, agent_id, model, calls, spent_micro, input_tokens, output_tokens)
    VALUES (%s, %s, %s, 1, %s, %s, %s) ON CONFLICT (day, agent_id, model) DO UPDATE SET
        calls = agents_dailycost.calls + 1,
        spent_micro = agents_dailycost.spent_micro + excluded.spent_micro,
        input_tokens = agents_dailycost.input_tokens + excluded.input_tokens,
        output_tokens = agents_dailycost.output_tokens + excluded.output_tokens
"""
_ORDER: tuple[ScopeKind, ...] = ("task", "agent", "fleet")
_OPEN_STATES = (ReservationState.HELD, ReservationState.DISPATCHED)


# --- hold -----------------------------------------------------------------------------------------------------
def reserve(lease: Lease, *, step_id: str, model: str, worst_micro: int, now: datetime) -> str | Refusal:
    """Hold the worst case of one call under every cap and return the reservation's id, or hold nothing.

    The caller has seen that the lease stands. A refusal is audited here.
    """
    if worst_micro < 0:
        raise ValueError(f"a worst case of {worst_micro} is no amount")
    take_turn()
    month = month_of(now)
    taken: list[str] = []
    for scope in _ORDER:
        key = _find_account(scope, lease, month)
        if not _hold(key, scope, lease, worst_micro, month):
            for earlier in taken:  # only this transaction has seen them held
                _unhold(earlier, held=worst_micro, spent=0)
            return _refuse(key, scope, lease, step_id, model=model, worst_micro=worst_micro, now=now)
        taken.append(key)
    reservation_id = new_id()
    stamp = connection.ops.adapt_datetimefield_value(now)
    identity: tuple[Any, ...] = (reservation_id, lease.task_id, lease.fence, step_id, lease.agent_id, model)
    with connection.cursor() as cursor:
        cursor.execute(_RESERVATION, (*identity, month, worst_micro, False, stamp))
    body = {"reservationId": reservation_id, "stepId": step_id, "model": model, "worstMicro": worst_micro}
    record(_lease_event(EventType.BUDGET_RESERVED, lease, step_id, now=now, body=body))
    return reservation_id


def _find_account(scope: ScopeKind, lease: Lease, month: str) -> str:
    if scope == "task":
        return task_key(lease.task_id)
    return month_key(FLEET if scope == "fleet" else agent_scope(lease.agent_id), month)


def _hold(key: str, scope: ScopeKind, lease: Lease, worst_micro: int, month: str) -> bool:
    if scope == "task":
        with connection.cursor() as cursor:
            cursor.execute(_CAP_TASK, [key, _find_task_cap(lease)])
    if _try_hold(key, worst_micro):
        return True
    if scope == "task" or BudgetAccount.objects.filter(key=key).exists():
        return False
    open_account(key.rpartition(":")[0], month)
    return _try_hold(key, worst_micro)


def _try_hold(key: str, worst_micro: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [worst_micro, key, worst_micro])
        return bool(cursor.rowcount)


def _find_task_cap(lease: Lease) -> int:
    if lease.config is None:
        return 0  # no agent, so nothing that it may spend
    return to_micro_usd(lease.config.limits.max_cost_gbp, settings.USD_PER_GBP.usd_per_gbp)


def _refuse(
    key: str, scope: ScopeKind, lease: Lease, step_id: str, *, model: str, worst_micro: int, now: datetime
) -> Refusal:  # fmt: skip
    account = BudgetAccount.objects.get(key=key)
    body = {
        "scope": scope, "model": model, "worstMicro": worst_micro, "spentMicro": account.spent_micro,
        "heldMicro": account.held_micro, "capMicro": account.cap_micro,
    }  # fmt: skip
    record(_lease_event(EventType.BUDGET_REFUSED, lease, step_id, now=now, reason="budget_exhausted", body=body))
    if scope != "task":
        with caused_by(step_id, trace_id=lease.trace_id):
            tell_crossed(account, now=now, refused=True)
    transaction.on_commit(metrics.BUDGET_REFUSALS.labels(scope=scope).inc)
    left = account.cap_micro - account.spent_micro - account.held_micro
    amounts = (_show(micro) for micro in (account.cap_micro, max(0, left), worst_micro))
    return Refusal(scope=scope, message=explain_refusal(scope, model, *amounts))


def _show(micro: int) -> str:
    return write_pounds(to_pounds(micro, settings.USD_PER_GBP.usd_per_gbp))


def _lease_event(
    type_: EventType, lease: Lease, step_id: str, *, now: datetime, body: dict[str, Any], reason: str = ""
) -> Event:  # fmt: skip
    """Return the event that a model's turn begins with, under the id of its step."""
    return Event(
        type=type_, at=now, actor=f"agent:{lease.agent_id}", task_id=lease.task_id, agent_id=lease.agent_id,
        reason=reason, trace_id=lease.trace_id, cause_id=lease.event_id, body=body, id=step_id,
    )  # fmt: skip


# --- dispatch -------------------------------------------------------------------------------------------------
def mark_dispatched(reservation_id: str, *, now: datetime) -> None:
    """Write down that bytes are about to leave; only once this has committed may they.

    Raises: ReservationClosed if it is no longer held: send nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DISPATCH, [connection.ops.adapt_datetimefield_value(now), reservation_id])
        if not cursor.rowcount:
            raise ReservationClosed(reservation_id)


# --- settle, release ------------------------------------------------------------------------------------------
def settle(reservation_id: str, *, usage: Usage | None, now: datetime) -> int:
    """Charge a call and give the rest of its hold back; return the micro-dollars charged.

    Without a usage the worst case is charged, as an estimate. Only the first call does anything; a later one returns
    what was charged then.
    """
    take_turn()
    reservation = _lock(reservation_id)
    if reservation.state not in _OPEN_STATES:
        return reservation.actual_micro or 0
    return _charge(reservation, usage, EventType.BUDGET_SETTLED, now=now)


def release(reservation_id: str, *, now: datetime) -> None:
    """Give a whole hold back, for a call of which the vendor did no work. Does nothing once it is closed."""
    take_turn()
    reservation = _lock(reservation_id)
    if reservation.state in _OPEN_STATES:
        _give_back(reservation, now=now)


def _lock(reservation_id: str) -> Reservation:
    lock = "FOR UPDATE" if connection.vendor == "postgresql" else ""
    return Reservation.objects.raw(_LOCK.format(lock=lock), [reservation_id])[0]


def reconcile_run(task_id: str, fence: int, *, now: datetime) -> None:
    """Close what a run that is over has left open: what never left is given back, what may have is charged in full."""
    left_open = Reservation.objects.filter(task_id=task_id, fence=fence, state__in=_OPEN_STATES).order_by("id")
    if not left_open.exists():
        return
    take_turn()
    for reservation in left_open.select_for_update():  # a call that is marked as dispatched just now is seen as such
        if reservation.state == ReservationState.HELD:
            _give_back(reservation, now=now)
        else:
            _charge(reservation, None, EventType.BUDGET_RECONCILED, now=now)


def _charge(reservation: Reservation, usage: Usage | None, type_: EventType, *, now: datetime) -> int:
    priced = _price(reservation, usage)
    actual = reservation.worst_micro if priced is None else priced
    stamp = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, [actual, priced is None, stamp, reservation.id])
    accounts = [_unhold(key, held=reservation.worst_micro, spent=actual) for key in _accounts_of(reservation)]
    trace_id = _write_costs(reservation, usage, actual)
    over = actual > reservation.worst_micro
    event = _reservation_event(
        type_, reservation, now=now, reason="bound_exceeded" if over else "", trace_id=trace_id,
        body={"chargedMicro": actual, "isEstimate": priced is None, **_count(usage)},
    )  # fmt: skip
    record(event)
    with caused_by(event.id, trace_id=trace_id):
        for account in accounts[1:]:  # a task's has no thresholds
            tell_crossed(account, now=now)
    if over:
        _sound_alarm(reservation, actual)
    return actual


def _price(reservation: Reservation, usage: Usage | None) -> int | None:
    """Return what the call cost at the prices of its time, None if that cannot be known."""
    if usage is None:
        return None
    try:
        return price_usage(reservation.model, usage, at=reservation.opened_at)
    except PriceUnknown:
        log.exception("a call's price was lost", extra={"action": "budget.price-lost", "model": reservation.model})
        return None


def _accounts_of(reservation: Reservation) -> tuple[str, str, str]:
    """Return the keys of the accounts that it is held in: task, agent, fleet."""
    month = reservation.month
    agent, fleet = (month_key(scope, month) for scope in (agent_scope(reservation.agent_id), FLEET))
    return task_key(reservation.task_id), agent, fleet


def _unhold(key: str, *, held: int, spent: int) -> BudgetAccount:
    """Give a hold back, charge what was spent, and return the account as it now is."""
    with connection.cursor() as cursor:
        cursor.execute(_UNHOLD, [held, spent, key])
        return BudgetAccount(*cursor.fetchone())


def _write_costs(reservation: Reservation, usage: Usage | None, actual: int) -> str:
    """Add the cost to its day, its task and its step, and return the task's trace."""
    day = connection.ops.adapt_datefield_value(reservation.opened_at.astimezone(UTC).date())
    tokens = [usage.input_tokens, usage.output_tokens] if usage else [0, 0]
    with connection.cursor() as cursor:
        cursor.execute(_DAILY_COST, [day, reservation.agent_id, reservation.model, actual, *tokens])
        cursor.execute(
            "UPDATE agents_task SET cost_micro = cost_micro + %s WHERE id = %s RETURNING trace_id",
            [actual, reservation.task_id],
        )
        row = cursor.fetchone()
        seen = orjson.dumps(usage.to_wire()).decode() if usage else None
        cursor.execute(_STEP_COST, [actual, seen, reservation.step_id])
    return row[0] if row else ""


def _give_back(reservation: Reservation, *, now: datetime) -> None:
    changes = {"state": ReservationState.RELEASED, "actual_micro": 0, "closed_at": now}
    Reservation.objects.filter(id=reservation.id).update(**changes)
    for key in _accounts_of(reservation):
        _unhold(key, held=reservation.worst_micro, spent=0)
    trace_id = Task.objects.filter(id=reservation.task_id).values_list("trace_id", flat=True).first() or ""
    record(_reservation_event(EventType.BUDGET_RELEASED, reservation, now=now, trace_id=trace_id, body={}))


def _count(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cacheReadTokens": usage.cache_read_tokens,
        "cacheWriteTokens": usage.cache_write_tokens,
    }


def _reservation_event(
    type_: EventType, reservation: Reservation, *, now: datetime, trace_id: str, body: dict[str, Any],
    reason: str = "",
) -> Event:  # fmt: skip
    facts = {
        "reservationId": reservation.id, "stepId": reservation.step_id, "model": reservation.model,
        "worstMicro": reservation.worst_micro,
    }  # fmt: skip
    return Event(
        type=type_, at=now, actor=f"agent:{reservation.agent_id}", task_id=reservation.task_id,
        agent_id=reservation.agent_id, reason=reason, trace_id=trace_id, cause_id=reservation.step_id,
        body={**facts, **body},
    )  # fmt: skip


def _sound_alarm(reservation: Reservation, actual: int) -> None:
    """A bound that did not hold is a defect: the money is spent, so it is charged, and somebody must look."""
    transaction.on_commit(metrics.BUDGET_OVERRUNS.inc)
    log.critical(
        "a call of %s cost %d micro-dollars, more than its worst case of %d",
        reservation.model, actual, reservation.worst_micro,
        extra={"action": "budget.bound-exceeded", "task_id": reservation.task_id, "reservation_id": reservation.id},
    )  # fmt: skip
