"""How full limits are, and by how much one has to be raised: held against what spending really does."""

from typing import Any

import pytest

from tests.unit.gate_cast import rule
from toolgate.entries import compile_rule
from toolgate.explaining.raising import suggest_raise, weigh_limits
from toolgate.policy import read_policy

PERIOD = {"amount": 10, "seconds": 60}


@pytest.mark.parametrize(
    ("limits", "counter", "raised", "words"),
    [
        ({"callsPerTask": 20}, {"calls": 20}, {"callsPerTask": 21}, "20 of 20 calls a task used"),
        ({"callsPerTask": 20}, {"calls": 25}, {"callsPerTask": 26}, "25 of 20 calls a task used"),
        ({"callsPerTask": 20}, {"calls": 19}, None, "19 of 20 calls a task used"),
        ({"bytesPerTask": 1000}, {"bytes": 950}, {"bytesPerTask": 1050}, "950 B of 1 KB a task used"),
        ({"bytesPerTask": 1000}, {"bytes": 900}, None, "900 B of 1 KB a task used"),
        ({"callsPerPeriod": PERIOD}, {"callsInPeriod": 10}, {"callsPerPeriod": PERIOD | {"amount": 11}},
         "10 of 10 calls a minute used"),
        ({"bytesPerPeriod": PERIOD}, {"bytesInPeriod": 0}, {"bytesPerPeriod": PERIOD | {"amount": 100}},
         "0 B of 10 B a minute used"),
        ({"spendPerTask": "0.5"}, {"taskSpentMicroGbp": 500_000}, {"spendPerTask": "0.5001"},
         "£0.50 of £0.50 a task used"),
        ({"spendPerDay": "2"}, {"daySpentMicroGbp": 2_000_050}, {"spendPerDay": "2.0001"}, "£2.00005 of £2 a day used"),
        ({"spendPerDay": "2"}, {}, None, "£2 a day, not counted here"),
        ({"ratePerSecond": 2}, {"retryAfterMillis": 700}, {"ratePerSecond": 2, "burst": 4},
         "2 calls a second, 2 at once; the next in 0.700 s"),
        ({"ratePerSecond": 2}, {}, None, "2 calls a second, 2 at once"),
    ],
)  # fmt: skip
def test_a_full_limit_is_raised_by_the_least_that_helps(limits: Any, counter: Any, raised: Any, words: str) -> None:
    policy = read_policy([rule("a", limits=limits)])
    [state] = weigh_limits(compile_rule(policy.rules[0]).limits, {"a": counter}, size=100)
    assert (state.words, state.refuses) == (words, raised is not None)
    suggestion = suggest_raise(policy, [state])
    if raised is None:
        assert suggestion is None
        return
    assert suggestion is not None
    assert suggestion.rule is not None
    assert (suggestion.replaces, suggestion.rule["limits"]) == ("a", raised)
    assert suggestion.obstacle == f"a: {words}."


def test_full_limits_of_two_rules_are_told_of_and_neither_is_raised_alone() -> None:
    policy = read_policy([rule("a", limits={"callsPerTask": 1}), rule("b", agent="*", limits={"callsPerTask": 2})])
    limits = [limit for one in policy.rules for limit in compile_rule(one).limits]
    suggestion = suggest_raise(policy, weigh_limits(limits, {"a": {"calls": 1}, "b": {"calls": 2}}, size=1))
    assert suggestion is not None
    assert suggestion.rule is None
    assert suggestion.obstacle == "a: 1 of 1 call a task used; b: 2 of 2 calls a task used."


def test_a_limit_at_the_most_that_a_rule_can_grant_is_not_raised() -> None:
    policy = read_policy([rule("a", limits={"callsPerTask": 1_000_000})])
    states = weigh_limits(compile_rule(policy.rules[0]).limits, {"a": {"calls": 1_000_000}}, size=1)
    suggestion = suggest_raise(policy, states)
    assert suggestion is not None
    assert suggestion.rule is None
    assert "No rule can grant more" in suggestion.obstacle
