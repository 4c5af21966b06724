"""The forms of a rule: what nobody touched stays exactly as it was, what is wrong is told at its field."""

from typing import Any

import pytest
from hypothesis import given, settings

from tests.unit.gate_cast import rule
from tests.unit.matrix_cast import SKILL, WHOLE_RULES, agent, send, skill, wire
from toolgate.matrix.cell_form import CellForm
from toolgate.matrix.rule_form import RuleForm, add_row, name_rule
from toolgate.policy import Rule, read_policy

AGENTS, SKILLS = (agent("agent"), agent("other")), (SKILL, skill("other"))


def whole(document: dict[str, Any], data: Any = None, *, is_new: bool = False) -> Any:
    return RuleForm(data, rule=document, is_new=is_new, agents=AGENTS, skills=SKILLS)


def edit(document: dict[str, Any], *, is_new: bool = False, **changes: Any) -> Any:
    """Return the bound form as a browser sends it, with some fields changed."""
    shown = whole(document, is_new=is_new)
    return whole(document, _as_query(send(shown, shown.rows, **changes)), is_new=is_new)


def cell(document: dict[str, Any] | None, data: Any = None, **options: Any) -> Any:
    return CellForm(data, agent_id="agent", skill=SKILL, rule=document, **options)


def edit_cell(document: dict[str, Any] | None, **changes: Any) -> Any:
    return cell(document, _as_query(send(cell(document), **changes)))


def _as_query(sent: dict[str, Any]) -> Any:
    from django.http import QueryDict

    query = QueryDict(mutable=True)
    for name, value in sent.items():
        query.setlist(name, value if isinstance(value, list) else [value])
    return query


def kept(form: Any) -> dict[str, Any]:
    """Return the rule of a form that has to be valid."""
    assert form.is_valid(), form.errors
    rule_: dict[str, Any] = form.collect_rule()
    return rule_


# --- the whole form ---------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(one=WHOLE_RULES)
def test_a_rule_that_is_sent_back_as_shown_is_the_same_rule(one: Rule) -> None:
    form = edit(wire(one))
    assert form.is_valid(), (form.errors, form.rows.errors)
    assert wire(form.collect_rule()) == wire(one)


@settings(max_examples=25, deadline=None)
@given(one=WHOLE_RULES)
def test_a_new_rule_says_what_was_filled_in(one: Rule) -> None:
    """Whatever can be said of a rule can be said by the form of a new one."""
    shown = whole(wire(one))
    sent = _as_query(send(shown, shown.rows))
    form = whole({"agent": "agent", "skill": "skill"}, sent, is_new=True)
    assert form.is_valid(), (form.errors, form.rows.errors)
    assert wire(form.collect_rule()) == wire(one)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("id", "Not An Id", "pattern"),
        ("id", "", "required"),
        ("conditions.domains", "https://a.org/", "host"),
        ("conditions.domains", "*.org", "wildcard"),
        ("conditions.domains", "", "at least one host"),
        ("conditions.readPaths", "../etc", "workspace"),
        ("conditions.argumentBytes.max", "lots", "2 MB"),
        ("conditions.timeWindow.zone", "Mars/Base", "zone"),
        ("conditions.timeWindow.start", "09:00", "which zone"),
        ("limits.callsPerTask", "0", "greater than or equal"),
        ("limits.callsPerPeriod.amount", "5", "required"),
        ("limits.burst", "5", "ratePerSecond"),
        ("limits.spendPerTask", "-1", "greater than"),
        ("validUntil", "yesterday", "valid date"),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_nothing_is_lost(field: str, value: str, words: str) -> None:
    form = edit(wire(rule(domains=["a.org"], readPaths=[""], description="kept")), **{field: value})
    assert not form.is_valid()
    place = {
        "limits.callsPerPeriod.amount": "limits.callsPerPeriod.seconds",
        "conditions.timeWindow.start": "conditions.timeWindow.zone",
    }.get(field, field)
    told = form.errors.get(place) or form.non_field_errors()
    assert words in str(told), form.errors
    assert form[field].value() == value
    assert form["description"].value() == "kept"


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = {"id": "Not An Id", "conditions.domains": "https://a.org/", "conditions.timeWindow.zone": "Mars/Base",
             "limits.callsPerTask": "0", "argument-0-kind": "pattern", "argument-0-value": "(a"}  # fmt: skip
    form = edit(wire(rule(domains=["a.org"], readPaths=[""])), **wrong)
    assert not form.is_valid()
    assert {name for name in form.errors if name != "__all__"} == {name for name in wrong if "argument-" not in name}
    assert "RE2" in str(form.rows[0].errors["value"])


