"""Counters in the store: each is checked and spent at once, so that no two callers can share the last one.

Always inside the caller's transaction: what it rolls back was never spent. Ceilings and rates take one statement;
a period's row is locked, read and written. Nothing is counted for spending: a call brings what was spent so far.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from django.db import connection

from toolgate.digests import dump_arguments
from toolgate.limits import SECOND_MICROS, Buckets, count_in_window, make_pace, make_window, spend_call, to_micros
from toolgate.types import Call, Limit, LimitKind, Reason, Spent

_TAKE_COUNT = """
    INSERT INTO toolgate_callcounter (key, count) VALUES (%s, %s)
    ON CONFLICT (key) DO UPDATE SET count = toolgate_callcounter.count + excluded.count
        WHERE toolgate_callcounter.count + excluded.count <= %s
    RETURNING count
"""
_GIVE_COUNT_BACK = "UPDATE toolgate_callcounter SET count = count - %s WHERE key = %s"

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
_GIVE_RATE_BACK = "UPDATE toolgate_ratecell SET arrival_micros = arrival_micros - %s WHERE key = %s"

_OPEN_PERIOD = "INSERT INTO toolgate_periodcell (key, buckets) VALUES (%s, '[]') ON CONFLICT (key) DO NOTHING"
_READ_PERIOD = "SELECT buckets FROM toolgate_periodcell WHERE key = %s"
_WRITE_PERIOD = "UPDATE toolgate_periodcell SET buckets = %s WHERE key = %s"

_ORDER = {kind: place for place, kind in enumerate(LimitKind)}
_OF_A_TASK = {LimitKind.CALLS_PER_TASK, LimitKind.BYTES_PER_TASK}
_SIZED = {LimitKind.BYTES_PER_TASK, LimitKind.BYTES_PER_PERIOD}
_SUFFIXES = {kind: f":{kind.value}" for kind in LimitKind} | {LimitKind.CALLS_PER_TASK: "", LimitKind.RATE: ""}


@dataclass(slots=True, kw_only=True)
class Spending:
    """What the limits of one call came to: `counters` by rule, for the record, and the first that refused."""

    counters: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: Limit | None = None
    reason: Reason = Reason.ALLOWED
    detail: str = ""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """One limit's answer: what to record, why it refused, and how to give back what it took."""

    counter: dict[str, Any]
    reason: Reason = Reason.ALLOWED
    detail: str = ""
    wait: float | None = None
    give_back: Callable[[], None] = lambda: None


def spend_limits(limits: Iterable[Limit], call: Call) -> Spending:
    """Spend all of `limits` for `call`, or none of them if one refuses.

    Ceilings come first, for they are final where a period or a rate only delays; by the fixed order no two calls wait
    for each other. Calls that share a transaction can, and are then made again one by one (`agents.writer`).
    """
    spending, all_taken = Spending(), list[_Taken]()
    for limit in sorted(limits, key=_order):
        taken = _take(limit, call)
        spending.counters.setdefault(limit.rule_id, {}).update(taken.counter)
        if taken.reason is not Reason.ALLOWED:
            spending.refused, spending.reason, spending.detail = limit, taken.reason, taken.detail
            spending.retry_after_seconds = taken.wait
            for earlier in all_taken:
                earlier.give_back()
            break
        all_taken.append(taken)
    return spending


def peek_limits(limits: Iterable[Limit], call: Call) -> dict[str, dict[str, Any]]:
    """Return the counters of `limits` as they stand, in the form in which they are recorded; nothing is spent."""
    counters: dict[str, dict[str, Any]] = {}
    for limit in sorted(limits, key=_order):
        counters.setdefault(limit.rule_id, {}).update(_peek(limit, call))
    return counters


def _order(limit: Limit) -> tuple[int, str]:
    return _ORDER[LimitKind(limit.kind)], limit.rule_id


def _take(limit: Limit, call: Call) -> _Taken:
    match limit.kind:
        case LimitKind.CALLS_PER_TASK | LimitKind.BYTES_PER_TASK:
            return _take_of_task(limit, call)
        case LimitKind.SPEND_PER_TASK | LimitKind.SPEND_PER_DAY:
            return _weigh_spending(limit, call.spent)
        case LimitKind.CALLS_PER_PERIOD | LimitKind.BYTES_PER_PERIOD:
            return _take_of_period(limit, call)
        case LimitKind.RATE:
            return _take_of_rate(limit, call)


