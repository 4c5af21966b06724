"""How full the limits of one call are, and the least by which one has to be raised for it to pass. PURE."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from toolgate.exceptions import PolicyInvalid
from toolgate.explaining.narrowest import Suggestion
from toolgate.limits import make_pace
from toolgate.policy import Policy, dump_rule, read_policy
from toolgate.types import Limit, LimitKind, Reason
from toolgate.words.rules import list_names, show_bytes, show_period, show_pounds

Counters = Mapping[str, Mapping[str, Any]]  # by rule, in the form in which they are recorded

_SIZED: Final = {LimitKind.BYTES_PER_TASK, LimitKind.BYTES_PER_PERIOD}
_SPENDING: Final = {LimitKind.SPEND_PER_TASK: "spendPerTask", LimitKind.SPEND_PER_DAY: "spendPerDay"}
_USED: Final = {
    LimitKind.CALLS_PER_TASK: "calls",
    LimitKind.BYTES_PER_TASK: "bytes",
    LimitKind.SPEND_PER_TASK: "taskSpentMicroGbp",
    LimitKind.SPEND_PER_DAY: "daySpentMicroGbp",
    LimitKind.CALLS_PER_PERIOD: "callsInPeriod",
    LimitKind.BYTES_PER_PERIOD: "bytesInPeriod",
}
_STEP_MICRO: Final = 100  # pounds in a rule have four decimals


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One limit as it stands: what is used of it, None if that is unknown, and the amount that a call needs."""

    limit: Limit
    used: int | None
    needed: int  # of a rate, the burst
    refuses: bool
    words: str

    @property
    def reason(self) -> Reason:
        """Return the reason that a refusal by it has."""
        if self.limit.kind in _SPENDING:
            return Reason.BUDGET_EXHAUSTED
        is_final = self.limit.kind in {LimitKind.CALLS_PER_TASK, LimitKind.BYTES_PER_TASK}
        return Reason.CALL_CEILING if is_final else Reason.RATE_LIMITED


def weigh_limits(limits: Iterable[Limit], counters: Counters, *, size: int) -> tuple[LimitState, ...]:
    """Return how each limit stands by `counters` for a call of `size` bytes."""
    return tuple(_weigh(limit, counters.get(limit.rule_id, {}), size=size) for limit in limits)


def suggest_raise(policy: Policy, states: Iterable[LimitState]) -> Suggestion | None:
    """Return the rule with its full limits raised by the least that lets one call pass, None if none is full."""
    full = [state for state in states if state.refuses]
    if not full:
        return None
    obstacle = f"{'; '.join(f'{state.limit.rule_id}: {state.words}' for state in full)}."
    rule_ids = {state.limit.rule_id for state in full}
    rules = [rule for rule in policy.rules if rule.id in rule_ids]
    if len(rules) != 1:
        return Suggestion(obstacle=obstacle)
    wire = dump_rule(rules[0])
    for state in full:
        wire["limits"] |= _raise(state)
    try:
        [raised] = read_policy([wire]).rules
    except PolicyInvalid:
        return Suggestion(obstacle=f"{obstacle} No rule can grant more.")
    what = list_names([_name(state.limit.kind) for state in full])
    sentence = f"{raised.id}, with its {what} raised by the least that lets this call pass."
    return Suggestion(rule=dump_rule(raised), replaces=raised.id, sentence=sentence, obstacle=obstacle)


def _weigh(limit: Limit, counter: Mapping[str, Any], *, size: int) -> LimitState:
    if limit.kind is LimitKind.RATE:
        return _weigh_rate(limit, counter)
    used: int | None = counter.get(_USED[limit.kind])
    if used is None:
        return LimitState(limit=limit, used=None, needed=limit.amount, refuses=False, words=_tell(limit, None))
    if limit.kind in _SPENDING:  # a call passes as long as something is left, whatever it will cost
        needed = used + 1
        needed += -needed % _STEP_MICRO
        refuses = used >= limit.amount
    else:
        needed = used + (size if limit.kind in _SIZED else 1)
        refuses = needed > limit.amount
    return LimitState(limit=limit, used=used, needed=needed, refuses=refuses, words=_tell(limit, used))


def _weigh_rate(limit: Limit, counter: Mapping[str, Any]) -> LimitState:
    wait = counter.get("retryAfterMillis", 0)
    interval = make_pace(rate=limit.amount, burst=limit.burst).interval
    words = f"{_count(limit.amount)} a second, {limit.burst:,} at once"
    if wait:
        words += f"; the next in {wait / 1000:.3f} s"
    needed = limit.burst + -(-(wait * 1000) // interval)
    return LimitState(limit=limit, used=None, needed=needed, refuses=wait > 0, words=words)


def _tell(limit: Limit, used: int | None) -> str:
    kind = limit.kind
    per = show_period(limit.seconds) if limit.seconds else "a day" if kind is LimitKind.SPEND_PER_DAY else "a task"
    if kind in _SPENDING:
        shown = [show_pounds(str(Decimal(amount) / 1_000_000)) for amount in (used or 0, limit.amount)]
    elif kind in _SIZED:
        shown = [show_bytes(used or 0), show_bytes(limit.amount)]
    else:
        shown = [f"{used or 0:,}", _count(limit.amount)]
    return f"{shown[1]} {per}, not counted here" if used is None else f"{shown[0]} of {shown[1]} {per} used"


def _count(calls: int) -> str:
    return f"{calls:,} call{'' if calls == 1 else 's'}"


def _name(kind: LimitKind) -> str:
    return "burst" if kind is LimitKind.RATE else kind.value.replace("_", " ")


def _raise(state: LimitState) -> dict[str, Any]:
    """Return the limit in wire form, as high as the call needs."""
    limit, needed = state.limit, state.needed
    match limit.kind:
        case LimitKind.CALLS_PER_TASK:
            return {"callsPerTask": needed}
        case LimitKind.BYTES_PER_TASK:
            return {"bytesPerTask": needed}
        case LimitKind.CALLS_PER_PERIOD:
            return {"callsPerPeriod": {"amount": needed, "seconds": limit.seconds}}
        case LimitKind.BYTES_PER_PERIOD:
            return {"bytesPerPeriod": {"amount": needed, "seconds": limit.seconds}}
        case LimitKind.RATE:
            return {"burst": needed}
        case LimitKind.SPEND_PER_TASK | LimitKind.SPEND_PER_DAY:
            return {_SPENDING[limit.kind]: str(Decimal(needed) / 1_000_000)}
