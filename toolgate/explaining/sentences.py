"""What became of one condition, in words. PURE."""

from dataclasses import replace
from typing import Any

from toolgate.matchers import Matcher, compile_conditions
from toolgate.policy import ArgumentTest, Conditions
from toolgate.types import Resource
from toolgate.words.rules import describe_conditions, describe_test, list_names, show_scalar

MAX_NAMED = 4
MAX_SHOWN = 160  # characters of one value


def tell_condition(alone: Conditions, resource: Resource, *, restricts: bool) -> str:
    """Return what a call makes of the one condition in `alone`, of a rule that restricts or of one that permits."""
    if alone.domains is not None:
        return _tell_hosts(alone, alone.domains, resource, restricts=restricts)
    if alone.read_paths is not None:
        return _tell_paths(alone, alone.read_paths, resource, restricts=restricts)
    if alone.write_paths is not None:
        return _tell_paths(alone, alone.write_paths, resource, restricts=restricts)
    if alone.argument_bytes is not None:
        [wanted] = describe_conditions(alone.model_dump(mode="json", by_alias=True, exclude_none=True))
        return f"the arguments have {resource.argument_bytes:,} bytes, and the rule is about calls {wanted}"
    [(name, test)] = (alone.arguments or {}).items()
    return _tell_argument(name, test, resource)


def _tell_hosts(alone: Conditions, names: tuple[str, ...], resource: Resource, *, restricts: bool) -> str:
    listed = _list(names, "no host at all")
    if not resource.hosts:
        return f"the call names no host, and the rule is about {listed}"
    [matcher] = compile_conditions(alone)
    inside = [host for host in resource.hosts if matcher.covers(replace(resource, hosts=(host,)))]
    outside = [host for host in resource.hosts if host not in inside]
    if inside and (restricts or not outside):
        return f"the host {_list(inside)} is among {listed}"
    return f"the host {_list(outside)} is not among {listed}"


def _tell_paths(alone: Conditions, names: tuple[str, ...], resource: Resource, *, restricts: bool) -> str:
    is_read = alone.read_paths is not None
    paths, verb = (resource.read_paths, "reads") if is_read else (resource.write_paths, "writes")
    listed = _list(names, "no folder at all")
    if not paths:
        return f"the call {verb} no file, and the rule is about {listed}"
    [matcher] = compile_conditions(alone)
    inside = [path for path in paths if _is_in(matcher, resource, path, is_read=is_read, restricts=restricts)]
    outside = [path for path in paths if path not in inside]
    if inside and (restricts or not outside):
        does = "has to do with" if restricts else "is in"
        return f"the path {_list(inside)}, which it {verb}, {does} {listed}"
    does = "has nothing to do with" if restricts else "is not in"
    return f"the path {_list(outside)}, which it {verb}, {does} {listed}"


def _is_in(matcher: Matcher, resource: Resource, path: str, *, is_read: bool, restricts: bool) -> bool:
    alone = replace(resource, read_paths=(path,)) if is_read else replace(resource, write_paths=(path,))
    return matcher.touches(alone) if restricts else matcher.covers(alone)


def _tell_argument(name: str, test: ArgumentTest, resource: Resource) -> str:
    wanted = describe_test(name, test.model_dump(mode="json", by_alias=True, exclude_none=True))
    is_, but = _show(resource, name, test), f"and the rule is about calls where {wanted}"
    return f"the argument {name} is {is_}, {but}"


def _show(resource: Resource, name: str, test: ArgumentTest) -> str:
    if name not in resource.arguments:
        return "missing"
    value: Any = resource.arguments[name]
    if isinstance(value, str) and (test.min_length is not None or test.max_length is not None):
        return f"{len(value):,} characters long"
    return show_scalar(value)[:MAX_SHOWN]


def _list(names: tuple[str, ...] | list[str], none: str = "") -> str:
    shown = [name[:MAX_SHOWN] or "the whole workspace" for name in names[:MAX_NAMED]]
    rest = len(names) - MAX_NAMED
    return list_names([*shown, f"{rest} more"] if rest > 0 else shown) if shown else none
