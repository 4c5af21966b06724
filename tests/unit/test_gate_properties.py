"""What no set of rules may ever do, whatever it holds; and the definition of the language, spelled out once more."""

import re
from dataclasses import replace
from datetime import datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gate_cast import NOW, POLICIES, RESOURCES, RULES, STRICTNESS, TIMED_POLICIES, TIMED_RULES, judge
from toolgate import index
from toolgate.policy import DAYS
from toolgate.types import Effect, Resource


@given(POLICIES, RESOURCES)
def test_taint_never_widens(rules: list[dict[str, Any]], resource: Resource) -> None:
    clean, tainted = judge(rules, resource), judge(rules, resource, tainted=True)
    assert STRICTNESS[tainted.effect] >= STRICTNESS[clean.effect]
    if tainted.effect is not Effect.DENY:
        assert all(any(lies_below(one, other) for other in clean.domains) for one in tainted.domains)
        assert all(inside_any(one, list(clean.read_scopes)) for one in tainted.read_scopes)
        assert all(inside_any(one, list(clean.write_scopes)) for one in tainted.write_scopes)


def lies_below(pattern: str, other: str) -> bool:
    """Say whether a host, or all hosts below a wildcard, lie in what another pattern names."""
    return pattern == other or (other.startswith("*.") and pattern.removeprefix("*").endswith(other[1:]))


@given(POLICIES, RESOURCES, RULES)
def test_adding_a_deny_never_allows(rules: list[dict[str, Any]], resource: Resource, added: dict[str, Any]) -> None:
    added["conditions"].pop("tainted", None)
    before = judge(rules, resource)
    after = judge([*rules, added | {"id": "added", "effect": "deny"}], resource)
    assert STRICTNESS[after.effect] >= STRICTNESS[before.effect]


@given(POLICIES, RESOURCES, RULES)
def test_adding_an_allow_never_denies_and_never_lifts_a_limit_or_an_ask(
    rules: list[dict[str, Any]], resource: Resource, added: dict[str, Any]
) -> None:
    limited = [one | ({"limits": {"callsPerTask": 3}} if one["effect"] != "deny" else {}) for one in rules]
    added["conditions"].pop("tainted", None)
    before = judge(limited, resource)
    after = judge([*limited, added | {"id": "added", "effect": "allow"}], resource)
    if before.effect is Effect.DENY:
        return
    asks = (one for one in rules if is_ours(one) and one["effect"] == "ask" and "tainted" not in one["conditions"])
    if before.effect is Effect.ALLOW or any(touches(one["conditions"], resource) for one in asks):
        assert after.effect is before.effect
    else:  # asked only because nothing else permitted it
        assert after.effect in {Effect.ASK, Effect.ALLOW}
    assert set(before.limits) <= set(after.limits)


@given(POLICIES, RESOURCES, st.randoms())
def test_the_order_of_rules_never_matters(rules: list[dict[str, Any]], resource: Resource, random: Any) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert judge(shuffled, resource) == judge(rules, resource)


@settings(max_examples=300)
@given(POLICIES, RESOURCES, st.booleans())
def test_the_index_changes_nothing(rules: list[dict[str, Any]], resource: Resource, tainted: bool) -> None:
    scanned = judge(rules, resource, tainted=tainted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "SCAN_UP_TO", 0)
        assert judge(rules, resource, tainted=tainted) == scanned


# --- time and shadow ------------------------------------------------------------------------------------------
@given(TIMED_POLICIES, RESOURCES, st.booleans())
def test_a_rule_out_of_its_time_is_as_if_it_were_not_there(
    rules: list[dict[str, Any]], resource: Resource, tainted: bool
) -> None:
    holding = [one for one in rules if holds_now(one)]
    left, right = judge(rules, resource, tainted=tainted), judge(holding, resource, tainted=tainted)
    if right.effect is Effect.DENY and not right.deciding_rules:  # only then time may be what is blamed
        assert (left.effect, left.deciding_rules) == (Effect.DENY, ())
    else:
        assert left == right


