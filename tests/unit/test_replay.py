"""Replaying recorded calls under two sets of rules: what turns, by which rule, and what cannot be said."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gate_cast import judge, rule
from toolgate.fleet import TaskFacts
from toolgate.policy import read_policy
from toolgate.records import describe_resource, restore_resource
from toolgate.replay import simulation
from toolgate.replay.report import KINDS, MAX_SAMPLES, Report, Tally, write_report
from toolgate.replay.scope import compare
from toolgate.replay.simulation import Gap, PairReplay, Recorded, Turn
from toolgate.types import Effect, Resource

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
ALLOW = rule("allow")
LIMITED = rule("allow", limits={"callsPerTask": 2})
Rules = list[dict[str, Any]]


def row(
    number: int = 0, *, task: str = "task", effect: str = "allow", reason: str = "allowed",
    seconds: float | None = None, digest: str = "", tainted: bool = False, version: int = 1, **resource: Any,
) -> Recorded:  # fmt: skip
    at = START + timedelta(seconds=number if seconds is None else seconds)
    touched = orjson.dumps(describe_resource(Resource(**resource)) | {"tainted": tainted}).decode()
    return Recorded(
        at=at, id=f"d{number:05}", skill_id="skill", task_id=task, arguments_digest=digest or str(number),
        resource=touched, effect=effect, reason=reason, policy_version=version, argument_bytes=0,
    )  # fmt: skip


def replay(base: Rules, proposed: Rules, rows: Iterable[Recorded], *, now: datetime = START) -> list[Turn | Gap]:
    comparison = compare(read_policy(base), read_policy(proposed), version=1, now=now)
    pair = PairReplay("agent", "skill", comparison, restore_resource)
    return [pair.replay(one) for one in rows]


def report(base: Rules, proposed: Rules, rows: Iterable[Recorded], tasks: dict[str, TaskFacts] | None = None) -> Report:
    comparison = compare(read_policy(base), read_policy(proposed), version=1, now=START)
    pair = PairReplay("agent", "skill", comparison, restore_resource)
    tally = Tally(changed=frozenset(rule.id for rule in comparison.changed))
    for one in rows:
        tally.take("agent", pair.replay(one), base_version=1)
    return write_report(tally, tasks or {})


def effects(turns: Iterable[Turn | Gap]) -> list[tuple[str, str]]:
    return [(turn.base.effect.value, turn.proposed.effect.value) for turn in turns if isinstance(turn, Turn)]


def flips(found: Report) -> dict[str, int]:
    return {kind: count for kind, count in found["flips"].items() if count}


# --- which rules count --------------------------------------------------------------------------------------------
def changed(base: Rules, proposed: Rules, now: datetime = START) -> list[str]:
    return sorted({one.id for one in compare(read_policy(base), read_policy(proposed), version=1, now=now).changed})


def test_only_rules_that_say_something_else_differ() -> None:
    assert changed([ALLOW], [ALLOW]) == []
    assert changed([ALLOW], [rule("allow", description="in other words")]) == []
    assert changed([ALLOW], [LIMITED]) == ["allow"]
    assert changed([ALLOW], [ALLOW, rule("deny", "deny")]) == ["deny"]
    asking = rule("ask", "ask")
    assert changed([asking], [asking | {"approval": {"quorum": 2}}]) == []


def test_a_shadow_rule_decides_on_neither_side() -> None:
    shadow = rule("deny", "deny", shadow=True)
    assert changed([ALLOW], [ALLOW, shadow]) == []
    assert changed([ALLOW, shadow], [ALLOW, rule("deny", "deny")]) == ["deny"]
    found = compare(read_policy([ALLOW]), read_policy([ALLOW, shadow]), version=1, now=START)
    assert found.left_out == ("deny",)


def test_validity_is_judged_at_the_moment_of_the_question() -> None:
    over = rule("grant", validUntil=START.isoformat())
    to_come = rule("deny", "deny", validFrom=(START + timedelta(days=1)).isoformat())
    assert changed([], [over, to_come]) == []
    assert changed([], [over], START - timedelta(days=1)) == ["grant"]
    old = row(0, seconds=-86_400 * 400)
    young = rule("grant", validFrom=(START - timedelta(days=1)).isoformat())
    assert effects(replay([], [young], [old])) == [("deny", "allow")]  # as if it always had been in force


def test_a_rule_is_about_the_agents_it_names() -> None:
    found = compare(
        read_policy([]), read_policy([rule("all", agent="*", exceptAgents=["other"])]), version=1, now=START
    )
    assert found.find_changed("agent", "skill")
    assert not found.find_changed("other", "skill")
    assert not found.find_changed("agent", "another-skill")


# --- what turns -----------------------------------------------------------------------------------------------------
def test_a_deny_rule_turns_exactly_the_calls_that_it_touches() -> None:
    rows = [row(0, hosts=("a.org",)), row(1, hosts=("b.org",)), row(2, hosts=("a.org", "b.org"))]
    found = report([ALLOW], [ALLOW, rule("deny", "deny", domains=["a.org"])], rows)
    assert flips(found) == {"allow_deny": 2}
    assert [call["decisionId"] for call in found["samples"]] == ["d00000", "d00002"]
    assert found["byRule"] == [{"key": "deny", "total": 2, "flips": dict.fromkeys(KINDS, 0) | {"allow_deny": 2}}]


def test_a_lost_allow_rule_is_blamed_for_what_it_allowed() -> None:
    found = report([ALLOW], [], [row()])
    assert (flips(found), found["byRule"][0]["key"]) == ({"allow_deny": 1}, "allow")


def test_a_ceiling_is_counted_for_each_task_by_itself() -> None:
    rows = [row(number, task=f"t{number % 2}") for number in range(6)]
    assert effects(replay([ALLOW], [LIMITED], rows)) == [("allow", "allow")] * 4 + [("allow", "deny")] * 2


def test_what_is_denied_spends_nothing() -> None:
    deny = rule("deny", "deny", domains=["bad.org"])
    rows = [row(0, hosts=("bad.org",)), row(1, hosts=("bad.org",)), row(2), row(3), row(4)]
    turns = replay([ALLOW, deny], [LIMITED, deny], rows)
    assert [proposed for _, proposed in effects(turns)] == ["deny", "deny", "allow", "allow", "deny"]


def test_a_rate_is_kept_by_the_recorded_times() -> None:
    slow = rule("allow", limits={"ratePerSecond": 1})
    rows = [row(0, seconds=0), row(1, seconds=0.4), row(2, seconds=1.1)]
    turns = replay([ALLOW], [slow], rows)
    assert effects(turns) == [("allow", "allow"), ("allow", "deny"), ("allow", "allow")]
    assert turns[1].proposed.reason == "rate_limited"


def test_bytes_of_a_task_are_counted() -> None:
    bounded = rule("allow", limits={"bytesPerTask": 100})
    rows = [row(number, argument_bytes=40) for number in range(3)]
    assert effects(replay([ALLOW], [bounded], rows)) == [("allow", "allow"), ("allow", "allow"), ("allow", "deny")]


def test_periods_are_kept_by_the_recorded_times() -> None:
    hourly = rule("allow", limits={"callsPerPeriod": {"amount": 2, "seconds": 3_600}})
    rows = [row(number, task=f"t{number}", seconds=number * 600) for number in range(9)]
    would = [proposed for _, proposed in effects(replay([ALLOW], [hourly], rows))]
    assert would == ["allow", "allow", "deny", "deny", "deny", "deny", "deny", "allow", "allow"]
    heavy = rule("allow", limits={"bytesPerPeriod": {"amount": 100, "seconds": 3_600}})
    sizes = [
        row(0, argument_bytes=60),
        row(1, argument_bytes=60),
        row(2, argument_bytes=40),
        row(3, argument_bytes=101),
    ]
    turns = replay([ALLOW], [heavy], sizes)
    assert [turn.proposed.reason for turn in turns] == ["allowed", "rate_limited", "allowed", "call_ceiling"]


def test_older_records_weigh_what_their_arguments_column_holds() -> None:
    small = rule("allow", argumentBytes={"max": 10})
    old = row()._replace(argument_bytes=11)
    wire = {key: value for key, value in orjson.loads(old.resource).items() if key != "argumentBytes"}
    assert effects(replay([ALLOW], [small], [old._replace(resource=orjson.dumps(wire).decode())])) == [
        ("allow", "deny")
    ]


def test_an_hour_is_that_of_the_record() -> None:
    window = {"zone": "UTC", "start": "09:00", "end": "13:00"}
    rows = [row(0, seconds=0), row(1, seconds=7_200)]  # the same call, at noon and at two
    assert effects(replay([ALLOW], [rule("allow", timeWindow=window)], rows)) == [("allow", "allow"), ("allow", "deny")]


def test_a_limit_on_spending_is_taken_as_not_reached_and_told() -> None:
    found = report([ALLOW], [rule("allow", limits={"spendPerTask": "0.01"})], [row()])
    assert (flips(found), found["coverage"]["onSpending"], found["coverage"]["comparable"]) == ({}, 1, 0)


# --- questions ------------------------------------------------------------------------------------------------------
ASKING = rule("ask", "ask", limits={"callsPerTask": 1})
ASKED = row(0, effect="ask", reason="approval_required", digest="x")
APPROVED = row(1, effect="allow", reason="approved", digest="x")


def test_a_question_and_its_answer_are_one_call() -> None:
    found = report([ASKING], [ALLOW], [ASKED, APPROVED])
    assert (found["calls"], flips(found), found["coverage"]["continued"]) == (1, {"ask_allow": 1}, 1)
    assert (found["asks"]["before"], found["asks"]["after"]) == (1, 0)


def test_an_answer_closes_its_question() -> None:
    granted = row(2, effect="allow", reason="approved", digest="x")  # the same call once more, by a grant
    assert report([ASKING], [], [ASKED, APPROVED, granted])["calls"] == 2


def test_an_approved_call_that_would_be_refused_breaks_its_task() -> None:
    done = {"task": TaskFacts(id="task", state="succeeded", cost_micro=7)}
    found = report([ASKING], [], [ASKED, APPROVED], done)
    assert (flips(found), found["broken"]) == ({"ask_deny": 1}, {"count": 1, "tasks": ["task"]})
    assert found["tasks"] == {"count": 1, "costMicro": 7, "isCut": False}
    refused = ASKED, row(1, effect="deny", reason="approval_rejected", digest="x")
    assert report([ASKING], [], refused, done)["broken"]["count"] == 0


def test_an_approved_call_spends_once_and_a_refused_one_nothing() -> None:
    later = row(2, effect="ask", reason="approval_required", digest="y")
    deny = rule("elsewhere", "deny", domains=["no.org"])
    assert effects(replay([ASKING], [ASKING, deny], [ASKED, APPROVED, later]))[2] == ("deny", "deny")
    refused = row(1, effect="deny", reason="approval_rejected", digest="x")
    assert effects(replay([ASKING], [ASKING, deny], [ASKED, refused, later]))[2] == ("ask", "ask")


def test_a_call_that_ran_and_would_be_asked_about_counts_as_approved() -> None:
    limited = rule("ask", "ask", limits={"callsPerTask": 2})
    assert [proposed for _, proposed in effects(replay([ALLOW], [limited], [row(0), row(1), row(2)]))] == [
        "ask", "ask", "deny",
    ]  # fmt: skip


# --- what cannot be said --------------------------------------------------------------------------------------------
def test_what_no_rule_saw_is_not_replayed() -> None:
    early = [row(0, effect="deny", reason=reason) for reason in ("agent_unknown", "skill_quarantined", "input_invalid")]
    outside = row(1, effect="deny", reason="read_path")  # the skill itself refused: nothing of the path is on record
    assert replay([], [ALLOW], [*early, outside]) == [Gap.BEFORE_RULES] * 4
    ruled = row(2, effect="deny", reason="read_path", read_paths=("d",))
    assert effects(replay([], [ALLOW], [ruled])) == [("deny", "allow")]


def test_what_was_not_recorded_whole_is_told_apart() -> None:
    for text in ('{"unrecordable": "x"}', "[]", "not json", '{"hosts": ["a.org"]}', '{"hosts": 1}'):
        assert replay([], [ALLOW], [row()._replace(resource=text)]) == [Gap.UNRECORDABLE], text
    strange = row(0, hosts=("10.0.0.1",))
    assert replay([], [ALLOW], [strange]) == [Gap.BEFORE_RULES]


def test_calls_after_a_turned_one_of_their_task_are_counted() -> None:
    deny = rule("deny", "deny", domains=["a.org"])
    rows = [row(0, task="t"), row(1, task="t", hosts=("a.org",)), row(2, task="t"), row(3, task="u")]
    assert report([ALLOW], [ALLOW, deny], rows)["coverage"]["following"] == 1


def test_agreement_is_told_for_what_the_version_itself_decided() -> None:
    rows = [row(0), row(1, effect="deny", reason="call_ceiling"), row(2, version=2, effect="deny")]
    coverage = report([ALLOW], [LIMITED], rows)["coverage"]
    assert (coverage["comparable"], coverage["agreeing"]) == (2, 1)


def test_past_refusals_that_would_pass_are_counted() -> None:
    rows = [row(0, effect="deny", reason="skill_not_allowed"), row(1)]
    found = report([], [ALLOW], rows)
    assert (flips(found), found["passing"]) == ({"deny_allow": 2}, 1)


def test_a_report_is_bounded_and_shows_the_first_of_each_kind() -> None:
    rows = [row(number, task=f"t{number}") for number in range(200)]
    found = report([ALLOW], [], reversed(rows))
    assert [call["decisionId"] for call in found["samples"]] == [f"d{number:05}" for number in range(MAX_SAMPLES)]
    assert orjson.loads(orjson.dumps(found)) == found


def test_memory_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(simulation, "MAX_KEPT", 10)
    rows = [row(number, task=f"t{number}", hosts=(f"h{number}.org",)) for number in range(50)]
    comparison = compare(read_policy([ALLOW]), read_policy([LIMITED]), version=1, now=START)
    pair = PairReplay("agent", "skill", comparison, restore_resource)
    assert all(isinstance(pair.replay(one), Turn) for one in rows)
    assert len(pair._cases) == len(pair._proposed._tasks) == 10


# --- properties -------------------------------------------------------------------------------------------------------
HOSTS = st.sampled_from(["a.org", "x.a.org", "b.org", "c.net"])
RESOURCES = st.builds(
    Resource,
    hosts=st.lists(HOSTS, max_size=2).map(tuple),
    read_paths=st.lists(st.sampled_from(["d", "d/e", "f"]), max_size=2).map(tuple),
    arguments=st.dictionaries(st.sampled_from(["n", "flag"]), st.sampled_from([True, 1, 5, "a"]), max_size=2),
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "domains": st.lists(HOSTS, min_size=1, max_size=2),
        "readPaths": st.lists(st.sampled_from(["", "d", "d/e", "f"]), min_size=1, max_size=2),
        "arguments": st.sampled_from([{"n": {"min": 2}}, {"flag": {"equals": True}}]),
    },
)
LIMITS = st.fixed_dictionaries(
    {}, optional={"callsPerTask": st.integers(1, 4), "ratePerSecond": st.integers(1, 3), "bytesPerTask": st.just(50)}
)


def rows_of(touched: Iterable[Resource]) -> list[Recorded]:
    """Calls a quarter of a second apart, of three tasks."""
    return [
        row(number, task=f"t{number % 3}", seconds=number / 4)._replace(
            resource=orjson.dumps(describe_resource(what)).decode()
        )
        for number, what in enumerate(touched)
    ]


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    kinds = draw(st.lists(st.sampled_from(["allow", "allow", "ask", "deny"]), max_size=5))
    return [
        rule(f"r{number}", effect, **draw(CONDITIONS), **({} if effect == "deny" else {"limits": draw(LIMITS)}))
        for number, effect in enumerate(kinds)
    ]


@given(rule_sets(), rule_sets(), st.lists(RESOURCES, max_size=20))
def test_limits_apart_each_side_says_what_the_engine_says(
    base: Rules, proposed: Rules, touched: list[Resource]
) -> None:
    bare, changed_to = ([one | {"limits": {}} for one in rules] for rules in (base, proposed))
    found = replay(bare, changed_to, rows_of(touched))
    expected = [(judge(bare, what).effect.value, judge(changed_to, what).effect.value) for what in touched]
    assert effects(found) == expected


@given(rule_sets(), st.lists(RESOURCES, max_size=20))
def test_a_rule_that_touches_nothing_turns_nothing(base: Rules, touched: list[Resource]) -> None:
    elsewhere = rule("elsewhere", "deny", domains=["nowhere.org"])
    assert all(was == would for was, would in effects(replay(base, [*base, elsewhere], rows_of(touched))))


@given(rule_sets(), CONDITIONS, st.lists(RESOURCES, max_size=20))
def test_adding_a_deny_rule_turns_what_it_touches_and_only_to_deny(
    base: Rules, conditions: dict[str, Any], touched: list[Resource]
) -> None:
    base = [one | {"limits": {}} for one in base]
    added = rule("added", "deny", **conditions)
    for what, (was, would) in zip(touched, effects(replay(base, [*base, added], rows_of(touched))), strict=True):
        is_touched = judge([added], what).deciding_rules == ("added",)
        assert would == ("deny" if is_touched else was)


def test_the_kinds_are_all_ways_that_a_decision_can_turn() -> None:
    ways = {f"{was.value}_{would.value}" for was in Effect for would in Effect if was is not would}
    assert set(KINDS) == ways
