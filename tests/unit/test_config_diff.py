"""What differs between two configurations, and how two edits come together."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.editing.diff import LABELS, LONG, diff_configs, flatten_config, merge_configs
from agents.registry import read_fleet
from agents.skills.base import dump
from agents.types import AgentConfig
from toolgate.lines import Line

FLEET = list(read_fleet(Path(__file__).resolve().parents[2] / "agents" / "fleet"))
BASE = next(config for config in FLEET if config.id == "qa-verification-agent")


def edit(config: AgentConfig = BASE, **changes: Any) -> AgentConfig:
    """Return a configuration with some fields changed: `limits__maxSteps=3`."""
    document = dump(config)
    for name, value in changes.items():
        *groups, last = name.split("__")
        place = document
        for group in groups:
            place = place[group]
        place[last] = value
    return AgentConfig.model_validate(document)


def list_fields(model: type[BaseModel], prefix: str = "") -> set[str]:
    names: set[str] = set()
    for info in model.model_fields.values():
        inner = info.annotation
        is_group = isinstance(inner, type) and issubclass(inner, BaseModel)
        names |= list_fields(inner, f"{info.alias}.") if is_group else {f"{prefix}{info.alias}"}
    return names


def test_every_field_of_a_configuration_is_compared() -> None:
    assert set(LABELS) == list_fields(AgentConfig)


def test_a_configuration_does_not_differ_from_itself_however_its_money_is_written() -> None:
    assert [diff_configs(config, edit(config)) for config in FLEET] == [[]] * 11
    assert diff_configs(edit(limits__maxCostGbp="0.5"), edit(limits__maxCostGbp="0.5000")) == []


def test_a_short_field_says_what_it_was_and_what_it_becomes() -> None:
    changes = diff_configs(
        BASE, edit(timeoutSeconds=200, limits__monthlyCapGbp="4.50", constraints__reviewRequired=True)
    )
    assert [(change.field, change.old, change.new) for change in changes] == [
        ("timeoutSeconds", "300", "200"),
        ("limits.monthlyCapGbp", "", "4.50"),
        ("constraints.reviewRequired", "no", "yes"),
    ]


def test_a_prompt_is_compared_line_by_line() -> None:
    old = edit(prompt="You verify what others have made.\nOne.\nTwo.\n")
    (change,) = diff_configs(old, edit(prompt="You verify what others have made.\nOne.\nThree.\n--- four\n"))
    assert change.lines == (
        Line(sign="@", text="@@ -1,3 +1,4 @@"),
        Line(sign=" ", text="You verify what others have made."),
        Line(sign=" ", text="One."),
        Line(sign="-", text="Two."),
        Line(sign="+", text="Three."),
        Line(sign="+", text="--- four"),
    )
    assert (change.added, change.removed) == (2, 1)


def test_a_schema_is_compared_line_by_line_as_json() -> None:
    schema = {**BASE.input_schema, "title": "What to verify"}
    (change,) = diff_configs(BASE, edit(inputSchema=schema))
    assert '  "title": "What to verify"' in [line.text for line in change.lines if line.sign == "+"]


def test_another_end_of_a_prompt_is_a_change_without_lines() -> None:
    (change,) = diff_configs(BASE, edit(prompt=BASE.prompt.rstrip("\n")))
    assert (change.field, change.lines) == ("prompt", ())


# --- merge ------------------------------------------------------------------------------------------------------
def merged(mine: AgentConfig, theirs: AgentConfig) -> tuple[AgentConfig, tuple[str, ...]]:
    merge = merge_configs(BASE, mine=mine, theirs=theirs)
    return AgentConfig.model_validate(merge.document), merge.contested


def test_two_edits_of_different_fields_are_both_kept() -> None:
    both = merged(edit(timeoutSeconds=200, limits__maxSteps=9), edit(retries=0, limits__maxCalls=7))
    assert both == (edit(timeoutSeconds=200, limits__maxSteps=9, retries=0, limits__maxCalls=7), ())


def test_where_both_changed_a_field_mine_stands_and_is_named() -> None:
    both = merged(edit(retries=0, timeoutSeconds=9), edit(retries=5, timeoutSeconds=9))
    assert both == (edit(retries=0, timeoutSeconds=9), ("retries",))


FIELDS = ("timeoutSeconds", "retries", "concurrent", "limits__maxSteps", "limits__maxCalls")
EDITS = st.dictionaries(st.sampled_from(FIELDS), st.integers(1, 10))


@given(mine=EDITS, theirs=EDITS)
def test_a_merge_loses_no_edit_of_either_unless_it_says_so(mine: dict[str, int], theirs: dict[str, int]) -> None:
    result, contested = merged(edit(**mine), edit(**theirs))
    values, base = flatten_config(result), flatten_config(BASE)
    own, other = flatten_config(edit(**mine)), flatten_config(edit(**theirs))
    for field in LABELS:
        if own[field] != base[field]:
            assert values[field] == own[field]
        else:
            assert values[field] == other[field]
        assert (field in contested) == (base[field] != own[field] != other[field] != base[field])


def test_the_long_fields_come_last() -> None:
    assert set(list(LABELS)[-len(LONG) :]) == LONG