@pytest.mark.parametrize(
    ("row", "place", "words"),
    [
        ({"kind": "equals"}, "value", "Against what"),
        ({"kind": "range", "low": "a"}, "low", "number"),
        ({"kind": "length", "low": "1.5"}, "low", "number"),
        ({"kind": "range"}, "low", "bound"),
        ({"kind": "", "value": "x"}, "kind", "Choose"),
        ({"kind": "pattern", "value": "(a"}, "value", "RE2"),
        ({"kind": "equals", "value": "x", "name": ""}, "name", "Which argument"),
        ({"kind": "equals", "value": "x", "name": "no name"}, "value", "pattern"),
    ],
)
def test_a_test_that_cannot_be_taken_is_told_at_its_row(row: dict[str, str], place: str, words: str) -> None:
    form = edit(
        wire(rule()), **{"conditions.domains": "any", **{f"argument-0-{key}": text for key, text in row.items()}}
    )
    assert not form.is_valid()
    assert words in str(form.rows[0].errors[place]), form.rows.errors


def test_an_argument_is_tested_once() -> None:
    twice = {f"argument-{number}-{key}": text for number in (0, 1) for key, text in
             {"name": "n", "kind": "equals", "value": "1"}.items()}  # fmt: skip
    form = edit(wire(rule()), **twice)
    assert not form.is_valid()
    assert "tested above" in str(form.rows[1].errors)


def test_the_rows_offer_the_arguments_of_the_skill_and_one_more_when_asked() -> None:
    form = whole(wire(rule(arguments={"url": {"pattern": "x"}})))
    assert [row["name"].value() for row in form.rows] == ["url", "n", "m", ""]
    more = whole(wire(rule()), add_row(_as_query(send(form, form.rows))))
    assert len(more.rows.forms) == 5
    assert more.rows[0]["value"].value() == "x"


def test_what_means_nothing_beside_an_effect_is_left_out() -> None:
    asks = wire(rule(effect="ask", limits={"callsPerTask": 5}, approval={"quorum": 2}))
    assert wire(kept(edit(asks, effect="deny")))["limits"] == {}
    assert "approval" not in wire(kept(edit(asks, effect="allow", **OPEN)))


OPEN = {"conditions.domains": "any", "conditions.readPaths": "any", "conditions.writePaths": "any"}


def test_a_skill_that_is_not_there_stays_offered() -> None:
    form = whole(wire(rule(agent="gone", skill="lost")))
    assert (form["agent"].value(), form["skill"].value()) == ("gone", "lost")
    assert ("gone", "gone") in form.fields["agent"].choices


def test_a_new_rule_is_named_after_the_pair_that_was_chosen_unless_it_was_named() -> None:
    start = {"id": "every-every", "agent": "*", "skill": "*"}
    shown = whole(start, is_new=True)
    chosen = send(shown, shown.rows) | {"agent": "agent", "skill": "skill", "effect": "deny"}
    for typed, named in (("every-every", "agent-skill-2"), ("mine", "mine")):
        form = whole(start, _as_query(chosen | {"id": typed}), is_new=True)
        assert form.is_valid(), form.errors
        assert form.name_rule(["agent-skill"])["id"] == named