def _peek(limit: Limit, call: Call) -> dict[str, Any]:
    key = _key_of(limit, call)
    match limit.kind:
        case LimitKind.CALLS_PER_TASK | LimitKind.BYTES_PER_TASK:
            row = _fetch_one("SELECT count FROM toolgate_callcounter WHERE key = %s", (key,))
            return _show_count(limit, row[0] if row else 0)
        case LimitKind.SPEND_PER_TASK | LimitKind.SPEND_PER_DAY:
            return _weigh_spending(limit, call.spent).counter
        case LimitKind.CALLS_PER_PERIOD | LimitKind.BYTES_PER_PERIOD:
            window = make_window(seconds=limit.seconds)
            counted = count_in_window(_read_period(key), window, amount=limit.amount, size=0, now=to_micros(call.now))
            return _show_period(limit, counted.used)
        case LimitKind.RATE:
            wait = _look_at_rate(key, limit.amount, limit.burst, call.now)
            return _show_rate(limit, wait / SECOND_MICROS if wait else None)


def _key_of(limit: Limit, call: Call) -> str:
    """Return whose counter it is: a ceiling is a task's, a period and a rate are an agent's."""
    owner = call.task_id if limit.kind in _OF_A_TASK else call.request.principal.agent_id
    return f"{owner}:{call.request.action.skill_id}:{limit.rule_id}{_SUFFIXES[limit.kind]}"


def _size_of(limit: Limit, call: Call) -> int:
    """Return what the call counts: one, or the bytes of its arguments."""
    if limit.kind not in _SIZED:
        return 1
    return call.request.resource.argument_bytes or len(dump_arguments(call.arguments))


# --- ceilings -------------------------------------------------------------------------------------------------
def _take_of_task(limit: Limit, call: Call) -> _Taken:
    key, size = _key_of(limit, call), _size_of(limit, call)
    count = take_count(key, limit.amount, size)
    if count is not None:
        return _Taken(counter=_show_count(limit, count), give_back=lambda: _execute(_GIVE_COUNT_BACK, (size, key)))
    if limit.kind == LimitKind.CALLS_PER_TASK:
        detail = f"all {limit.amount} calls that the rule {limit.rule_id} grants a task are used"
        return _Taken(counter=_show_count(limit, limit.amount), reason=Reason.CALL_CEILING, detail=detail)
    counter = _peek(limit, call)
    detail = (
        f"of the {limit.amount:,} bytes that the rule {limit.rule_id} grants a task {counter['bytes']:,} are used, "
        f"and this call has {size:,}"
    )
    return _Taken(counter=counter, reason=Reason.CALL_CEILING, detail=detail)


def _show_count(limit: Limit, count: int) -> dict[str, Any]:
    if limit.kind == LimitKind.CALLS_PER_TASK:
        return {"callsPerTask": limit.amount, "calls": count}
    return {"bytesPerTask": limit.amount, "bytes": count}


def take_call(key: str, ceiling: int) -> int | None:
    """Count one call under `key`; return the count, or None (nothing spent) if it would pass `ceiling`."""
    return take_count(key, ceiling, 1)


def take_count(key: str, ceiling: int, size: int) -> int | None:
    """Count `size` under `key`; return the count, or None (nothing spent) if it would pass `ceiling`."""
    if size > ceiling:
        return None
    row = _fetch_one(_TAKE_COUNT, (key, size, ceiling))
    return None if row is None else int(row[0])


# --- spending -------------------------------------------------------------------------------------------------
def _weigh_spending(limit: Limit, spent: Spent | None) -> _Taken:
    word, scope = ("Task", "the task") if limit.kind == LimitKind.SPEND_PER_TASK else ("Day", "the agent today")
    counter: dict[str, Any] = {f"spendPer{word}MicroGbp": limit.amount}
    granted = f"the rule {limit.rule_id} grants until £{limit.amount / 1_000_000:,.4f} is spent"
    if spent is None:
        detail = f"{granted}, and what {scope} has spent is unknown"
        return _Taken(counter=counter, reason=Reason.BUDGET_EXHAUSTED, detail=detail)
    micro = spent.task_micro if limit.kind == LimitKind.SPEND_PER_TASK else spent.day_micro
    counter[f"{word.lower()}SpentMicroGbp"] = micro
    if micro < limit.amount:
        return _Taken(counter=counter)
    detail = f"{granted}, and {scope} has spent or holds £{micro / 1_000_000:,.4f}"
    return _Taken(counter=counter, reason=Reason.BUDGET_EXHAUSTED, detail=detail)


