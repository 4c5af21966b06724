"""Configurations as people hand them in: what is refused and where, and the examples that forms start with."""

from pathlib import Path
from typing import Any

import pytest

from agents.editing.configs import MAX_SCHEMA_BYTES, read_config
from agents.editing.examples import make_example
from agents.exceptions import ConfigInvalid
from agents.registry import read_fleet
from agents.schemas import list_problems
from agents.skills.base import dump

FLEET = list(read_fleet(Path(__file__).resolve().parents[2] / "agents" / "fleet"))


def find_problems(**changes: Any) -> list[tuple[str, str]]:
    """Return where a configuration does not fit, and why."""
    document = dump(FLEET[0]) | changes
    try:
        read_config(document, agent_id=FLEET[0].id)
    except ConfigInvalid as error:
        return [(problem.pointer, problem.detail) for problem in error.problems]
    return []


@pytest.mark.parametrize("config", FLEET, ids=lambda config: config.id)
def test_the_fleet_s_own_files_pass(config: Any) -> None:
    assert read_config(dump(config), agent_id=config.id) == config


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array"}, "describe an object"),
        ({}, "describe an object"),
        ({"type": "object", "properties": {"a": {"type": "strnig"}}}, "strnig"),
        ({"type": "object", "required": "a"}, "array"),
        ({"type": "object", "$ref": "https://example.com/schema.json"}, "leads out of the schema"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "names nothing in the schema"),
        ({"type": "object", "properties": {"a": {"pattern": "(a)\\1"}}}, "RE2"),
        ({"type": "object", "title": "x" * MAX_SCHEMA_BYTES}, "larger than"),
    ],
)
@pytest.mark.parametrize("field", ["inputSchema", "outputSchema"])
def test_a_schema_that_no_agent_may_have_is_refused(field: str, schema: dict[str, Any], words: str) -> None:
    problems = find_problems(**{field: schema})
    assert {pointer for pointer, _ in problems} == {f"#/{field}"}
    assert words in " ".join(detail for _, detail in problems)


def test_a_reference_within_the_schema_holds() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
    assert find_problems(inputSchema=schema) == []


# --- examples ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("config", FLEET, ids=lambda config: config.id)
def test_an_example_of_an_agent_s_input_fits_its_schema(config: Any) -> None:
    assert list_problems(config.input_schema, make_example(config.input_schema)) == ()


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3}}}, {"a": 3}),
        ({"type": "object", "oneOf": [{"required": ["b"]}], "properties": {"b": {"enum": ["x", "y"]}}}, {"b": "x"}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "minLength": 6}}}, "text.."),
        ({"type": "object", "$ref": "#"}, {}),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
    ],
)
def test_an_example_shows_the_shape(schema: dict[str, Any], example: Any) -> None:
    assert make_example(schema) == example
