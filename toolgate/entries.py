"""One rule, compiled: its questions, its limits, and what a call may reach under it. PURE."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from toolgate.matchers import Matcher, Question, all_of, compile_conditions, is_inside
from toolgate.policy import Rule
from toolgate.types import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a call may go on to under one rule: the hosts or folders `listed`, and if `own` the very ones it named."""

    listed: tuple[str, ...] = ()
    own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """One rule, ready to be asked."""

    rule: Rule
    matchers: tuple[Matcher, ...]
    covers: Question
    touches: Question
    limits: tuple[Limit, ...]
    hosts: Reach = Reach()
    reads: Reach = Reach()
    writes: Reach = Reach()


def compile_rule(rule: Rule) -> Entry:
    """Return `rule`, compiled; its reach is bound later, by `bound_reach`."""
    matchers = compile_conditions(rule.conditions)
    return Entry(
        rule=rule,
        matchers=matchers,
        covers=all_of(tuple(matcher.covers for matcher in matchers)),
        touches=all_of(tuple(matcher.touches for matcher in matchers)),
        limits=_compile_limits(rule),
    )


def bound_reach(entry: Entry, stricter: Iterable[Entry]) -> Entry:
    """Return `entry` with its reach cut back to where no stricter rule could have a say.

    A call is decided once, but may go on from there: to another host by a redirect, to other files of a folder.
    """
    mine, theirs = entry.rule.conditions, [other.rule.conditions for other in stricter]
    return replace(
        entry,
        hosts=_cut(mine.domains, [other.domains for other in theirs], _domains_overlap),
        reads=_cut(mine.read_paths, [other.read_paths for other in theirs], _folders_overlap),
        writes=_cut(mine.write_paths, [other.write_paths for other in theirs], _folders_overlap),
    )


def _compile_limits(rule: Rule) -> tuple[Limit, ...]:
    limits = []
    if rule.limits.calls_per_task is not None:
        limits.append(Limit(rule_id=rule.id, kind="calls_per_task", amount=rule.limits.calls_per_task))
    if rule.limits.rate_per_second is not None:
        rate = rule.limits.rate_per_second
        limits.append(Limit(rule_id=rule.id, kind="rate", amount=rate, burst=rule.limits.burst or rate))
    return tuple(limits)


def _cut(
    mine: tuple[str, ...] | None, theirs: list[tuple[str, ...] | None], overlap: Callable[[str, str], bool]
) -> Reach:
    if mine is None:
        return Reach()
    taken = {pattern for patterns in theirs for pattern in patterns or ()}
    kept = tuple(pattern for pattern in mine if not any(overlap(pattern, other) for other in taken))
    return Reach(listed=kept, own=len(kept) < len(mine))


def _domains_overlap(one: str, other: str) -> bool:
    return one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(pattern: str, wildcard: str) -> bool:
    return wildcard.startswith("*.") and pattern.removeprefix("*").endswith(wildcard[1:])


def _folders_overlap(one: str, other: str) -> bool:
    return is_inside(one, (other,)) or is_inside(other, (one,))
