"""Normalised records are the normalizer's, all of them; health is the orchestrator's own."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.answers import SkillFact
from tests.unit.answers_cast import ROOT, check, failed, really

SCHEMA = {"due": {"type": "date"}, "fee": {"type": "currency"}}
GOOD = {"due": "4/1/26", "fee": "$3.50", "note": "kept"}
BAD = {"due": "soon", "fee": "$1"}
EMPTY = {"normalized": [], "errors": [], "metrics": {"inputRecords": 0, "outputRecords": 0, "errorRate": 0}}


def normalise(data: Any, schema: Any = None) -> SkillFact:
    return really("normalizer", {"data": data, "schema": schema or SCHEMA}, ROOT)


def judge(records: Any, *calls: SkillFact, output: Any = None, schema: Any = None) -> Any:
    task = {"input": records, "schema": schema or SCHEMA}
    return check("normalization-agent", output or EMPTY, input=task, calls=calls)


class TestNormalisation:
    def test_code_puts_in_what_the_normalizer_returned(self) -> None:
        output = judge([GOOD, GOOD], normalise([GOOD, GOOD])).output
        assert [record["due"] for record in output["normalized"]] == ["2026-04-01"] * 2
        assert output["normalized"][0]["note"] == "kept"
        assert output["metrics"] == {"inputRecords": 2, "outputRecords": 2, "errorRate": 0.0}

    def test_what_the_model_made_of_it_is_no_matter(self) -> None:
        output = judge([GOOD], normalise([GOOD]), output={**EMPTY, "normalized": [{"due": "1999-01-01"}]}).output
        assert output["normalized"][0]["due"] == "2026-04-01"

    def test_one_record_and_none_are_inputs_too(self) -> None:
        assert len(judge(GOOD, normalise(GOOD)).output["normalized"]) == 1
        assert len(judge({}, normalise({})).output["normalized"]) == 1
        assert judge([]).output["metrics"]["errorRate"] == 0

    def test_a_short_schema_means_the_long_one(self) -> None:
        assert not judge([GOOD], normalise([GOOD]), schema={"due": "date", "fee": "currency"}).problems

    @given(st.lists(st.integers(0, 50), max_size=12), st.data())
    def test_slices_are_joined_in_order(self, numbers: list[int], data: st.DataObject) -> None:
        records = [{"n": number} for number in numbers]
        cuts = sorted(data.draw(st.sets(st.integers(0, len(records)))) | {0, len(records)})
        calls = [normalise(records[a:b], {"n": {"type": "number"}}) for a, b in itertools.pairwise(cuts)]
        output = judge(records, *calls, schema={"n": "number"}).output
        assert output["normalized"] == records

    @pytest.mark.parametrize(
        ("calls", "reached"),
        [
            ([], 0),
            ([[GOOD]], 1),
            ([[GOOD], [GOOD]], 2),
            ([[GOOD, GOOD]], 2),
            ([[GOOD, {**GOOD, "fee": "$4"}]], 0),  # a record was changed
            ([[{"due": "4/1/26", "fee": "$3.50"}, GOOD, BAD]], 0),  # a field was dropped
            ([[GOOD, BAD]], 0),  # one was left out
        ],
    )
    def test_what_was_dropped_is_a_problem(self, calls, reached: int) -> None:
        (problem,) = judge([GOOD, GOOD, BAD], *map(normalise, calls)).problems
        assert f"{reached} of 3 records" in problem

    def test_true_is_not_one(self) -> None:
        schema = {"n": {"type": "string"}}
        assert judge([{"n": 1}], normalise([{"n": True}], schema), schema=schema).problems

    def test_a_failed_call_covers_nothing(self) -> None:
        assert judge([GOOD], failed("normalizer", {"data": [GOOD], "schema": SCHEMA})).problems

    def test_another_schema_is_a_problem_until_it_is_mended(self) -> None:
        wrong = normalise([GOOD], {"due": {"type": "string"}})
        assert "another schema" in judge([GOOD], wrong).problems[0]
        assert not judge([GOOD], wrong, normalise([GOOD])).problems
        assert "another schema" in judge([GOOD], normalise([GOOD], {"due": {"type": "date"}})).problems[0]

    def test_options_of_a_field_count(self) -> None:
        asked = {"fee": {"type": "currency", "currency": "GBP"}}
        assert judge([GOOD], normalise([GOOD], {"fee": {"type": "currency"}}), schema=asked).problems
        assert not judge([GOOD], normalise([GOOD], asked), schema=asked).problems

    def test_errors_count_over_the_whole_input(self) -> None:
        records = [GOOD] * 100 + [BAD] + [GOOD] * 100
        output = judge(records, normalise(records[:100]), normalise(records[100:])).output
        assert [(note["record"], note["field"]) for note in output["errors"]] == [(100, "due")]
        assert output["metrics"]["errorRate"] == round(1 / 201, 6)
        assert output["normalized"][100]["due"] == "soon"  # kept as it came

    @pytest.mark.parametrize(("total", "succeeds"), [(101, True), (100, False), (1, False)])
    def test_it_succeeds_only_below_one_percent(self, total: int, succeeds: bool) -> None:
        records = [BAD] + [GOOD] * (total - 1)
        answer = judge(records, normalise(records))
        assert (answer.output is not None) == succeeds
        if not succeeds:
            assert answer.is_final
            assert 'record 0, "due"' in answer.problems[0]

    def test_the_model_may_flag_more_but_not_a_record_that_is_not_there(self) -> None:
        flag = {"record": 7, "field": "due", "message": "Day and month may be swapped."}
        records = [GOOD] * 200
        output = judge(records, normalise(records), output={**EMPTY, "errors": [flag, flag]}).output
        assert output["metrics"]["errorRate"] == 0.005
        lost = {**EMPTY, "errors": [{**flag, "record": 200}]}
        assert "the last one is 199" in judge(records, normalise(records), output=lost).problems[0]


HEALTH = {
    "agentHealth": {
        "content-agent": {"status": "failing", "tasksCompleted": 3, "errorRate": 0.4},
        "security-agent": {"status": "idle", "tasksCompleted": 0, "errorRate": 0.0},
    }
}


class TestHealth:
    def check(self, health: Any, *alerts: Any, agents: Any = None) -> Any:
        task = {"type": "health"} | ({"agents": agents} if agents else {})
        output = {"metrics": {"agentHealth": health}, "alerts": list(alerts)}
        return check("system-monitor-agent", output, input=task, context=HEALTH)

    @pytest.mark.parametrize(
        "health",
        [{}, {"content-agent": {"status": "healthy", "tasksCompleted": 99, "errorRate": 0}}, {"made-up": None}],
    )
    def test_the_counters_are_those_that_were_handed_in(self, health) -> None:
        answer = self.check(health)
        if health.get("made-up", 1) is None:
            assert answer.problems  # not even the schema takes it
        else:
            assert answer.output["metrics"]["agentHealth"] == HEALTH["agentHealth"]

    def test_alerts_are_the_models(self) -> None:
        alert = {
            "severity": "critical",
            "agentId": "content-agent",
            "message": "40 % of its tasks fail; see the last ones.",
        }
        fleet = {"severity": "info", "message": "Nothing runs."}
        assert self.check({}, alert, fleet).output["alerts"] == [alert, fleet]
        assert '"nobody"' in self.check({}, {**alert, "agentId": "nobody"}).problems[0]

    def test_an_agent_that_there_is_not_ends_it(self) -> None:
        answer = self.check({}, agents=["content-agent", "nobody"])
        assert answer.is_final
        assert '"nobody"' in answer.problems[0]
