"""When rules hold: validity, windows by a zone's clock, shadow rules, and the reasons that time gives."""

from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.unit.gate_cast import ACTION, NOW, PRINCIPAL, judge, rule
from toolgate.clocks import compile_clocks
from toolgate.engine import compile_policy, decide
from toolgate.policy import Policy, Rule, read_policy, rule_digest
from toolgate.types import Effect, Flip, Reason, Request, Resource

OFFICE = {"zone": "Europe/London", "days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "17:30"}
NIGHT = {"zone": "Europe/London", "days": ["fri"], "start": "22:00", "end": "06:00"}


def at(text: str, zone: str = "Europe/London", fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def is_open(window: dict[str, Any], now: datetime) -> bool:
    (clock,) = compile_clocks(read_policy([rule(timeWindow=window)]).rules[0])
    return clock.holds(now)


@pytest.mark.parametrize(
    ("window", "now", "expected"),
    [
        (OFFICE, "2026-03-06T09:00:00", True),  # a Friday
        (OFFICE, "2026-03-06T08:59:59.999999", False),
        (OFFICE, "2026-03-06T17:29:59.999999", True),
        (OFFICE, "2026-03-06T17:30:00", False),
        (OFFICE, "2026-03-07T12:00:00", False),
        (OFFICE, "2026-07-03T09:30:00", True),  # summer time
        (NIGHT, "2026-03-06T22:00:00", True),
        (NIGHT, "2026-03-07T05:59:59", True),  # it belongs to the day that it starts on
        (NIGHT, "2026-03-07T06:00:00", False),
        (NIGHT, "2026-03-06T05:00:00", False),
        (NIGHT, "2026-03-07T23:00:00", False),
        ({"zone": "Europe/London", "days": ["fri"]}, "2026-03-06T00:00:00", True),  # all day
        ({"zone": "Europe/London", "days": ["fri"]}, "2026-03-06T23:59:59", True),
        ({"zone": "Europe/London", "days": ["fri"]}, "2026-03-07T00:00:00", False),
        ({"zone": "Europe/London", "days": ["fri"], "start": "09:00", "end": "09:00"}, "2026-03-07T08:59:59", True),
        ({"zone": "Europe/London", "days": ["sun"], "start": "23:00", "end": "01:00"}, "2026-03-09T00:30:00", True),
        ({"zone": "Europe/London", "start": "18:00"}, "2026-03-06T23:59:00", True),  # until midnight
        ({"zone": "Europe/London", "start": "18:00"}, "2026-03-06T00:00:00", False),
    ],
)
def test_a_window_is_read_off_the_clock_of_its_zone(window: dict[str, Any], now: str, expected: bool) -> None:
    assert is_open(window, at(now)) is expected


def test_a_window_is_another_time_in_another_zone() -> None:
    assert is_open({**OFFICE, "zone": "Asia/Tokyo"}, at("2026-03-06T09:00:00", "Asia/Tokyo"))
    assert not is_open({**OFFICE, "zone": "Asia/Tokyo"}, at("2026-03-06T09:00:00"))


def test_the_hour_that_comes_twice_counts_twice_and_the_one_that_is_skipped_never_comes() -> None:
    early = {"zone": "Europe/London", "start": "01:15", "end": "01:45"}
    put_back = [at("2026-10-25T01:30:00", fold=fold) for fold in (0, 1)]
    assert put_back[1] - put_back[0] == timedelta(hours=1)
    assert [is_open(early, now) for now in put_back] == [True, True]
    assert not is_open(early, put_back[0] + timedelta(minutes=30))  # 01:00 again
    put_forward = [datetime(2026, 3, 29, 0, 0, tzinfo=UTC) + timedelta(minutes=5 * step) for step in range(36)]
    assert not any(is_open(early, now) for now in put_forward)  # 00:59:59 is followed by 02:00
    across = {"zone": "Europe/London", "days": ["sat"], "start": "23:00", "end": "02:30"}
    assert sum(is_open(across, now) for now in put_forward) == 18  # from 00:00 to 01:00, and from 02:00 to 02:30


# --- decisions ------------------------------------------------------------------------------------------------
BEFORE, AFTER = (NOW - timedelta(seconds=1)).isoformat(), (NOW + timedelta(seconds=1)).isoformat()
SHUT = {"zone": "UTC", "start": "01:00", "end": "02:00"}


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ({"validUntil": NOW.isoformat()}, Reason.GRANT_EXPIRED),
        ({"validUntil": BEFORE}, Reason.GRANT_EXPIRED),
        ({"validUntil": AFTER}, Reason.ALLOWED),
        ({"validFrom": NOW.isoformat()}, Reason.ALLOWED),
        ({"validFrom": AFTER}, Reason.OUTSIDE_TIME_WINDOW),
        ({"timeWindow": SHUT}, Reason.OUTSIDE_TIME_WINDOW),
        ({"timeWindow": SHUT, "validUntil": BEFORE}, Reason.GRANT_EXPIRED),
        ({"timeWindow": {"zone": "UTC"}}, Reason.ALLOWED),
    ],
)
def test_time_is_told_when_it_alone_is_in_the_way(time: dict[str, Any], reason: Reason) -> None:
    decision = judge([rule("a", domains=["a.org"], **time)], Resource(hosts=("a.org",)))
    assert decision.reason is reason
    assert decision.deciding_rules == (("a",) if reason is Reason.ALLOWED else ())
    assert reason is Reason.ALLOWED or decision.detail.startswith("the rule a does not hold now: it ")
    elsewhere = judge([rule("a", domains=["a.org"], **time)], Resource(hosts=("b.org",)))
    assert elsewhere.reason in {Reason.DOMAIN_NOT_ALLOWED, Reason.SKILL_NOT_ALLOWED}


