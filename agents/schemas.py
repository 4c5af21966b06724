"""JSON Schema, Draft 2020-12, for what goes into an agent and what comes out of it. PURE.

A schema is data that people edit, and what it judges a model wrote. So patterns run on RE2, references stay inside
the schema, and every problem is one short sentence with a path.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache, lru_cache
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import orjson

MAX_PROBLEMS = 20
MAX_PROBLEM_CHARACTERS = 300
_OUT_OF_SCHEMA = ("patternProperties", "$dynamicRef", "$dynamicAnchor")  # run on `re`, or lead out of the schema


def list_problems(schema: Mapping[str, Any], value: Any) -> tuple[str, ...]:
    """Return what is wrong with a JSON value, at most 20 sentences, none if it fits.

    `schema` passed `list_schema_problems`.
    """
    try:
        return tuple(map(_describe, islice(find_errors(schema, value), MAX_PROBLEMS)))
    except RecursionError:
        return ("$: nested too deeply to be checked.",)


def find_errors(schema: Mapping[str, Any], value: Any) -> Iterator[Any]:
    """Give jsonschema's errors of a value, by the one validator that takes patterns and references safely.

    Raises: RecursionError for what is nested too deeply.
    """
    errors: Iterator[Any] = _validator(orjson.dumps(schema)).iter_errors(value)
    return errors


def list_schema_problems(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with a schema itself, none if values can be held to it."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
        return tuple(islice(_find_unsafe(schema), MAX_PROBLEMS))
    except SchemaError as error:
        return (_describe(error),)
    except RecursionError:
        return ("$: nested too deeply to be checked.",)


def _find_unsafe(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _find_unsafe(item)
    elif isinstance(schema, Mapping):
        for name, value in schema.items():
            if name in _OUT_OF_SCHEMA and not isinstance(value, bool):
                yield f"{name} is not taken here."
            elif name == "$ref" and isinstance(value, str) and not value.startswith("#/$defs/"):
                yield f"$ref {cut(value)} leads out of the schema; refer to #/$defs/… only."
            elif name == "pattern" and isinstance(value, str) and (why := _refuse_pattern(value)):
                yield why
            else:
                yield from _find_unsafe(value)


def _refuse_pattern(pattern: str) -> str:
    import re2

    try:
        _compile(pattern)
    except re2.error:
        return f"The pattern {cut(pattern)} is no RE2 pattern."
    return ""


# --- the validator --------------------------------------------------------------------------------------------
@lru_cache(maxsize=128)
def _validator(schema_json: bytes) -> Any:
    from referencing.jsonschema import EMPTY_REGISTRY

    closed, formats = _dialect()
    return closed(orjson.loads(schema_json), format_checker=formats, registry=EMPTY_REGISTRY)


@cache
def _dialect() -> tuple[Any, Any]:
    """Return the validator's class and its formats; the standard ones for times and addresses need more packages."""
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import extend

    formats = FormatChecker(formats=("date", "email", "ipv4", "ipv6", "uuid"))
    formats.checks("date-time", raises=ValueError)(_is_date_time)
    formats.checks("uri", raises=ValueError)(_is_uri)
    return extend(Draft202012Validator, {"pattern": _check_pattern}), formats


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def _is_uri(value: object) -> bool:
    if not isinstance(value, str):
        return True
    parts = urlsplit(value)
    return bool(parts.scheme and (parts.netloc or parts.path)) and value.isprintable() and " " not in value


def _check_pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Exception]:
    from jsonschema import ValidationError

    if isinstance(value, str) and not _compile(pattern).search(value):
        yield ValidationError(f"{cut(value)} does not match {pattern!r}")


@lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


# --- words ----------------------------------------------------------------------------------------------------
def _describe(error: Any) -> str:
    """Return one sentence; of alternatives the problem with the one that fits best."""
    from jsonschema.exceptions import best_match

    if error.context:
        error = best_match(error.context)
    message = error.message
    room = MAX_PROBLEM_CHARACTERS - 100
    if len(message) > room:  # the value stands first, the rule it breaks last
        message = f"{message[: room // 2]} … {message[-room // 2 :]}"
    return f"{error.json_path[:90]}: {message}."


def cut(text: str, characters: int = 100) -> str:
    """Return a text as one short, quoted line: what others wrote is shown, never mixed with our words."""
    shown = text if len(text) <= characters else text[:characters] + "…"
    return orjson.dumps(shown.encode("utf-8", "replace").decode()).decode()
