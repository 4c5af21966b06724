"""What rules mean: precedence, covering and touching, reach, reasons."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.gate_cast import ACTION, PRINCIPAL, judge, rule
from toolgate.types import Principal, Reason, Resource


# --- precedence -----------------------------------------------------------------------------------------------
def test_nothing_is_allowed_by_no_rule() -> None:
    decision = judge([])
    assert (decision.effect, decision.reason, decision.deciding_rules) == ("deny", Reason.SKILL_NOT_ALLOWED, ())
    assert decision.policy_version == 7


def test_a_rule_of_another_pair_says_nothing() -> None:
    others = [rule("a", agent="other"), rule("b", skill="other"), rule("c", agent="*", skill="other")]
    assert judge(others).reason is Reason.SKILL_NOT_ALLOWED


@pytest.mark.parametrize("agent", ["agent", "*"])
@pytest.mark.parametrize("skill", ["skill", "*"])
def test_deny_beats_ask_beats_allow_at_any_width(agent: str, skill: str) -> None:
    narrow = {"agent": agent, "skill": skill}
    allow, ask, deny = rule("z"), rule("y", "ask", **narrow), rule("x", "deny", **narrow)
    assert judge([allow]).effect == "allow"
    assert judge([allow, ask]).effect == "ask"
    assert judge([allow, ask, deny]).effect == "deny"
    assert judge([allow, ask, deny]).deciding_rules == ("x",)


def test_every_matching_rules_limits_hold() -> None:
    rules = [
        rule("a", limits={"callsPerTask": 5}),
        rule("b", agent="*", limits={"callsPerTask": 50, "ratePerSecond": 3}),
        rule("c", "ask", skill="*", limits={"ratePerSecond": 2, "burst": 1}),
        rule("d", domains=["elsewhere.org"], limits={"callsPerTask": 1}),
    ]
    limits = [(limit.rule_id, limit.kind, limit.amount, limit.burst) for limit in judge(rules).limits]
    assert limits == [
        ("a", "calls_per_task", 5, 1),
        ("b", "calls_per_task", 50, 1),
        ("b", "rate", 3, 3),
        ("c", "rate", 2, 1),
    ]


@pytest.mark.parametrize(
    ("principal", "action", "reason"),
    [
        ({"status": "unknown"}, {"known": False}, Reason.AGENT_UNKNOWN),
        ({"status": "quarantined"}, {"known": False}, Reason.AGENT_QUARANTINED),
        ({"status": "disabled"}, {}, Reason.AGENT_DISABLED),
        ({"status": "Paused"}, {}, Reason.AGENT_DISABLED),
        ({"status": "Enabled"}, {}, Reason.AGENT_DISABLED),
        ({}, {"known": False, "quarantined": True}, Reason.SKILL_UNKNOWN),
        ({}, {"quarantined": True}, Reason.SKILL_QUARANTINED),
    ],
)
def test_who_may_not_act_at_all_is_told_so_first(principal: Any, action: Any, reason: Reason) -> None:
    request = {"principal": replace(PRINCIPAL, **principal), "action": replace(ACTION, **action)}
    assert judge([rule()], **request).reason is reason
    assert judge([], **request).reason is reason


def test_a_paused_agent_may_end_what_it_began() -> None:
    assert judge([rule()], principal=replace(PRINCIPAL, status="paused")).effect == "allow"


def test_whatever_fails_inside_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge([rule(domains=["a.org"])], Resource(hosts=(None,))).effect == "deny"
    monkeypatch.setattr("toolgate.engine._permit", lambda *_: 1 / 0)
    assert judge([rule()]).effect == "deny"


# --- conditions -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("domains", "hosts", "is_covered"),
    [
        (["a.org"], ["a.org"], True),
        (["a.org"], ["b.a.org"], False),
        (["a.org"], ["ba.org"], False),
        (["a.org"], ["a.org.evil.net"], False),
        (["*.a.org"], ["b.a.org"], True),
        (["*.a.org"], ["c.b.a.org"], True),
        (["*.a.org"], ["a.org"], False),
        (["*.a.org"], ["ba.org"], False),
        (["a.org", "b.org"], ["a.org", "b.org"], True),
        (["a.org"], ["a.org", "b.org"], False),
        (["a.org"], [], False),
        ([], [], False),
        ([], ["a.org"], False),
    ],
)
def test_hosts_are_exact_or_under_a_wildcard(domains: list[str], hosts: list[str], is_covered: bool) -> None:
    decision = judge([rule(domains=domains)], Resource(hosts=tuple(hosts)))
    assert decision.reason is (Reason.ALLOWED if is_covered else Reason.DOMAIN_NOT_ALLOWED)


@pytest.mark.parametrize(
    ("folders", "paths", "is_covered"),
    [
        (["a"], ["a"], True),
        (["a"], ["a/b/c"], True),
        (["a"], ["ab"], False),
        (["a"], ["b/a"], False),
        (["a/b"], ["a"], False),
        (["a/b"], ["a/bc"], False),
        (["a/b"], ["a/b/c"], True),
        ([""], ["anything/at/all"], True),
        ([""], [""], True),
        (["a"], [""], False),
        (["a"], ["a/x", "b/x"], False),
        (["a", "b"], ["a/x", "b/x"], True),
        (["a"], [], True),
        ([], [], False),
        ([], ["a"], False),
    ],
)
@pytest.mark.parametrize("kind", ["read", "write"])
def test_folders_hold_by_whole_components(kind: str, folders: list[str], paths: list[str], is_covered: bool) -> None:
    resource = Resource(**{f"{kind}_paths": tuple(paths)})
    decision = judge([rule(**{f"{kind}Paths": folders})], resource)
    assert decision.reason is (Reason.ALLOWED if is_covered else Reason(f"{kind}_path"))


@pytest.mark.parametrize(
    ("test", "value", "covers", "touches"),
    [
        ({"equals": True}, True, True, True),
        ({"equals": True}, False, False, False),
        ({"equals": True}, 1, False, True),
        ({"equals": 1}, True, False, True),
        ({"equals": 1}, 1.0, True, True),
        ({"equals": "a"}, "A", False, False),
        ({"equals": "a"}, None, False, True),
        ({"equals": "a"}, ..., False, True),
        ({"oneOf": ["a", "b"]}, "b", True, True),
        ({"oneOf": ["a", "b"]}, "c", False, False),
        ({"oneOf": ["a", 1]}, True, False, True),
        ({"oneOf": []}, "a", False, True),
        ({"oneOf": [True, False, 5]}, 0, False, False),
        ({"oneOf": [0, "a", True]}, False, False, False),
        ({"min": 2, "max": 4}, 2, True, True),
        ({"min": 2, "max": 4}, 4, True, True),
        ({"min": 2, "max": 4}, 5, False, False),
        ({"max": 4}, -1e9, True, True),
        ({"max": 4}, "3", False, True),
        ({"max": 4}, True, False, True),
        ({"max": 4}, float("nan"), False, True),
        ({"max": 4}, ..., False, True),
    ],
)
def test_what_cannot_be_evaluated_never_widens(test: dict[str, Any], value: Any, covers: bool, touches: bool) -> None:
    resource = Resource(arguments={} if value is ... else {"n": value})
    conditional = {"arguments": {"n": test}}
    assert judge([rule(**conditional)], resource).effect == ("allow" if covers else "deny")
    assert judge([rule("a"), rule("b", "deny", **conditional)], resource).effect == ("deny" if touches else "allow")
    assert judge([rule("a"), rule("b", "ask", **conditional)], resource).effect == ("ask" if touches else "allow")
    assert judge([rule("b", "ask", **conditional)], resource).effect == ("ask" if covers else "deny")


@pytest.mark.parametrize("effect", ["deny", "ask"])
@pytest.mark.parametrize(
    ("conditions", "resource", "touches"),
    [
        ({"domains": ["bad.org"]}, Resource(hosts=("good.org", "bad.org")), True),
        ({"domains": ["*.bad.org"]}, Resource(hosts=("x.bad.org",)), True),
        ({"domains": ["bad.org"]}, Resource(hosts=("good.org",)), False),
        ({"domains": ["bad.org"]}, Resource(), False),
        ({"readPaths": ["secret"]}, Resource(read_paths=("a", "secret/b")), True),
        ({"readPaths": ["a/secret"]}, Resource(read_paths=("a",)), True),
        ({"readPaths": ["a/secret"]}, Resource(read_paths=("",)), True),
        ({"readPaths": ["a/secret"]}, Resource(read_paths=("a/secrets",)), False),
        ({"readPaths": [""]}, Resource(read_paths=("a",)), True),
        ({"readPaths": [""]}, Resource(), False),
        ({"writePaths": ["src"]}, Resource(read_paths=("src/a",)), False),
        ({"writePaths": ["src"], "arguments": {"n": {"min": 9}}}, Resource(write_paths=("src/a",)), True),
        ({"writePaths": ["src"], "arguments": {"n": {"min": 9}}}, Resource(arguments={"n": 9}), False),
    ],
)
def test_one_part_of_a_call_is_enough_to_restrict_it(
    effect: str, conditions: dict[str, Any], resource: Resource, touches: bool
) -> None:
    decision = judge([rule("a"), rule("b", effect, **conditions)], resource)
    assert decision.effect == (effect if touches else "allow")


def test_what_only_an_ask_rule_permits_is_asked_about_and_out_of_reach_unless_it_asks() -> None:
    about_files = rule("b", "ask", readPaths=["secret"])
    assert judge([about_files], Resource()).deciding_rules == ("b",)
    both = judge([about_files, rule("t", "ask", tainted=True)], Resource(), tainted=True)
    assert (both.effect, [terms.rule_id for terms in both.terms]) == ("ask", ["b", "t"])
    beside = judge([about_files, rule("a", readPaths=["data"])], Resource())
    assert (beside.effect, beside.deciding_rules, beside.read_scopes) == ("allow", ("a",), ("data",))
    asked = judge(
        [about_files, rule("a", readPaths=["data"]), rule("t", "ask", tainted=True)], Resource(), tainted=True
    )
    assert (asked.effect, asked.deciding_rules, asked.read_scopes) == ("ask", ("t",), ("data",))


def test_the_reason_is_that_of_the_nearest_miss() -> None:
    rules = [
        rule("a", domains=["a.org"]),
        rule("b", domains=["b.org"], readPaths=["data"]),
        rule("c", domains=["b.org"], readPaths=["data"], arguments={"n": {"max": 3}}),
    ]
    far = judge(rules, Resource(hosts=("c.org",)))
    assert (far.reason, far.detail) == (Reason.DOMAIN_NOT_ALLOWED, "the host 'c.org' is not allowed by the rule a")
    near = judge(rules, Resource(hosts=("b.org",), read_paths=("etc",)))
    assert (near.reason, near.detail) == (Reason.READ_PATH, "the path 'etc' may not be read by the rule b")
    nearest = judge(rules[2:], Resource(hosts=("b.org",), read_paths=("data/x",), arguments={"n": 4}))
    assert (nearest.reason, "argument n is 4" in nearest.detail) == (Reason.ARGUMENT_NOT_ALLOWED, True)


def test_a_deny_rule_gives_the_reason_of_its_condition() -> None:
    denies = rule("no", "deny", domains=["a.org"])
    decision = judge([rule(), denies], Resource(hosts=("a.org",)))
    assert (decision.reason, decision.deciding_rules) == (Reason.DOMAIN_NOT_ALLOWED, ("no",))


# --- taint ----------------------------------------------------------------------------------------------------
def test_a_tainted_task_is_asked_where_another_rule_permits_and_nowhere_else() -> None:
    ask = rule("t", "ask", agent="*", tainted=True, limits={"callsPerTask": 2})
    assert judge([ask], tainted=True).reason is Reason.SKILL_NOT_ALLOWED
    assert judge([ask, rule("a")]).deciding_rules == ("a",)
    asked = judge([ask, rule("a")], tainted=True)
    assert (asked.effect, asked.terms[0].rule_id, [limit.rule_id for limit in asked.limits]) == ("ask", "t", ["t"])
    assert judge([ask, rule("a"), rule("d", "deny", tainted=True)], tainted=True).deciding_rules == ("d",)


def test_what_is_for_clean_tasks_is_withheld_from_tainted_ones_and_says_so() -> None:
    rules = [rule("a", tainted=False), rule("b", domains=["b.org"])]
    assert judge(rules).effect == "allow"
    refused = judge(rules, tainted=True)
    assert (refused.effect, refused.reason) == ("deny", Reason.SKILL_NOT_ALLOWED)
    assert "tainted" in refused.detail
    assert "(a)" in refused.detail
    assert judge(rules, Resource(hosts=("b.org",)), tainted=True).deciding_rules == ("b",)


def test_a_rule_for_all_agents_leaves_out_those_that_it_excepts() -> None:
    rules = [rule(), rule("t", "ask", agent="*", exceptAgents=["agent", "third"], tainted=True)]
    assert judge(rules, tainted=True).effect == "allow"
    other = Principal(agent_id="other", version=1)
    assert judge([*rules, rule("o", agent="other")], principal=other, tainted=True).effect == "ask"


# --- reach ----------------------------------------------------------------------------------------------------
def test_a_call_reaches_what_its_rules_name_and_where_they_name_nothing_what_it_named_itself() -> None:
    resource = Resource(hosts=("a.org",), read_paths=("x/1",), write_paths=("y/1",))
    named = judge([rule(domains=["a.org", "*.b.org"], readPaths=["x"], writePaths=[""])], resource)
    assert (named.domains, named.read_scopes, named.write_scopes) == (("a.org", "*.b.org"), ("x",), ("",))
    bare = judge([rule()], resource)
    assert (bare.domains, bare.read_scopes, bare.write_scopes) == (("a.org",), ("x/1",), ("y/1",))
    both = judge([rule("a", domains=["a.org", "b.org"]), rule("b", domains=["a.org", "c.org"])], resource)
    assert both.domains == ("a.org", "b.org", "c.org")


@pytest.mark.parametrize("effect", ["deny", "ask"])
def test_a_call_does_not_wander_to_where_a_stricter_rule_could_have_a_say(effect: str) -> None:
    rules = [
        rule("a", domains=["*.a.org", "b.org", "c.org"], readPaths=["data", "docs"]),
        rule("b", effect, domains=["evil.a.org", "c.org"], readPaths=["data/secret"]),
    ]
    decision = judge(rules, Resource(hosts=("x.a.org",), read_paths=("docs/1",)))
    assert decision.effect == "allow"
    assert decision.domains == ("b.org", "x.a.org")
    assert decision.read_scopes == ("docs", "docs/1")
