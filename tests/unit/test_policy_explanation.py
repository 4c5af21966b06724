"""Why: each rule's part in a decision, told so that it agrees with the engine."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gate_cast import ACTION, MOMENTS, NOW, PRINCIPAL, RESOURCES, TIMED_POLICIES, rule
from toolgate.engine import compile_policy
from toolgate.explaining.explanation import Explanation, LookedAt, State, explain
from toolgate.policy import read_policy
from toolgate.types import Action, Effect, Principal, Request, Resource

SHADOWED = st.tuples(TIMED_POLICIES, st.sets(st.integers(0, 12))).map(
    lambda both: [one | ({"shadow": True} if number in both[1] else {}) for number, one in enumerate(both[0])]
)


def ask_why(
    rules: list[dict[str, Any]], resource: Resource | None = None, *, now: datetime = NOW, **request: Any
) -> Explanation:
    parts = {"principal": PRINCIPAL, "action": ACTION, "resource": resource or Resource()} | request
    return explain(compile_policy(read_policy(rules), 7), Request(**parts), now=now)


def conclude(looked: tuple[LookedAt, ...]) -> tuple[Effect, set[str]]:
    """Return effect and deciding rules as they follow from what is told of each rule."""
    denies = {one.rule.id for one in looked if one.restricts and one.rule.effect is Effect.DENY}
    permits = {one.rule.id: one.rule.effect for one in looked if one.permits}
    allows = {rule_id for rule_id, effect in permits.items() if effect is Effect.ALLOW}
    asks = {one.rule.id for one in looked if one.restricts and one.rule.effect is Effect.ASK}
    if denies or not permits:
        return Effect.DENY, denies
    if allows and not asks:
        return Effect.ALLOW, allows
    return Effect.ASK, asks if allows or asks & set(permits) else asks | set(permits)


@settings(max_examples=400, deadline=None)
@given(SHADOWED, RESOURCES, MOMENTS, st.booleans())
def test_what_is_told_of_the_rules_comes_to_what_the_engine_decides(
    rules: list[dict[str, Any]], resource: Resource, now: datetime, tainted: bool
) -> None:
    why = ask_why(rules, resource, now=now, tainted=tainted)
    assert conclude(why.rules) == (why.decision.effect, set(why.decision.deciding_rules))
    assert {one.rule.id for one in why.rules if one.role == "decides"} == set(why.decision.deciding_rules)
    assert len(why.rules) + why.others == len(rules)
    for one in why.rules:
        assert one.sentence
        states = [condition.state for condition in one.conditions]
        if one.role == "misses":
            assert set(states) - {State.MET}, one
        if one.role == "decides" and why.decision.effect is one.rule.effect:
            assert State.NOT_MET not in states, one


@settings(max_examples=200, deadline=None)
@given(SHADOWED, RESOURCES, MOMENTS)
def test_a_shadow_rule_is_said_to_turn_what_it_would_turn(
    rules: list[dict[str, Any]], resource: Resource, now: datetime
) -> None:
    why = ask_why(rules, resource, now=now)
    told = {one.rule.id for one in why.rules if "the decision would be" in one.sentence}
    assert told == {flip.rule_id for flip in why.decision.flips}


# --- one rule at a time ---------------------------------------------------------------------------------------
A_DAY = {"zone": "Europe/London", "days": ["thu"], "start": "09:00:00", "end": "17:00:00"}
CALL = Resource(hosts=("b.org",), read_paths=("d/1",), arguments={"n": 4, "text": "abc"}, argument_bytes=30)


@pytest.mark.parametrize(
    ("conditions", "name", "state", "sentence"),
    [
        ({"domains": ["b.org"]}, "domains", "met", "the host b.org is among b.org"),
        ({"domains": ["a.org", "*.b.org"]}, "domains", "not_met", "the host b.org is not among a.org and *.b.org"),
        ({"readPaths": [""]}, "readPaths", "met", "the path d/1, which it reads, is in the whole workspace"),
        ({"readPaths": ["d/2", "e"]}, "readPaths", "not_met", "the path d/1, which it reads, is not in d/2 and e"),
        ({"writePaths": ["e"]}, "writePaths", "met", "the call writes no file, and the rule is about e"),
        (
            {"arguments": {"n": {"max": 3}}}, "arguments.n", "not_met",
            "the argument n is 4, and the rule is about calls where n is at most 3",
        ),
        (
            {"arguments": {"k": {"equals": True}}}, "arguments.k", "unclear",
            "the argument k is missing, and the rule is about calls where k is true",
        ),
        (
            {"arguments": {"text": {"maxLength": 2}}}, "arguments.text", "not_met",
            "the argument text is 3 characters long, "
            "and the rule is about calls where text is at most 2 characters long",
        ),
        ({"argumentBytes": {"max": 10}}, "argumentBytes", "not_met",
         "the arguments have 30 bytes, and the rule is about calls with at most 10 B of arguments"),
        ({"tainted": False}, "tainted", "met", "it is for clean tasks, and this one is clean"),
    ],
)  # fmt: skip
def test_each_condition_is_told_in_words(conditions: dict[str, Any], name: str, state: str, sentence: str) -> None:
    [looked] = ask_why([rule(**conditions)], CALL).rules
    [condition] = looked.conditions
    assert (condition.name, condition.state, condition.sentence) == (name, state, sentence)
    assert looked.role == ("decides" if state == "met" else "misses")
    if state != "met":
        assert looked.sentence == f"It does not match: {sentence}."


def test_what_cannot_be_evaluated_does_not_hold_a_restriction_back() -> None:
    why = ask_why([rule("a"), rule("b", "deny", arguments={"k": {"equals": 1}})], CALL)
    assert (why.rules[0].rule.id, why.rules[0].role, why.rules[0].conditions[0].state) == ("b", "decides", "unclear")
    assert why.rules[1].sentence == "It would allow this call, but b is stricter."


def test_a_rule_out_of_its_time_is_told_apart() -> None:
    ended = (NOW - timedelta(hours=1)).isoformat()
    why = ask_why([rule("a", validUntil=ended), rule("b", timeWindow=A_DAY)], CALL)
    assert [(one.rule.id, one.role) for one in why.rules] == [("a", "not_now"), ("b", "not_now")]
    assert "valid until" in why.rules[0].sentence
    assert "Europe/London" in why.rules[1].sentence


def test_an_ask_that_nothing_permits_beside_it_is_idle() -> None:
    why = ask_why([rule("t", "ask", tainted=True)], CALL, tainted=True)
    assert (why.decision.effect, why.rules[0].role) == ("deny", "idle")


def test_an_ask_rule_that_touches_nothing_asks_where_nothing_else_permits() -> None:
    ask = rule("a", "ask", writePaths=["e"])
    why = ask_why([ask], CALL)
    assert (why.decision.effect, why.rules[0].role) == ("ask", "decides")
    beside = ask_why([ask, rule("b")], CALL)
    assert (beside.decision.effect, beside.decision.deciding_rules, beside.rules[1].role) == (
        "allow",
        ("b",),
        "overruled",
    )
    assert "asks nobody" in beside.rules[1].sentence


@pytest.mark.parametrize(
    "request_",
    [
        {"principal": Principal(agent_id="agent", version=1, status="quarantined")},
        {"action": Action(skill_id="skill", version="1", quarantined=True)},
        {"action": Action(skill_id="skill", version="", known=False)},
    ],
)
def test_no_rule_is_asked_about_who_may_not_act_at_all(request_: dict[str, Any]) -> None:
    why = ask_why([rule("a")], CALL, **request_)
    assert (why.decision.effect, why.rules[0].role) == ("deny", "unasked")


def test_rules_about_others_are_only_counted() -> None:
    rules = [
        rule("a"),
        rule("b", agent="other"),
        rule("c", skill="other"),
        rule("d", agent="*", exceptAgents=["agent"]),
    ]
    why = ask_why(rules)
    assert ([one.rule.id for one in why.rules], why.others) == (["a"], 3)