@given(TIMED_POLICIES, RESOURCES, st.lists(TIMED_RULES, max_size=4), st.booleans())
def test_a_shadow_rule_changes_nothing_and_tells_what_it_would(
    rules: list[dict[str, Any]], resource: Resource, added: list[dict[str, Any]], tainted: bool
) -> None:
    shadows = [one | {"id": f"shadow-{number}", "shadow": True} for number, one in enumerate(added)]
    before, after = (judge(given, resource, tainted=tainted) for given in (rules, [*rules, *shadows]))
    assert replace(after, flips=()) == before
    enforced = {one["id"]: judge([*rules, one | {"shadow": False}], resource, tainted=tainted) for one in shadows}
    turned = {rule_id: made.effect for rule_id, made in enforced.items() if made.effect is not before.effect}
    assert {flip.rule_id: flip.effect for flip in after.flips} == turned


@given(TIMED_POLICIES, RESOURCES, st.integers(1, 5))
def test_a_wider_limit_changes_no_effect(rules: list[dict[str, Any]], resource: Resource, factor: int) -> None:
    narrow, wide = (judge(limit_all(rules, times), resource) for times in (1, factor))
    assert replace(narrow, limits=()) == replace(wide, limits=())
    pairs = list(zip(narrow.limits, wide.limits, strict=True))
    assert all(
        (one.rule_id, one.kind, one.amount * factor) == (other.rule_id, other.kind, other.amount)
        for one, other in pairs
    )


def limit_all(rules: list[dict[str, Any]], factor: int) -> list[dict[str, Any]]:
    limits = {
        "callsPerTask": 2 * factor, "bytesPerTask": 5 * factor, "spendPerTask": f"{factor}.0",
        "callsPerPeriod": {"amount": 3 * factor, "seconds": 60}, "bytesPerPeriod": {"amount": 7 * factor, "seconds": 9},
    }  # fmt: skip
    return [one | ({"limits": limits} if one["effect"] != "deny" else {}) for one in rules]


# --- the definition -------------------------------------------------------------------------------------------
@settings(max_examples=400)
@given(TIMED_POLICIES, RESOURCES, st.booleans())
def test_decisions_are_those_of_the_definition(rules: list[dict[str, Any]], resource: Resource, tainted: bool) -> None:
    """The words of `toolgate.policy`, spelled out without index, matchers, compilation or RE2."""
    mine = [
        one for one in rules if is_ours(one) and one["conditions"].get("tainted", tainted) is tainted and holds_now(one)
    ]
    may = [
        one
        for one in mine
        if one["effect"] == "allow" or (one["effect"] == "ask" and "tainted" not in one["conditions"])
    ]
    permits = [one for one in may if covers(one["conditions"], resource)]
    if not permits or any(one["effect"] == "deny" and touches(one["conditions"], resource) for one in mine):
        expected = "deny"
    elif any(one["effect"] == "ask" and touches(one["conditions"], resource) for one in mine) or not any(
        one["effect"] == "allow" for one in permits
    ):
        expected = "ask"
    else:
        expected = "allow"
    assert judge(rules, resource, tainted=tainted).effect == expected


def is_ours(one: dict[str, Any]) -> bool:
    """Say whether a rule is about the agent and the skill of the calls here."""
    return one["agent"] in {"agent", "*"} and one["skill"] in {"skill", "*"}


def holds_now(one: dict[str, Any]) -> bool:
    """Say whether NOW is in the rule's validity and window: some day of it began before, and has not ended."""
    if not one.get("validFrom", NOW.isoformat()) <= NOW.isoformat() < one.get("validUntil", "9"):
        return False
    window = one["conditions"].get("timeWindow")
    if window is None:
        return True
    local = NOW.astimezone(ZoneInfo(window["zone"])).replace(tzinfo=None)
    for day in (local.date(), local.date() - timedelta(days=1)):
        start, end = (datetime.combine(day, time.fromisoformat(window.get(key, "00:00"))) for key in ("start", "end"))
        end += timedelta(days=end <= start)
        if f"{day:%a}".lower() in window.get("days", DAYS) and start <= local < end:
            return True
    return False


