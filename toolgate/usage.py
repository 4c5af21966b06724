"""Counters in the store: each is checked and spent by one statement, so no two callers can share the last one.

Always inside the caller's transaction: what it rolls back was never spent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection

from toolgate.limits import SECOND_MICROS, make_pace, spend_call, to_micros
from toolgate.types import Call, Limit, Reason

CALLS, RATE = "calls_per_task", "rate"

_TAKE_CALL = """
    INSERT INTO toolgate_callcounter (key, count) VALUES (%s, 1)
    ON CONFLICT (key) DO UPDATE SET count = toolgate_callcounter.count + 1
        WHERE toolgate_callcounter.count < %s
    RETURNING count
"""

# Spelled out in `limits.spend_call`; here the store does it, and only if the call may run.
_TAKE_RATE = """
    INSERT INTO toolgate_ratecell (key, arrival_micros) VALUES (%s, %s)
    ON CONFLICT (key) DO UPDATE SET arrival_micros = CASE
            WHEN toolgate_ratecell.arrival_micros <= %s THEN %s
            WHEN toolgate_ratecell.arrival_micros > %s THEN %s
            ELSE toolgate_ratecell.arrival_micros + %s END
        WHERE toolgate_ratecell.arrival_micros <= %s OR toolgate_ratecell.arrival_micros > %s
    RETURNING arrival_micros
"""


@dataclass(slots=True, kw_only=True)
class Spending:
    """What the limits of one call came to: `counters` by rule, for the record, and the first that refused."""

    counters: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: Limit | None = None
    reason: Reason = Reason.ALLOWED
    detail: str = ""
    retry_after_seconds: float | None = None


def spend_limits(limits: Iterable[Limit], call: Call) -> Spending:
    """Spend all of `limits` for `call`, or none of them if one refuses.

    Ceilings come first, for they are final where a rate only delays; the fixed order also rules out deadlocks.
    """
    spending = Spending()
    taken: list[Limit] = []
    for limit in sorted(limits, key=_order):
        _spend_one(limit, call, spending)
        if spending.refused is not None:
            for earlier in taken:
                _refund(earlier, call)
            break
        taken.append(limit)
    return spending


def _order(limit: Limit) -> tuple[str, str]:
    return limit.kind, limit.rule_id


def _spend_one(limit: Limit, call: Call, spending: Spending) -> None:
    counter = spending.counters.setdefault(limit.rule_id, {})
    if limit.kind == CALLS:
        count = take_call(_key_of(limit, call), limit.amount)
        counter |= {"callsPerTask": limit.amount, "calls": limit.amount if count is None else count}
        if count is None:
            spending.refused, spending.reason = limit, Reason.CALL_CEILING
            spending.detail = f"all {limit.amount} calls that the rule {limit.rule_id} grants a task are used"
        return
    wait = take_rate(_key_of(limit, call), limit.amount, limit.burst, call.now)
    counter["ratePerSecond"] = limit.amount
    if wait is not None:
        counter["retryAfterMillis"] = round(wait * 1000)
        spending.refused, spending.reason, spending.retry_after_seconds = limit, Reason.RATE_LIMITED, wait
        spending.detail = f"the rule {limit.rule_id} grants {limit.amount} calls a second; wait {wait:.3f} s"


def _refund(limit: Limit, call: Call) -> None:
    """Give back what this transaction has just taken; nobody else can have seen it."""
    key = _key_of(limit, call)
    with connection.cursor() as cursor:
        if limit.kind == CALLS:
            cursor.execute("UPDATE toolgate_callcounter SET count = count - 1 WHERE key = %s", (key,))
        else:
            interval = make_pace(rate=limit.amount, burst=limit.burst).interval
            sql = "UPDATE toolgate_ratecell SET arrival_micros = arrival_micros - %s WHERE key = %s"
            cursor.execute(sql, (interval, key))


def _key_of(limit: Limit, call: Call) -> str:
    """Return whose counter it is: a ceiling is a task's, a rate is an agent's."""
    if limit.kind not in {CALLS, RATE}:
        raise ValueError(f"no such limit: {limit.kind}")
    owner = call.task_id if limit.kind == CALLS else call.request.principal.agent_id
    return f"{owner}:{call.request.action.skill_id}:{limit.rule_id}"


def take_call(key: str, ceiling: int) -> int | None:
    """Count one call under `key`; return the count, or None (nothing spent) if it would pass `ceiling`."""
    if ceiling < 1:
        return None
    row = _fetch_one(_TAKE_CALL, (key, ceiling))
    return None if row is None else row[0]


def take_rate(key: str, rate: int, burst: int, now: datetime) -> float | None:
    """Spend one call of `rate` a second under `key`; return None, or the seconds to wait (nothing spent)."""
    pace, moment = make_pace(rate=rate, burst=burst), to_micros(now)
    rested, limit, lead = moment + pace.interval, moment + pace.limit, moment + pace.lead
    parameters = (key, rested, moment, rested, limit, moment + pace.horizon, pace.interval, lead, limit)
    if _fetch_one(_TAKE_RATE, parameters) is not None:
        return None
    row = _fetch_one("SELECT arrival_micros FROM toolgate_ratecell WHERE key = %s", (key,))
    # On PostgreSQL another's call can have moved the cell between the two statements: never answer "no wait".
    wait = spend_call(None if row is None else row[0], pace, moment).wait
    return max(wait, 1) / SECOND_MICROS


def _fetch_one(sql: str, parameters: tuple[str | int, ...]) -> tuple[int] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[int] | None = cursor.fetchone()
    return row
