"""The narrowest rule: it lets this call pass, and no other that was refused."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gate_cast import (
    ACTION,
    FOLDERS,
    MOMENTS,
    NOW,
    PATTERNS,
    PRINCIPAL,
    RESOURCES,
    TIMED_POLICIES,
    number_rules,
    rule,
)
from toolgate.engine import compile_policy, decide
from toolgate.explaining.narrowest import Suggestion, suggest
from toolgate.fleet import SkillFacts
from toolgate.policy import Policy, read_policy
from toolgate.types import Decision, Effect, Principal, Request, Resource

FETCH = SkillFacts(
    id="skill", summary="", capabilities=frozenset({"network"}), arguments=("url", "n"), quarantined=False
)
PATCH = replace(FETCH, capabilities=frozenset({"read_workspace", "write_workspace"}))


def request_of(resource: Resource, **more: Any) -> Request:
    return Request(**({"principal": PRINCIPAL, "action": ACTION, "resource": resource} | more))


def judge(policy: Policy, request: Request, now: datetime = NOW) -> Decision:
    return decide(compile_policy(policy, 1), request, now=now)


def propose(
    rules: list[dict[str, Any]], resource: Resource, skill: SkillFacts = FETCH, **more: Any
) -> Suggestion | None:
    policy, request = read_policy(rules), request_of(resource, **more)
    return suggest(policy, request, judge(policy, request), now=NOW, skill=skill)


def apply(rules: list[dict[str, Any]], suggestion: Suggestion) -> Policy:
    assert suggestion.rule is not None
    return read_policy([*(one for one in rules if one["id"] != suggestion.replaces), suggestion.rule])


ONE_LIST = st.one_of(
    st.fixed_dictionaries({"domains": st.lists(PATTERNS, max_size=2)}),
    st.fixed_dictionaries({"readPaths": st.lists(FOLDERS, max_size=2)}),
    st.fixed_dictionaries({"domains": st.lists(PATTERNS, max_size=2), "writePaths": st.lists(FOLDERS, max_size=2)}),
)
NEAR = st.lists(ONE_LIST.map(lambda conditions: rule(**conditions)), min_size=1, max_size=3).map(number_rules)


# --- properties -----------------------------------------------------------------------------------------------
@settings(max_examples=400, deadline=None)
@given(
    TIMED_POLICIES | NEAR,
    RESOURCES,
    MOMENTS,
    st.booleans(),
    st.lists(RESOURCES, max_size=8),
    st.sampled_from([None, PATCH]),
)
def test_a_suggestion_opens_this_call_and_no_other(
    rules: list[dict[str, Any]], resource: Resource, now: datetime, tainted: bool, others: list[Resource], skill: Any
) -> None:
    if skill is PATCH:  # a skill does not name what it cannot touch
        resource, *others = (replace(one, hosts=()) for one in (resource, *others))
    policy, request = read_policy(rules), request_of(resource, tainted=tainted)
    before = judge(policy, request, now)
    suggestion = suggest(policy, request, before, now=now, skill=skill)
    assert (suggestion is None) is (before.effect is Effect.ALLOW)
    if suggestion is None or suggestion.rule is None:
        assert suggestion is None or suggestion.obstacle
        return
    assert suggestion.sentence
    changed = apply(rules, suggestion)
    assert judge(changed, request, now).effect is not Effect.DENY
    for other in (*others, replace(resource, hosts=resource.hosts[:1]), replace(resource, arguments={"n": 0})):
        for status in ("agent", "other"):
            asked = request_of(other, tainted=tainted, principal=replace(PRINCIPAL, agent_id=status))
            if judge(policy, asked, now).effect is Effect.DENY and judge(changed, asked, now).effect is not Effect.DENY:
                assert status == "agent"
                assert is_about(other, resource, widened=suggestion.replaces is not None)


def is_about(other: Resource, resource: Resource, *, widened: bool) -> bool:
    """Say whether all that a call touches, or of a rule that was widened some of it, is what the other one touched."""
    pairs = [
        (set(other.hosts), set(resource.hosts)),
        *((paths, {*resource.read_paths, *resource.write_paths}) for paths in (other.read_paths, other.write_paths)),
    ]
    if widened:
        return any(near(name, named) for names, named in pairs for name in names)
    return all(near(name, named) for names, named in pairs for name in names)


def near(name: str, named: set[str]) -> bool:
    """A path in a rule is a folder too, with all that is below it."""
    return name in named or any(name.startswith(f"{one}/") or one == "" for one in named)


# --- by example -----------------------------------------------------------------------------------------------
CALL = Resource(hosts=("b.org",), arguments={"url": "https://b.org/x", "n": 4})


def test_a_rule_that_misses_by_a_host_is_widened_by_it_and_keeps_its_limits() -> None:
    rules = [rule("a", domains=["a.org"], limits={"callsPerTask": 7}, description="kept")]
    suggestion = propose(rules, CALL)
    assert suggestion is not None
    assert suggestion.rule is not None
    assert suggestion.replaces == "a"
    assert suggestion.rule["conditions"] == {"domains": ["a.org", "b.org"]}
    assert (suggestion.rule["limits"], suggestion.rule["description"]) == ({"callsPerTask": 7}, "kept")
    assert "b.org" in suggestion.sentence


def test_a_rule_that_is_shut_by_an_empty_list_is_not_opened() -> None:
    resource = Resource(hosts=("b.org",), read_paths=("d/1",))
    suggestion = propose([rule("a", readPaths=[])], resource, skill=PATCH)
    assert suggestion is not None
    assert suggestion.replaces is None


def test_a_wildcard_rule_is_not_widened() -> None:
    suggestion = propose([rule("a", agent="*", domains=["a.org"], limits={"callsPerTask": 7})], CALL)
    assert suggestion is not None
    assert suggestion.rule is not None
    assert (suggestion.replaces, suggestion.rule["agent"], suggestion.rule["limits"]) == (
        None, "agent", {"callsPerTask": 1},
    )  # fmt: skip


def test_a_new_rule_is_for_this_call_alone() -> None:
    taken = rule("allow-agent-skill", domains=["b.org"], arguments={"n": {"max": 3}}, limits={"callsPerTask": 5})
    suggestion = propose([taken], CALL)
    assert suggestion is not None
    assert suggestion.rule is not None
    assert suggestion.rule["id"] == "allow-agent-skill-2"
    assert suggestion.rule["conditions"] == {
        "domains": ["b.org"], "arguments": {"n": {"equals": 4}}, "tainted": False,
    }  # fmt: skip
    assert suggestion.rule["limits"] == {"callsPerTask": 5}


def test_a_path_is_pinned_once_and_a_call_that_writes_nothing_gets_no_other_file_to_write() -> None:
    resource = Resource(read_paths=("d/a.py",), arguments={"filePath": "./d/a.py", "dryRun": True}, files_only=True)
    suggestion = propose([], resource, skill=PATCH)
    assert suggestion is not None
    assert suggestion.rule is not None
    assert suggestion.rule["conditions"] == {
        "readPaths": ["d/a.py"], "writePaths": ["d/a.py"], "arguments": {"dryRun": {"equals": True}}, "tainted": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "resource", "more", "skill", "words"),
    [
        ([rule("a"), rule("no", "deny", domains=["b.org"])], CALL, {}, FETCH, "no denies this call, and deny wins"),
        ([rule("a", "ask")], CALL, {}, FETCH, "A person's approval is the way, by a"),
        ([rule("a")], CALL, {"principal": replace(PRINCIPAL, status="quarantined")}, FETCH, "quarantined"),
        (
            [rule("a")],
            CALL,
            {"principal": Principal(agent_id="x", version=0, status="unknown")},
            FETCH,
            "no such agent",
        ),
        ([rule("a")], CALL, {"action": replace(ACTION, known=False)}, FETCH, "no such skill"),
        ([rule("a", tainted=False)], CALL, {"tainted": True}, FETCH, "a allows this call to clean tasks only"),
        ([], Resource(read_paths=("d/a*.py",)), {}, PATCH, "holds a * or a ?"),
        ([], Resource(), {}, FETCH, "names no host"),
        ([], Resource(), {}, PATCH, "names no file"),
        ([], replace(CALL, arguments={"n": float("nan")}), {}, FETCH, "cannot be written down as a rule"),
    ],
)
def test_what_stands_in_the_way_is_said(rules: Any, resource: Resource, more: Any, skill: Any, words: str) -> None:
    suggestion = propose(rules, resource, skill=skill, **more)
    assert suggestion is not None
    assert suggestion.rule is None
    assert words in suggestion.obstacle


def test_a_person_who_is_still_asked_is_told_of() -> None:
    suggestion = propose([rule("a", domains=["a.org"]), rule("q", "ask", arguments={"n": {"min": 4}}, domains=["b.org"],
                          tainted=True)], CALL, tainted=True)  # fmt: skip
    assert suggestion is not None
    assert suggestion.sentence.endswith("A person is still asked, by q.")


def test_a_call_that_passes_needs_nothing() -> None:
    assert propose([rule("a")], CALL) is None
