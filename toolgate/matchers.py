"""One condition of a rule, compiled to two questions about a call: is it covered, is it touched? PURE.

`covers` is strict and serves what permits; `touches` is wide and serves what restricts (see `toolgate.policy`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from toolgate.policy import ArgumentTest, Conditions
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
        return any(host in exact or host.endswith(suffixes) for host in resource.hosts)

    def describe(resource: Resource) -> str:
        outside = [host for host in resource.hosts if host not in exact and not host.endswith(suffixes)]
        return f"the host {ascii(outside[0])[:260]} is not allowed" if outside else "the call names no host"

    return Matcher(reason=Reason.DOMAIN_NOT_ALLOWED, covers=covers, touches=touches, describe=describe)


def _match_paths(
    folders: tuple[str, ...], verb: str, reason: Reason, paths_of: Callable[[Resource], tuple[str, ...]]
) -> Matcher:
    exact = frozenset(folders)
    below = tuple(f"{folder}/" for folder in folders)

    def covers(resource: Resource) -> bool:
        # A call that touches no path is inside every folder, but inside no folder of an empty list.
        for path in paths_of(resource):
            if path not in exact and not path.startswith(below):
                return False
        return bool(exact)

    def covers_any(resource: Resource) -> bool:
        return True

    def touches(resource: Resource) -> bool:
        # A folder above a named one reaches into it.
        return any(is_inside(path, folders) or reaches_into(path, folders) for path in paths_of(resource))

    def describe(resource: Resource) -> str:
        outside = [path for path in paths_of(resource) if not is_inside(path, folders)]
        return f"the path {ascii(outside[0])[:200]} may not be {verb}" if outside else f"nothing may be {verb}"

    whole = "" in exact
    return Matcher(reason=reason, covers=covers_any if whole else covers, touches=touches, describe=describe)


def is_inside(path: str, folders: tuple[str, ...]) -> bool:
    """Say whether `path` is one of `folders` or below it, by whole path components."""
    return any(not folder or path == folder or path.startswith(folder + "/") for folder in folders)


def reaches_into(path: str, folders: tuple[str, ...]) -> bool:
    """Say whether one of `folders` is below the folder `path`."""
    return any(not path or folder.startswith(path + "/") for folder in folders)


def _match_argument(name: str, test: ArgumentTest) -> Matcher:
    accepts, can_judge = _compile_test(test)

    def covers(resource: Resource) -> bool:
        value = resource.arguments.get(name, _MISSING)
        return can_judge(value) and accepts(value)

    def touches(resource: Resource) -> bool:
        value = resource.arguments.get(name, _MISSING)
        return not can_judge(value) or accepts(value)

    def describe(resource: Resource) -> str:
        value = resource.arguments.get(name, _MISSING)
        shown = "missing" if value is _MISSING else ascii(value)[:120]
        return f"the argument {name} is {shown}, which is not allowed"

    return Matcher(reason=Reason.ARGUMENT_NOT_ALLOWED, covers=covers, touches=touches, describe=describe)


def _compile_test(test: ArgumentTest) -> tuple[Callable[[Any], bool], Callable[[Any], bool]]:
    if test.min is not None or test.max is not None:
        low = float("-inf") if test.min is None else test.min
        high = float("inf") if test.max is None else test.max
        return (lambda value: low <= value <= high), _is_number
    options = test.one_of if test.one_of is not None else (test.equals,)
    kinds = frozenset(map(_kind, options))
    return (lambda value: value in options), (lambda value: _kind(value) in kinds and value == value)


def _kind(value: object) -> str:
    # In Python True == 1: without kinds a rule about the number 1 would take a switch for it.
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _is_number(value: Any) -> bool:
    return _kind(value) == "number" and value == value  # NaN differs from itself
