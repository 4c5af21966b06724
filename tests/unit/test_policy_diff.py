"""What differs between two sets of rules, and how two edits of one come together."""

import itertools
from typing import Any

import pytest
from pydantic import BaseModel

from toolgate.editing.diff import diff_rules, merge_rules
from toolgate.policy import ApprovalTerms, Conditions, Limits, Rule, dump_policy, read_policy
from toolgate.words.fields import LABELS, describe_value


def wire(*rules: dict[str, Any]) -> list[dict[str, Any]]:
    whole = [{"agent": "a", "skill": "s", "effect": "allow", **rule} for rule in rules]
    return dump_policy(read_policy(whole))


def told(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Return the fields of the one rule that differs, each with its words before and after."""
    (change,) = diff_rules(before, after).changes
    return {field.label: (field.old, field.new) for field in change.fields}


# --- diff -------------------------------------------------------------------------------------------------------
def test_it_tells_what_was_added_removed_and_changed() -> None:
    before = wire({"id": "a"}, {"id": "b"}, {"id": "same"})
    after = wire({"id": "b", "limits": {"callsPerTask": 3}}, {"id": "c"}, {"id": "same"})
    diff = diff_rules(before, after)
    assert diff.to_ids() == {"added": ["c"], "removed": ["a"], "changed": ["b"]}
    assert [one.rule_id for one in (*diff.added, *diff.removed, *diff.changed)] == ["c", "a", "b"]
    assert diff
    assert diff.changed[0].sentence == "a may call s, at most 3 calls a task."


def test_the_same_rules_in_another_order_differ_in_nothing() -> None:
    rules = wire({"id": "a"}, {"id": "b"})
    assert not diff_rules(rules, rules[::-1])


def test_a_field_is_one_line_with_both_values() -> None:
    before = wire({"id": "a", "limits": {"callsPerTask": 1, "spendPerDay": "5"}, "conditions": {"tainted": False}})
    after = wire(
        {"id": "a", "description": "why",
         "limits": {"callsPerTask": 20, "callsPerPeriod": {"amount": 9, "seconds": 3600}},
         "conditions": {"arguments": {"dryRun": {"equals": False}}, "readPaths": [""]}}
    )  # fmt: skip
    assert told(before, after) == {
        "Description": ("", "why"),
        "Only for tasks that are": ("clean", ""),
        "Argument dryRun": ("", "dryRun is false"),
        "Only reading below": ("", "the whole workspace"),
        "Calls a task": ("1", "20"),
        "Calls a period": ("", "9 an hour"),
        "Spend a day": ("£5", ""),
    }


def test_a_list_says_what_came_and_went() -> None:
    before, after = (
        wire({"id": "a", "conditions": {"domains": hosts}}) for hosts in (["a.org", "b.org"], ["b.org", "c.org"])
    )
    (field,) = diff_rules(before, after).changes[0].fields
    assert (field.gone, field.come, field.old) == (("a.org",), ("c.org",), "a.org, b.org")


def test_a_difference_that_the_words_would_round_away_is_told_exactly() -> None:
    before, after = (wire({"id": "a", "validUntil": f"2030-01-01T09:00:{second}Z"}) for second in ("00", "30"))
    assert told(before, after) == {"Valid until": ('"2030-01-01T09:00:00Z"', '"2030-01-01T09:00:30Z"')}


def test_every_field_of_a_rule_has_a_label() -> None:
    groups: dict[str, type[BaseModel]] = {"conditions": Conditions, "limits": Limits, "approval": ApprovalTerms}
    names = {field.alias for field in Rule.model_fields.values()} - {"id", *groups}
    names |= {f"{group}.{field.alias}" for group, model in groups.items() for field in model.model_fields.values()}
    assert names == set(LABELS)


WHOLE: dict[str, Any] = {
    "id": "a", "agent": "*", "exceptAgents": ["x"], "effect": "ask", "description": "why", "shadow": True,
    "validFrom": "2030-01-01T09:00:00Z", "validUntil": "2030-02-01T09:00:00Z",
    "conditions": {
        "domains": ["a.org"], "readPaths": ["a"], "writePaths": ["b"], "arguments": {"n": {"max": 3}},
        "argumentBytes": {"max": 2_000_000}, "tainted": True,
        "timeWindow": {"zone": "Europe/London", "days": ["mon"], "start": "09:00:00", "end": "17:00:00"},
    },
    "limits": {
        "callsPerTask": 1, "ratePerSecond": 2, "burst": 3, "callsPerPeriod": {"amount": 4, "seconds": 60},
        "bytesPerTask": 5, "bytesPerPeriod": {"amount": 6, "seconds": 7}, "spendPerTask": "8", "spendPerDay": "9",
    },
    "approval": {"fourEyes": False, "quorum": 2, "approvers": ["ana"], "expiresSeconds": 60, "slaSeconds": 30},
}  # fmt: skip


def test_every_field_of_a_rule_is_told_in_words() -> None:
    (change,) = diff_rules([], wire(WHOLE)).changes
    assert {field.field.replace("arguments.n", "arguments") for field in change.fields} == set(LABELS)
    for field in change.fields:
        assert field.new, field
        assert not set("{}[]") & set(field.new), field


def test_an_empty_list_is_no_missing_one() -> None:
    assert describe_value("conditions.domains", []) == "none: it matches no call"
    assert describe_value("conditions.domains", None) == ""


# --- merge ------------------------------------------------------------------------------------------------------
A, B, C = ({"id": "r", "agent": name, "skill": "s", "effect": "allow"} for name in "abc")


@pytest.mark.parametrize(("base", "mine", "theirs"), list(itertools.product((None, A, B, C), repeat=3)))
def test_two_edits_of_one_rule_come_together(base: Any, mine: Any, theirs: Any) -> None:
    merge = merge_rules(*([rule] if rule else [] for rule in (base, mine, theirs)))
    both_changed = mine != base and theirs != base
    assert merge.rules == ((theirs,) if mine == base and theirs else (mine,) if mine != base and mine else ())
    clashes = [(clash.base, clash.mine, clash.theirs) for clash in merge.clashes]
    assert clashes == ([(base, mine, theirs)] if both_changed and mine != theirs else [])


def test_edits_of_different_rules_are_all_kept() -> None:
    base = wire({"id": "a"}, {"id": "b"}, {"id": "c"})
    mine = wire({"id": "a", "limits": {"callsPerTask": 1}}, {"id": "b"}, {"id": "c"}, {"id": "mine"})
    theirs = wire({"id": "b", "limits": {"callsPerTask": 2}}, {"id": "a"}, {"id": "theirs"})
    merge = merge_rules(base, mine, theirs)
    assert [rule["id"] for rule in merge.rules] == ["a", "b", "mine", "theirs"]
    assert [rule["limits"] for rule in merge.rules[:2]] == [{"callsPerTask": 1}, {"callsPerTask": 2}]
    assert merge.clashes == ()