def test_what_will_hold_again_is_told_before_what_is_over() -> None:
    rules = [rule("a", validUntil=BEFORE), rule("b", timeWindow=SHUT), rule("c", domains=["c.org"])]
    decision = judge(rules)
    assert decision.reason is Reason.OUTSIDE_TIME_WINDOW
    assert decision.detail == (
        "the rule b does not hold now: it holds on mon, tue, wed, thu, fri, sat, sun from 01:00 to 02:00 in UTC, "
        "and there it is thu 00:00"
    )


@pytest.mark.parametrize("effect", ["deny", "ask"])
@pytest.mark.parametrize("time", [{"validUntil": BEFORE}, {"validFrom": AFTER}, {"timeWindow": SHUT}])
def test_a_stricter_rule_out_of_its_time_does_not_touch(effect: str, time: dict[str, Any]) -> None:
    assert judge([rule("a"), rule("b", effect, **time)]).deciding_rules == ("a",)
    taken = judge(
        [rule("a", domains=["*.a.org"]), rule("b", effect, domains=["x.a.org"], **time)], Resource(hosts=("y.a.org",))
    )
    assert taken.domains == ("*.a.org",)


def test_a_rule_comes_and_goes_with_the_time_and_each_moment_has_its_own_rules() -> None:
    policy = compile_policy(read_policy([rule("a"), rule("b", "deny", timeWindow=SHUT)]), 1)
    pair = policy.find_pair("agent", "skill", tainted=False)
    assert pair is not None
    effects = [
        judge([rule("a"), rule("b", "deny", timeWindow=SHUT)], now=NOW + timedelta(minutes=30 * step)).effect
        for step in range(6)
    ]
    assert effects == ["allow", "allow", "deny", "deny", "allow", "allow"]
    assert pair.find_cell(NOW) is pair.find_cell(NOW + timedelta(hours=2))
    assert pair.find_cell(NOW) is not pair.find_cell(NOW + timedelta(hours=1))


def test_a_time_without_a_zone_denies() -> None:
    assert judge([rule("a", validUntil=AFTER)], now=datetime(2026, 1, 1)).effect == "deny"  # noqa: DTZ001


# --- shadow ---------------------------------------------------------------------------------------------------
def test_a_shadow_rule_says_what_it_would_have_made_of_it() -> None:
    rules = [
        rule("a", domains=["a.org"]),
        rule("s1", "deny", domains=["a.org"], shadow=True),
        rule("s2", "ask", shadow=True),
        rule("s3", domains=["b.org"], shadow=True),
        rule("s4", "deny", validUntil=BEFORE, shadow=True),
        rule("s5", "deny", tainted=True, shadow=True),
    ]
    allowed = judge(rules, Resource(hosts=("a.org",)))
    assert (allowed.effect, allowed.deciding_rules) == (Effect.ALLOW, ("a",))
    assert allowed.flips == (
        Flip(rule_id="s1", effect=Effect.DENY, reason=Reason.DOMAIN_NOT_ALLOWED),
        Flip(rule_id="s2", effect=Effect.ASK, reason=Reason.APPROVAL_REQUIRED),
    )
    denied = judge(rules, Resource(hosts=("b.org",)))
    assert (denied.effect, denied.reason) == (Effect.DENY, Reason.DOMAIN_NOT_ALLOWED)
    assert denied.flips == (
        Flip(rule_id="s2", effect=Effect.ASK, reason=Reason.APPROVAL_REQUIRED),
        Flip(rule_id="s3", effect=Effect.ALLOW, reason=Reason.ALLOWED),
    )