# --- periods --------------------------------------------------------------------------------------------------
def _take_of_period(limit: Limit, call: Call) -> _Taken:
    key, size = _key_of(limit, call), _size_of(limit, call)
    if size > limit.amount:
        detail = f"this call has {size:,} bytes, and the rule {limit.rule_id} never grants more than {limit.amount:,}"
        return _Taken(counter=_peek(limit, call), reason=Reason.CALL_CEILING, detail=detail)
    _execute(_OPEN_PERIOD, (key,))
    before, window = _read_period(key, lock=True), make_window(seconds=limit.seconds)
    counted = count_in_window(before, window, amount=limit.amount, size=size, now=to_micros(call.now))
    if counted.buckets != before:
        _write_period(key, counted.buckets)
    if not counted.wait:
        return _Taken(counter=_show_period(limit, counted.used), give_back=lambda: _write_period(key, before))
    wait = counted.wait / SECOND_MICROS
    what = "calls" if limit.kind == LimitKind.CALLS_PER_PERIOD else "bytes"
    detail = f"the rule {limit.rule_id} grants {limit.amount:,} {what} in {limit.seconds:,} s; wait {wait:.3f} s"
    counter = _show_period(limit, counted.used) | {"retryAfterMillis": round(wait * 1000)}
    return _Taken(counter=counter, reason=Reason.RATE_LIMITED, detail=detail, wait=wait)


def _show_period(limit: Limit, used: int) -> dict[str, Any]:
    what = "calls" if limit.kind == LimitKind.CALLS_PER_PERIOD else "bytes"
    return {f"{what}PerPeriod": limit.amount, f"{what}PeriodSeconds": limit.seconds, f"{what}InPeriod": used}


def _read_period(key: str, *, lock: bool = False) -> Buckets:
    # SQLite has locked the whole store already: its write transactions are immediate.
    row = _fetch_one(_READ_PERIOD + (" FOR UPDATE" if lock and connection.vendor == "postgresql" else ""), (key,))
    return tuple((end, count) for end, count in orjson.loads(row[0])) if row else ()


def _write_period(key: str, buckets: Buckets) -> None:
    _execute(_WRITE_PERIOD, (orjson.dumps(buckets).decode(), key))


# --- rates ----------------------------------------------------------------------------------------------------
def _take_of_rate(limit: Limit, call: Call) -> _Taken:
    key = _key_of(limit, call)
    wait = take_rate(key, limit.amount, limit.burst, call.now)
    if wait is None:
        interval = make_pace(rate=limit.amount, burst=limit.burst).interval
        return _Taken(counter=_show_rate(limit, None), give_back=lambda: _execute(_GIVE_RATE_BACK, (interval, key)))
    detail = f"the rule {limit.rule_id} grants {limit.amount} calls a second; wait {wait:.3f} s"
    return _Taken(counter=_show_rate(limit, wait), reason=Reason.RATE_LIMITED, detail=detail, wait=wait)


def _show_rate(limit: Limit, wait: float | None) -> dict[str, Any]:
    return {"ratePerSecond": limit.amount} | ({} if wait is None else {"retryAfterMillis": round(wait * 1000)})


def take_rate(key: str, rate: int, burst: int, now: datetime) -> float | None:
    """Spend one call of `rate` a second under `key`; return None, or the seconds to wait (nothing spent)."""
    pace, moment = make_pace(rate=rate, burst=burst), to_micros(now)
    rested, limit, lead = moment + pace.interval, moment + pace.limit, moment + pace.lead
    parameters = (key, rested, moment, rested, limit, moment + pace.horizon, pace.interval, lead, limit)
    if _fetch_one(_TAKE_RATE, parameters) is not None:
        return None
    # On PostgreSQL another's call can have moved the cell between the two statements: never answer "no wait".
    return max(_look_at_rate(key, rate, burst, now), 1) / SECOND_MICROS


def _look_at_rate(key: str, rate: int, burst: int, now: datetime) -> int:
    """Return the microseconds that a call at `now` would have to wait."""
    row = _fetch_one("SELECT arrival_micros FROM toolgate_ratecell WHERE key = %s", (key,))
    return spend_call(None if row is None else row[0], make_pace(rate=rate, burst=burst), to_micros(now)).wait


def _fetch_one(sql: str, parameters: tuple[str | int, ...]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def _execute(sql: str, parameters: tuple[str | int, ...]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
