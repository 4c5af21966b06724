"""Values are held to schemas that people edit, and schemas are held to what can be checked safely."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.schemas import MAX_PROBLEM_CHARACTERS, cut, list_problems, list_schema_problems
from tests.unit.answers_cast import FLEET

STEPS = {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}


def test_a_problem_names_its_place_and_its_rule() -> None:
    assert list_problems(STEPS, [{"n": 1}]) == ()
    assert list_problems(STEPS, [{"n": 1}, {"n": "x"}]) == ("$[1].n: 'x' is not of type 'integer'.",)


def test_alternatives_are_told_by_the_one_that_fits_best() -> None:
    config = FLEET["market-research-agent"]
    finding = {"url": "https://arxiv.org/", "statusCode": "200", "contentSize": 1, "fetchedAt": "x", "summary": "s"}
    problems = list_problems(config.output_schema, {"findings": [finding], "synthesis": "s", "confidence": "low"})
    assert any("findings[0]" in problem and "given schemas" not in problem for problem in problems)


def test_problems_are_few_and_short() -> None:
    problems = list_problems(STEPS, ["x" * 10_000] * 100)
    assert len(problems) == 20
    assert all(len(problem) <= MAX_PROBLEM_CHARACTERS for problem in problems)
    assert problems[0].endswith("is not of type 'object'.")


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date-time", "2026-11-25T20:00:00Z", "2026-11-25T20:00:00"),
        ("date-time", "2026-11-25T20:00:00.123+01:00", "yesterday"),
        ("uri", "https://arxiv.org/abs/1", "arxiv.org"),
        ("uri", "mailto:a@b.example", "https://a b"),
        ("date", "2026-11-25", "2026-13-25"),
    ],
)
def test_formats_are_checked(form: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": form}
    assert list_problems(schema, good) == ()
    assert len(list_problems(schema, bad)) == 1


def test_a_pattern_takes_linear_time() -> None:
    began = time.monotonic()
    assert list_problems({"type": "string", "pattern": "^(a+)+$"}, "a" * 50_000 + "!")
    assert time.monotonic() - began < 2


def test_a_value_too_deep_is_a_problem_and_no_crash() -> None:
    schema = {"$defs": {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}, "$ref": "#/$defs/list"}
    value: list[object] = []
    for _ in range(5_000):
        value = [value]
    assert list_problems(schema, value) == ("$: nested too deeply to be checked.",)
    assert list_problems({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, 1)


@pytest.mark.parametrize("config", FLEET.values(), ids=FLEET)
def test_the_fleets_schemas_are_sound(config) -> None:
    assert list_schema_problems(config.input_schema) == ()
    assert list_schema_problems(config.output_schema) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "sting"},
        {"properties": {"a": {"$ref": "https://example.com/schema.json"}}},
        {"$ref": "#"},
        {"patternProperties": {"^a": {}}},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "("},
        {"items": {"anyOf": [{"$dynamicRef": "#x"}]}},
    ],
)
def test_an_unsound_schema_is_told(schema) -> None:
    assert list_schema_problems(schema)


@given(st.text())
def test_what_others_wrote_stays_one_short_quoted_line(text: str) -> None:
    shown = cut(text)
    assert "\n" not in shown
    assert shown.startswith('"')
    assert shown.endswith('"')
    assert len(shown) < 700  # a hundred characters, each escaped