def test_a_new_rule_gets_an_id_of_its_own() -> None:
    assert name_rule("qa-verification-agent", "testRunner", []) == "qa-verification-test-runner"
    assert name_rule("qa", "testRunner", ["qa-test-runner", "qa-test-runner-2"]) == "qa-test-runner-3"
    for agent_id, skill_id in (("*", "*"), ("-_.", "X" * 64), ("A" * 64, "ö")):
        read_policy([rule(name_rule(agent_id, skill_id, []))])


# --- the short form ---------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(one=WHOLE_RULES)
def test_a_cell_that_is_sent_back_as_shown_leaves_its_rule_alone(one: Rule) -> None:
    form = edit_cell(wire(one))
    assert form.is_valid(), form.errors
    assert wire(form.name_rule([])) == wire(one)


def test_a_new_allow_names_its_reach() -> None:
    form = edit_cell(None, effect="allow")
    assert not form.is_valid()
    assert set(form.errors) == {"conditions.domains", "conditions.readPaths", "conditions.writePaths"}


def test_a_new_rule_is_made_of_the_short_form() -> None:
    form = edit_cell(None, **{
        "effect": "ask", "conditions.domains": "a.org\r\n*.b.org", "conditions.readPaths": "/",
        "conditions.writePaths": "out", "limits.callsPerPeriod.amount": "5", "conditions.argumentBytes.max": "2 MB",
        "approval.quorum": "2", "approval.fourEyes": "on", "validUntil": "2026-12-01T09:00", "description": "why",
    })  # fmt: skip
    assert form.is_valid(), form.errors
    assert form.name_rule(["agent-skill"]) == {
        "id": "agent-skill-2", "agent": "agent", "skill": "skill", "effect": "ask",
        "conditions": {
            "domains": ["a.org", "*.b.org"], "readPaths": [""], "writePaths": ["out"],
            "argumentBytes": {"max": 2_000_000},
        },
        "limits": {"callsPerPeriod": {"amount": 5, "seconds": 3_600}},
        "approval": {"quorum": 2, "fourEyes": True}, "validUntil": "2026-12-01T09:00:00Z", "description": "why",
    }  # fmt: skip


def test_a_cell_that_is_denied_refuses_every_call() -> None:
    one = wire(rule(domains=["a.org"], arguments={"n": {"min": 1}}, limits={"callsPerTask": 5}, description="why"))
    form = edit_cell(one, effect="deny")
    assert form.is_valid(), form.errors
    assert wire(form.name_rule([])) == wire(rule(effect="deny", description="why"))


def test_a_period_can_be_taken_away_and_changed() -> None:
    one = wire(rule(limits={"callsPerPeriod": {"amount": 5, "seconds": 7_200}}))
    assert ("7200", "2 hours") in cell(one).fields["limits.callsPerPeriod.seconds"].choices
    assert kept(edit_cell(one, **{"limits.callsPerPeriod.amount": ""}))["limits"] == {}
    form = edit_cell(one, **{"limits.callsPerPeriod.seconds": "60"})
    assert kept(form)["limits"]["callsPerPeriod"] == {"amount": 5, "seconds": 60}


def test_an_effect_that_contradicts_a_condition_is_told() -> None:
    form = edit_cell(wire(rule(effect="ask", tainted=True)), effect="allow")
    assert not form.is_valid()
    assert "tainted" in str(form.non_field_errors())


def test_a_crowded_cell_can_only_be_refused_or_cleared() -> None:
    form = cell(None, {"effect": "allow"}, is_crowded=True)
    assert not form.is_valid()
    assert cell(None, {"effect": "deny"}, is_crowded=True).is_valid()
    assert cell(None, {"effect": "unset"}, is_crowded=True).is_valid()


def test_a_skill_without_network_has_no_hosts() -> None:
    form = CellForm(agent_id="agent", skill=skill("plain"), rule=None)
    assert not [path for path in form.fields if path.startswith("conditions.") and "Bytes" not in path]
