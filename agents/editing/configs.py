"""An agent's configuration as people hand it in: judged strictly, read from a file, written to one."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from pydantic import ValidationError

from agents.exceptions import ConfigInvalid
from agents.schemas import list_schema_problems
from agents.skills.base import dump
from agents.types import AgentConfig
from toolgate.reading import FieldProblem, list_problems

MAX_FILE_BYTES: Final = 200_000
MAX_DEPTH: Final = 100
MAX_SCHEMA_BYTES: Final = 64_000


def read_config(document: Mapping[str, Any], *, agent_id: str) -> AgentConfig:
    """Return the configuration that `document` holds under its names on the wire.

    Raises: ConfigInvalid with every problem: of the schema of agents, of the two JSON Schemas in it, or another id.
    """
    try:
        config = AgentConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigInvalid(list_problems(error)) from error
    problems = [*_check_id(config, agent_id), *_check_schemas(config), *_check_caps(config)]
    if problems:
        raise ConfigInvalid(problems)
    return config


def _check_id(config: AgentConfig, agent_id: str) -> list[FieldProblem]:
    if config.id == agent_id:
        return []
    detail = f"This is the configuration of {config.id}, and an agent keeps its id: {agent_id}."
    return [FieldProblem(pointer="#/id", code="id_changed", detail=detail)]


def _check_schemas(config: AgentConfig) -> list[FieldProblem]:
    schemas = {"inputSchema": config.input_schema, "outputSchema": config.output_schema}
    return [
        FieldProblem(pointer=f"#/{name}", code="schema_invalid", detail=detail)
        for name, schema in schemas.items()
        for detail in _find_schema_problems(schema)
    ]


def _find_schema_problems(schema: Mapping[str, Any]) -> Iterator[str]:
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        yield f"The schema is larger than {MAX_SCHEMA_BYTES // 1000} KB."
        return
    problems = list_schema_problems(schema)
    yield from problems
    if schema.get("type") != "object":
        yield 'The schema has to describe an object: "type": "object".'
    if not problems:
        yield from _find_dangling(schema)


def _find_dangling(schema: Mapping[str, Any]) -> Iterator[str]:
    """Give the references that lead nowhere: a value could not be judged by them."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

    def follow(resolver: Any, part: Any) -> Iterator[str]:
        reference = part.contents.get("$ref") if isinstance(part.contents, dict) else None
        try:
            if reference is not None:
                resolver.lookup(reference)
        except Unresolvable:
            yield f"$ref {reference!r} names nothing in the schema."
        for inner in part.subresources():
            yield from follow(resolver.in_subresource(inner), inner)

    root = DRAFT202012.create_resource(schema)
    yield from follow(EMPTY_REGISTRY.resolver_with_root(root), root)


def _check_caps(config: AgentConfig) -> list[FieldProblem]:
    month, task = config.limits.monthly_cap_gbp, config.limits.max_cost_gbp
    if month is None or task <= month:
        return []
    detail = f"One task may cost more (£{task}) than the agent may spend in a month (£{month})."
    return [FieldProblem(pointer="#/limits/monthlyCapGbp", code="cap_below_task", detail=detail)]


# --- files ------------------------------------------------------------------------------------------------------
def write_file(config: AgentConfig) -> bytes:
    """Return a configuration as a JSON file that `read_file` takes."""
    return orjson.dumps(dump(config), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def read_file(content: bytes) -> dict[str, Any]:
    """Return what a JSON or TOML file of at most `MAX_FILE_BYTES` holds: the formats of exports and of the fleet.

    Raises: ConfigInvalid.
    """
    if len(content) > MAX_FILE_BYTES:
        raise _unreadable(f"The file is larger than {MAX_FILE_BYTES // 1000} KB.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"The file is not UTF-8 text: byte {error.start} is not.") from error
    try:
        value = orjson.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        document: dict[str, Any] = orjson.loads(json.dumps(value, allow_nan=False))  # no date, no NaN
    except (ValueError, TypeError, RecursionError) as error:
        raise _unreadable(f"The file is neither JSON nor TOML that an agent could be: {error}.") from error
    if not _is_plain(document, MAX_DEPTH):
        raise _unreadable(f"The file holds a NUL character, or is nested deeper than {MAX_DEPTH} levels.")
    return document


def _unreadable(detail: str) -> ConfigInvalid:
    return ConfigInvalid([FieldProblem(pointer="#", code="file_unreadable", detail=detail[:300])])


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if depth == 0 and isinstance(value, dict | list):
        return False
    if isinstance(value, dict):
        return all("\0" not in key and _is_plain(inner, depth - 1) for key, inner in value.items())
    return not isinstance(value, list) or all(_is_plain(inner, depth - 1) for inner in value)
