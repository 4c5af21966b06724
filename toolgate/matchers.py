"""One condition of a rule, compiled to two questions about a call: is it covered, is it touched? PURE.

`covers` is strict and serves what permits; `touches` is wide and serves what restricts (see `toolgate.policy`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toolgate.patterns import compile_pattern, is_glob
from toolgate.places import compile_covers, compile_touches
from toolgate.policy import ArgumentTest, ByteRange, Conditions
from toolgate.types import Reason, Resource

Question = Callable[[Resource], bool]
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One condition: both questions, and what to tell people when it does not cover."""

    reason: Reason
    covers: Question
    touches: Question
    describe: Callable[[Resource], str]


def compile_conditions(conditions: Conditions) -> tuple[Matcher, ...]:
    """Return a matcher for each condition, from the most to the least specific reason."""
    matchers: list[Matcher] = []
    if conditions.domains is not None:
        matchers.append(_match_domains(conditions.domains))
    if conditions.read_paths is not None:
        matchers.append(_match_paths(conditions.read_paths, "read", Reason.READ_PATH, lambda r: r.read_paths))
    if conditions.write_paths is not None:
        matchers.append(_match_paths(conditions.write_paths, "written", Reason.WRITE_PATH, lambda r: r.write_paths))
    for name, test in sorted((conditions.arguments or {}).items()):
        matchers.append(_match_argument(name, test))
    if conditions.argument_bytes is not None:
        matchers.append(_match_bytes(conditions.argument_bytes))
    return tuple(matchers)


def all_of(questions: tuple[Question, ...]) -> Question:
    """Return one question that is answered yes if all of `questions` are."""
    if not questions:
        return lambda resource: True
    if len(questions) == 1:
        return questions[0]

    def ask_all(resource: Resource) -> bool:
        for question in questions:  # noqa: SIM110  (all() with a generator takes three times as long)
            if not question(resource):
                return False
        return True

    return ask_all


def _match_domains(patterns: tuple[str, ...]) -> Matcher:
    exact = frozenset(pattern for pattern in patterns if not pattern.startswith("*."))
    suffixes = tuple(pattern[1:] for pattern in patterns if pattern.startswith("*."))

    def covers(resource: Resource) -> bool:
        # A rule about hosts says nothing of a call that names none.
        for host in resource.hosts:
            if host not in exact and not host.endswith(suffixes):
                return False
        return bool(resource.hosts)

    def touches(resource: Resource) -> bool:
        for host in resource.hosts:  # noqa: SIM110  (any() with a generator takes twice as long)
            if host in exact or host.endswith(suffixes):
                return True
        return False

    def describe(resource: Resource) -> str:
        outside = [host for host in resource.hosts if host not in exact and not host.endswith(suffixes)]
        return f"the host {ascii(outside[0])[:260]} is not allowed" if outside else "the call names no host"

    return Matcher(reason=Reason.DOMAIN_NOT_ALLOWED, covers=covers, touches=touches, describe=describe)


def _match_paths(
    places: tuple[str, ...], verb: str, reason: Reason, paths_of: Callable[[Resource], tuple[str, ...]]
) -> Matcher:
    covers_path, touches_path = compile_covers(places), compile_touches(places)

    def touches(resource: Resource) -> bool:
        for path in paths_of(resource):  # noqa: SIM110
            if touches_path(path, resource.files_only):
                return True
        return False

    def describe(resource: Resource) -> str:
        outside = [path for path in paths_of(resource) if not covers_path(path)]
        return f"the path {ascii(outside[0])[:200]} may not be {verb}" if outside else f"nothing may be {verb}"

    return Matcher(reason=reason, covers=_cover_paths(places, paths_of), touches=touches, describe=describe)


def _cover_paths(places: tuple[str, ...], paths_of: Callable[[Resource], tuple[str, ...]]) -> Question:
    # A call that touches no path is inside every place, but inside no place of an empty list.
    exact, below = frozenset(places), tuple(f"{place}/" for place in places)
    covers_path = compile_covers(places)

    def covers_folders(resource: Resource) -> bool:
        for path in paths_of(resource):
            if path not in exact and not path.startswith(below):
                return False
        return bool(exact)

    def covers_globs(resource: Resource) -> bool:
        return all(covers_path(path) for path in paths_of(resource))

    if "" in exact:
        return lambda resource: True
    return covers_globs if any(map(is_glob, places)) else covers_folders


def _match_argument(name: str, test: ArgumentTest) -> Matcher:
    accepts, can_judge = _compile_test(test)
    # A line break must not dodge a deny rule for .*secret.*: there a dot is wide, and strict in what permits.
    may_mean = accepts if test.pattern is None else compile_pattern(test.pattern, spans_lines=True)

    def covers(resource: Resource) -> bool:
        value = resource.arguments.get(name, _MISSING)
        return can_judge(value) and accepts(value)

    def touches(resource: Resource) -> bool:
        value = resource.arguments.get(name, _MISSING)
        return not can_judge(value) or may_mean(value)

    def describe(resource: Resource) -> str:
        value = resource.arguments.get(name, _MISSING)
        shown = "missing" if value is _MISSING else ascii(value)[:120]
        if isinstance(value, str) and (test.min_length is not None or test.max_length is not None):
            shown = f"{len(value):,} characters long"
        return f"the argument {name} is {shown}, which is not allowed"

    return Matcher(reason=Reason.ARGUMENT_NOT_ALLOWED, covers=covers, touches=touches, describe=describe)


def _compile_test(test: ArgumentTest) -> tuple[Callable[[Any], bool], Callable[[Any], bool]]:
    if test.min is not None or test.max is not None:
        low = float("-inf") if test.min is None else test.min
        high = float("inf") if test.max is None else test.max
        return (lambda value: low <= value <= high), _is_number
    if test.min_length is not None or test.max_length is not None:
        shortest, longest = test.min_length or 0, float("inf") if test.max_length is None else test.max_length
        return (lambda value: shortest <= len(value) <= longest), _is_text
    if test.pattern is not None:
        return compile_pattern(test.pattern), _is_text
    options = frozenset((_kind(option), option) for option in test.one_of or ())
    if test.equals is not None:
        options = frozenset([(_kind(test.equals), test.equals)])
    kinds = frozenset(kind for kind, _ in options)
    return (lambda value: (_kind(value), value) in options), (lambda value: _kind(value) in kinds and value == value)


def _match_bytes(bounds: ByteRange) -> Matcher:
    low, high = bounds.min or 0, float("inf") if bounds.max is None else bounds.max

    def covers(resource: Resource) -> bool:
        return resource.argument_bytes > 0 and low <= resource.argument_bytes <= high

    def touches(resource: Resource) -> bool:
        # No JSON has no bytes: zero says that nobody has measured them.
        return resource.argument_bytes == 0 or low <= resource.argument_bytes <= high

    def describe(resource: Resource) -> str:
        return f"the arguments have {resource.argument_bytes:,} bytes, which is not allowed"

    return Matcher(reason=Reason.ARGUMENT_NOT_ALLOWED, covers=covers, touches=touches, describe=describe)


def _kind(value: object) -> str:
    # In Python True == 1: without kinds a rule about the number 1 would take a switch for it.
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _is_number(value: Any) -> bool:
    return _kind(value) == "number" and value == value  # NaN differs from itself


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.encode(errors="replace").decode() == value  # a lone surrogate is no text