def test_many_shadow_rules_cost_a_question_each() -> None:
    """Each in a cell of its own, a hundred of them took seconds of every decision, inside its transaction."""
    hosts = [f"h{number}.org" for number in range(500)]
    enforced = [rule(f"e-{host}", domains=[host]) for host in hosts]
    shadows = [rule(f"s-{host}", "deny", domains=[host], shadow=True) for host in hosts]
    policy = compile_policy(read_policy([*enforced, *shadows]), 1)
    request = Request(principal=PRINCIPAL, action=ACTION, resource=Resource(hosts=("h7.org",)))
    decide(policy, request, now=NOW)
    begun = process_time()
    assert [flip.rule_id for flip in decide(policy, request, now=NOW).flips] == ["s-h7.org"]
    assert process_time() - begun < 0.1  # it takes half a millisecond


def test_alone_a_shadow_rule_permits_nothing() -> None:
    decision = judge([rule("s", shadow=True)])
    assert (decision.effect, decision.reason) == (Effect.DENY, Reason.SKILL_NOT_ALLOWED)
    assert decision.flips == (Flip(rule_id="s", effect=Effect.ALLOW, reason=Reason.ALLOWED),)


def test_a_shadow_rule_is_not_said_to_allow_a_clean_task() -> None:
    decision = judge([rule("s", tainted=False, shadow=True)], tainted=True)
    assert decision.detail == judge([], tainted=True).detail


def test_a_shadow_rule_that_fails_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = compile_policy(read_policy([rule("a"), rule("s", "deny", domains=["a.org"], shadow=True)]), 1)
    assert policy.find_pair("agent", "skill", tainted=False)
    decision = judge([rule("a"), rule("s", "deny", domains=["a.org"], shadow=True)], Resource(hosts=(None,)))
    assert (decision.effect, decision.deciding_rules) == (Effect.ALLOW, ("a",))
    assert decision.flips == (Flip(rule_id="s", effect=Effect.DENY, reason=Reason.SKILL_NOT_ALLOWED),)


def test_the_digest_of_a_rule_is_the_same_in_the_shadow() -> None:
    one, other = (read_policy([rule("a", shadow=shadow)]).rules[0] for shadow in (True, False))
    assert rule_digest(one) == rule_digest(other) != rule_digest(read_policy([rule("a", "ask")]).rules[0])
    assert rule_digest(one) == rule_digest(Policy(rules=(one,)).rules[0])


# --- what explanations are made from --------------------------------------------------------------------------
def test_every_rule_about_a_pair_can_be_listed() -> None:
    rules = [
        rule("e", skill="*"), rule("d", agent="*", validUntil=BEFORE), rule("c", "ask", tainted=True),
        rule("b", shadow=True), rule("a", agent="other"), rule("f", agent="*", exceptAgents=["agent"]),
    ]  # fmt: skip
    policy = compile_policy(read_policy(rules), 1)
    assert [entry.rule.id for entry in policy.entries_of("agent", "skill")] == ["b", "c", "d", "e"]
    (stopped,) = [entry.find_stopped_clock(NOW) for entry in policy.entries_of("agent", "skill") if entry.clocks]
    assert stopped is not None
    assert stopped.reason is Reason.GRANT_EXPIRED


@pytest.mark.parametrize(("agent", "skill"), [("agent", "skill"), ("*", "skill"), ("agent", "*"), ("*", "*")])
def test_it_says_which_pairs_need_what_was_spent(agent: str, skill: str) -> None:
    policy = compile_policy(read_policy([rule("a", agent=agent, skill=skill, limits={"spendPerDay": "1.00"})]), 1)
    assert policy.needs_spending("agent", "skill")
    assert policy.needs_spending("other", "skill") is (agent == "*")
    assert not compile_policy(read_policy([rule("a", limits={"callsPerTask": 1})]), 1).needs_spending("agent", "skill")


def test_rules_are_valid_from_and_until() -> None:
    (one,) = read_policy([rule("a", validFrom=NOW.isoformat(), validUntil=AFTER)]).rules
    assert isinstance(one, Rule)
    moments = [NOW - timedelta(microseconds=1), NOW, NOW + timedelta(microseconds=999_999), NOW + timedelta(seconds=1)]
    assert [one.is_valid_at(moment) for moment in moments] == [False, True, True, False]
