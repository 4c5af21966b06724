"""Whether every call of one rule is a call of another: said only when it is certain. PURE.

Of the two questions a rule can be asked (`toolgate.policy`), `is_covered_by` is about calls that a rule covers, and
`touches_only_where` about calls that it touches. "No" means "not certain".
"""

from collections.abc import Callable
from datetime import datetime

from toolgate.patterns import base_of, is_glob
from toolgate.policy import ANY, ArgumentTest, ByteRange, Conditions, Rule

Places = tuple[str, ...] | None
TestsInside = Callable[[ArgumentTest, ArgumentTest], bool]


def is_covered_by(rule: Rule, other: Rule) -> bool:
    """Say whether `other` covers every call that `rule` covers, whenever both hold."""
    return _is_inside(rule.conditions, other.conditions, _accepts_inside)


def is_covered_where_touched(rule: Rule, other: Rule) -> bool:
    """Say whether `other` touches every call that `rule` covers.

    Never so for an `other` that names folders: a call that touches no path lies inside every folder of `rule`, and
    no folder of `other` is touched by it.
    """
    mine, theirs = rule.conditions, other.conditions
    return (
        theirs.read_paths is None
        and theirs.write_paths is None
        and _lists_inside(mine.domains, theirs.domains, host_inside)
        and _arguments_inside(mine, theirs, _accepts_inside)
        and _shared_inside(mine, theirs)
    )


def touches_only_where(rule: Rule, other: Rule) -> bool:
    """Say whether `other` touches every call that `rule` touches."""
    return _is_inside(rule.conditions, other.conditions, _touches_inside)


def is_scope_inside(rule: Rule, other: Rule) -> bool:
    """Say whether `other` is about every agent and skill that `rule` is about."""
    if other.skill not in {ANY, rule.skill}:
        return False
    if other.agent != ANY:
        return other.agent == rule.agent
    excepted = set(other.except_agents or ())
    return excepted <= set(rule.except_agents or ()) if rule.agent == ANY else rule.agent not in excepted


def is_valid_throughout(rule: Rule, other: Rule, *, now: datetime) -> bool:
    """Say whether `other` holds at every moment from `now` on at which `rule` holds."""
    start = max(now, rule.valid_from) if rule.valid_from else now
    begins = other.valid_from is None or other.valid_from <= start
    ends = other.valid_until is None or (rule.valid_until is not None and rule.valid_until <= other.valid_until)
    return begins and ends


def host_inside(pattern: str, other: str) -> bool:
    """Say whether every host that `pattern` names is one that `other` names."""
    return pattern == other or (other.startswith("*.") and pattern.removeprefix("*").endswith(other[1:]))


def place_inside(place: str, other: str) -> bool:
    """Say whether every path in `place` is in `other`; both are folders or globs."""
    if place == other or other == "":
        return True
    if is_glob(other):
        return False
    return f"{base_of(place)}/".startswith(f"{other}/")


def range_inside(low: float | None, high: float | None, other_low: float | None, other_high: float | None) -> bool:
    """Say whether every number from `low` to `high` lies in the other range; None is no bound."""
    starts = other_low is None or (low is not None and low >= other_low)
    return starts and (other_high is None or (high is not None and high <= other_high))


def _is_inside(mine: Conditions, theirs: Conditions, tests_inside: TestsInside) -> bool:
    return (
        _lists_inside(mine.domains, theirs.domains, host_inside)
        and _lists_inside(mine.read_paths, theirs.read_paths, place_inside)
        and _lists_inside(mine.write_paths, theirs.write_paths, place_inside)
        and _arguments_inside(mine, theirs, tests_inside)
        and _shared_inside(mine, theirs)
    )


def _lists_inside(mine: Places, theirs: Places, inside: Callable[[str, str], bool]) -> bool:
    if theirs is None:
        return True
    return mine is not None and all(any(inside(one, other) for other in theirs) for one in mine)


def _shared_inside(mine: Conditions, theirs: Conditions) -> bool:
    """Judge the conditions for which covering and touching are the same."""
    return (
        theirs.tainted in (None, mine.tainted)
        and theirs.time_window in (None, mine.time_window)
        and _bytes_inside(mine.argument_bytes, theirs.argument_bytes)
    )


def _bytes_inside(mine: ByteRange | None, theirs: ByteRange | None) -> bool:
    return theirs is None or (mine is not None and range_inside(mine.min, mine.max, theirs.min, theirs.max))


def _arguments_inside(mine: Conditions, theirs: Conditions, inside: TestsInside) -> bool:
    tests = mine.arguments or {}
    return all(name in tests and inside(tests[name], other) for name, other in (theirs.arguments or {}).items())


def _touches_inside(test: ArgumentTest, other: ArgumentTest) -> bool:
    """What cannot be evaluated touches, so `other` must judge no value that `test` does not."""
    return same_test(test, other) or (_accepts_inside(test, other) and _kinds_of(other) <= _kinds_of(test))


def _accepts_inside(test: ArgumentTest, other: ArgumentTest) -> bool:
    """Say whether every value that `test` accepts is one that `other` accepts."""
    if same_test(test, other):
        return True
    options = options_of(test)
    if options is not None:
        return all(_accepts(other, option) for option in options)
    if is_range(test) and is_range(other):
        return range_inside(test.min, test.max, other.min, other.max)
    if is_length(test) and is_length(other):
        return range_inside(test.min_length, test.max_length, other.min_length, other.max_length)
    return False


def same_test(test: ArgumentTest, other: ArgumentTest) -> bool:
    """Say whether both are one test; in Python True == 1, and no rule may take one for the other."""
    return test == other and list(map(type, options_of(test) or ())) == list(map(type, options_of(other) or ()))


def _accepts(test: ArgumentTest, value: object) -> bool:
    """Say whether `test` surely accepts one value."""
    options = options_of(test)
    if options is not None:
        return any(_kind(value) == _kind(option) and value == option for option in options)
    if is_range(test) and isinstance(value, int | float) and not isinstance(value, bool):
        return range_inside(value, value, test.min, test.max)
    if is_length(test) and isinstance(value, str):
        return range_inside(len(value), len(value), test.min_length, test.max_length)
    return False


def options_of(test: ArgumentTest) -> tuple[object, ...] | None:
    """Return the values that a test names one by one, None if it names none."""
    return test.one_of if test.one_of is not None else None if test.equals is None else (test.equals,)


def is_range(test: ArgumentTest) -> bool:
    """Say whether a test is about the size of a number."""
    return test.min is not None or test.max is not None


def is_length(test: ArgumentTest) -> bool:
    """Say whether a test is about the length of a text."""
    return test.min_length is not None or test.max_length is not None


def _kinds_of(test: ArgumentTest) -> frozenset[str]:
    """Return the kinds of values that a test can judge."""
    options = options_of(test)
    if options is not None:
        return frozenset(map(_kind, options))
    return frozenset({"number"}) if is_range(test) else frozenset({"text"})


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "switch"
    return "number" if isinstance(value, int | float) else "text"
