"""An answer is one JSON object, plain or in one fence, and nothing else is taken for one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.answers import CLAIMS, check_answer
from agents.answers.facts import Facts
from agents.answers.reading import AnswerUnreadable, read_object
from tests.unit.answers_cast import FLEET, ROOT, check

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
SMALL = st.integers(-(2**53), 2**53)
OBJECTS = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | SMALL | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
    ),
)


@given(OBJECTS)
def test_an_object_is_read_plain_and_fenced(value: dict[str, Any]) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert read_object(text) == value
        assert read_object(f"\n{text}\n\n") == value
        assert read_object(f"```json\n{text}\n```") == value
        assert read_object(f"```\n{text}\n```\n") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        '"text"',
        'Here it is: {"a": 1}',
        '{"a": 1} I hope this helps.',
        '{"a": 1}\n{"b": 2}',
        '```json\n{"a": 1}\n```\n```json\n{"b": 2}\n```',
        'Sure:\n```json\n{"a": 1}\n```',
        '```json\n{"a": 1}',
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1, "a": 2}',
        '{"b": {"a": 1, "a": 2}}',
        '{"a": "\\ud800"}',
        '{"a": "\\u0000"}',
        '{"a": 123456789012345678901234567890}',
        '{"a": ' + "[" * 20_000 + "]" * 20_000 + "}",
    ],
)
def test_nothing_else_is_taken(text: str) -> None:
    with pytest.raises(AnswerUnreadable):
        read_object(text)


def test_what_cannot_be_read_comes_back_as_a_problem() -> None:
    answer = check("content-agent", "I could not do it.", input={})
    assert "one JSON object" in answer.problems[0]


def test_what_breaks_the_schema_comes_back_with_its_place() -> None:
    answer = check("content-agent", {"content": 1, "metrics": {"wordCount": 0}}, input={})
    assert any(problem.startswith("$.content: ") for problem in answer.problems)
    assert any("'sections' is a required property" in problem for problem in answer.problems)


def test_every_agent_but_the_workflow_has_its_claims_checked() -> None:
    assert {config.task_type for config in FLEET.values()} - CLAIMS.keys() == {"integration-workflow"}
    assert CLAIMS.keys() <= {config.task_type for config in FLEET.values()}


@pytest.mark.parametrize("task_type", sorted(CLAIMS))
def test_a_schema_edited_away_from_the_checks_lets_nothing_through(task_type: str) -> None:
    config = next(config for config in FLEET.values() if config.task_type == task_type)
    loose = config.model_copy(update={"output_schema": {"type": "object"}})
    answer = check_answer(loose, '{"something": "else"}', Facts(input={}, workspace=ROOT))
    assert answer.output is None
    assert answer.is_final
    assert "could not be checked" in answer.problems[0]