def covers(conditions: dict[str, Any], resource: Resource) -> bool:
    """Say whether all of the call lies inside, read from the words."""
    domains, tests = conditions.get("domains"), conditions.get("arguments", {})
    return (
        (domains is None or (bool(resource.hosts) and all(host_is(host, domains) for host in resource.hosts)))
        and all(lies_in(path, conditions.get("readPaths", [""])) for path in resource.read_paths)
        and all(lies_in(path, conditions.get("writePaths", [""])) for path in resource.write_paths)
        and all(holds(test, resource.arguments.get(name)) is True for name, test in tests.items())
        and size_is_in(conditions.get("argumentBytes"), resource) is True
    )


def touches(conditions: dict[str, Any], resource: Resource) -> bool:
    """Say whether some of the call lies inside, read from the words."""
    domains, tests = conditions.get("domains"), conditions.get("arguments", {})
    return (
        (domains is None or any(host_is(host, domains) for host in resource.hosts))
        and ("readPaths" not in conditions or meets(resource, resource.read_paths, conditions["readPaths"]))
        and ("writePaths" not in conditions or meets(resource, resource.write_paths, conditions["writePaths"]))
        and all(holds(test, resource.arguments.get(name)) is not False for name, test in tests.items())
        and size_is_in(conditions.get("argumentBytes"), resource) is not False
    )


def size_is_in(bounds: dict[str, int] | None, resource: Resource) -> bool | None:
    if bounds is None or not resource.argument_bytes:
        return bounds is None or None
    return bounds.get("min", 0) <= resource.argument_bytes <= bounds.get("max", 10**9)


def host_is(host: str, patterns: list[str]) -> bool:
    labels = host.split(".")
    wildcards = {"*." + ".".join(labels[place:]) for place in range(1, len(labels))}
    return bool({host, *wildcards} & set(patterns))


def parts(path: str) -> list[str]:
    return path.split("/") if path else []


def inside_any(path: str, folders: list[str]) -> bool:
    return any(parts(path)[: len(parts(folder))] == parts(folder) for folder in folders)


def lies_in(path: str, places: list[str]) -> bool:
    return any(
        glob_is(parts(path), place.split("/")) if "*" in place or "?" in place else inside_any(path, [place])
        for place in places
    )


def meets(resource: Resource, paths: tuple[str, ...], places: list[str]) -> bool:
    folders = [place for place in places if "*" not in place and "?" not in place]
    globs = [place.split("/") for place in places if "*" in place or "?" in place]
    return any(
        inside_any(path, folders)
        or any(inside_any(folder, [path]) for folder in folders)
        or any(glob_is(parts(path)[:count], glob) for glob in globs for count in range(len(parts(path)) + 1))
        or ((path == "" or not resource.files_only) and any(glob_goes_on(parts(path), glob) for glob in globs))
        for path in paths
    )


def glob_is(names: list[str], glob: list[str]) -> bool:
    if not glob:
        return not names
    if glob[0] == "**":
        return glob_is(names, glob[1:]) or (bool(names) and glob_is(names[1:], glob))
    return bool(names) and fnmatchcase(names[0], glob[0]) and glob_is(names[1:], glob[1:])


def glob_goes_on(names: list[str], glob: list[str]) -> bool:
    """Say whether more names after these could make them match."""
    if not glob or glob[0] == "**":
        return bool(glob)
    return not names or (fnmatchcase(names[0], glob[0]) and glob_goes_on(names[1:], glob[1:]))


def holds(test: dict[str, Any], value: Any) -> bool | None:
    """Return None where the test cannot be evaluated."""
    if test.keys() & {"minLength", "maxLength", "pattern"}:
        return text_is(test, value) if isinstance(value, str) else None
    wanted = next(iter(test.values()))
    number = (int, float)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted if isinstance(value, bool) and isinstance(wanted, bool) else None
    if isinstance(value, number) != isinstance(wanted, number) or value is None:
        return None
    if "equals" in test:
        return bool(value == wanted)
    return bool(value >= wanted if "min" in test else value <= wanted)


def text_is(test: dict[str, Any], text: str) -> bool:
    if "pattern" in test:
        return re.fullmatch(test["pattern"], text) is not None
    return bool(test.get("minLength", 0) <= len(text) <= test.get("maxLength", 99))
