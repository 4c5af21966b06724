"""One rule, compiled: its questions, its limits, and what a call may reach under it. PURE."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from toolgate.clocks import Clock, compile_clocks
from toolgate.matchers import Matcher, Question, all_of, compile_conditions
from toolgate.patterns import is_glob
from toolgate.places import may_overlap
from toolgate.policy import Limits, Rule
from toolgate.types import Limit, LimitKind, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a call may go on to under one rule: the hosts or folders `listed`, and if `own` the very ones it named."""

    listed: tuple[str, ...] = ()
    own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """One rule, ready to be asked: about a call by its matchers, about the time by its clocks."""

    rule: Rule
    matchers: tuple[Matcher, ...]
    clocks: tuple[Clock, ...]
    covers: Question
    touches: Question
    limits: tuple[Limit, ...]
    terms: Terms
    hosts: Reach = Reach()
    reads: Reach = Reach()
    writes: Reach = Reach()

    def find_stopped_clock(self, now: datetime) -> Clock | None:
        """Return the first clock by which the rule does not hold at `now`, None if it holds."""
        return next((clock for clock in self.clocks if not clock.holds(now)), None)


def compile_rule(rule: Rule) -> Entry:
    """Return `rule`, compiled; its reach is bound later, by `bound_reach`."""
    matchers = compile_conditions(rule.conditions)
    return Entry(
        rule=rule,
        matchers=matchers,
        clocks=compile_clocks(rule),
        covers=all_of(tuple(matcher.covers for matcher in matchers)),
        touches=all_of(tuple(matcher.touches for matcher in matchers)),
        limits=_compile_limits(rule),
        terms=_compile_terms(rule),
    )


def bound_reach(entry: Entry, stricter: Iterable[Entry]) -> Entry:
    """Return `entry` with its reach cut back to where no stricter rule could have a say.

    A call is decided once, but may go on from there: to another host by a redirect, to other files of a folder.
    A glob is never handed on: a call that it covers keeps to the paths that it named itself.
    """
    mine, theirs = entry.rule.conditions, [other.rule.conditions for other in stricter]
    return replace(
        entry,
        hosts=_cut(mine.domains, [other.domains for other in theirs], _domains_overlap),
        reads=_cut_places(mine.read_paths, [other.read_paths for other in theirs]),
        writes=_cut_places(mine.write_paths, [other.write_paths for other in theirs]),
    )


def _compile_limits(rule: Rule) -> tuple[Limit, ...]:
    """Return the limits in the order of their kinds."""
    terms = _list_terms(rule.limits)
    return tuple(Limit(rule_id=rule.id, kind=kind, **terms[kind]) for kind in LimitKind if kind in terms)


def _list_terms(limits: Limits) -> dict[LimitKind, dict[str, int]]:
    terms: dict[LimitKind, dict[str, int]] = {}
    for kind, amount in (
        (LimitKind.CALLS_PER_TASK, limits.calls_per_task),
        (LimitKind.BYTES_PER_TASK, limits.bytes_per_task),
        (LimitKind.SPEND_PER_TASK, _to_micro(limits.spend_per_task)),
        (LimitKind.SPEND_PER_DAY, _to_micro(limits.spend_per_day)),
    ):
        if amount is not None:
            terms[kind] = {"amount": amount}
    for kind, period in (
        (LimitKind.CALLS_PER_PERIOD, limits.calls_per_period),
        (LimitKind.BYTES_PER_PERIOD, limits.bytes_per_period),
    ):
        if period is not None:
            terms[kind] = {"amount": period.amount, "seconds": period.seconds}
    if limits.rate_per_second is not None:
        burst = limits.burst or limits.rate_per_second
        terms[LimitKind.RATE] = {"amount": limits.rate_per_second, "burst": burst}
    return terms


def _to_micro(pounds: Decimal | None) -> int | None:
    return None if pounds is None else int(pounds * 1_000_000)  # four decimals at most: it is exact


def _compile_terms(rule: Rule) -> Terms:
    approval = rule.approval
    return Terms(
        rule_id=rule.id,
        quorum=approval.quorum,
        approvers=approval.approvers,
        four_eyes=approval.four_eyes,
        expires_seconds=approval.expires_seconds,
        sla_seconds=approval.sla_seconds,
    )


def _cut(
    mine: tuple[str, ...] | None, theirs: list[tuple[str, ...] | None], overlap: Callable[[str, str], bool]
) -> Reach:
    if mine is None:
        return Reach()
    taken = {pattern for patterns in theirs for pattern in patterns or ()}
    kept = tuple(pattern for pattern in mine if not any(overlap(pattern, other) for other in taken))
    return Reach(listed=kept, own=len(kept) < len(mine))


def _cut_places(mine: tuple[str, ...] | None, theirs: list[tuple[str, ...] | None]) -> Reach:
    if mine is None:
        return Reach()
    folders = tuple(place for place in mine if not is_glob(place))
    reach = _cut(folders, theirs, may_overlap)
    return replace(reach, own=reach.own or len(folders) < len(mine))


def _domains_overlap(one: str, other: str) -> bool:
    return one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(pattern: str, wildcard: str) -> bool:
    return wildcard.startswith("*.") and pattern.removeprefix("*").endswith(wildcard[1:])
