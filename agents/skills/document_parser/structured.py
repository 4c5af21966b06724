"""JSON: lists of objects become tables, other lists become lists, single values paragraphs "path: value"."""

import json
from collections import Counter
from typing import Any

from agents.skills.base import LimitExceeded
from agents.skills.document_parser.extract import MAX_DEPTH, BlockType, Extract, check_limit, decode_text, invalid


class _Number(str):
    """A number exactly as it was written."""

    __slots__ = ()


def read_json(data: bytes, extract: Extract) -> None:
    """Read a JSON document. Raises: SkillError `document_invalid`, LimitExceeded `depth` and others."""
    try:
        content = json.loads(
            decode_text(data),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_build_object,
        )
    except json.JSONDecodeError as error:
        raise invalid(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise LimitExceeded("depth", f"The document is more than {MAX_DEPTH} levels deep.") from None
    _walk(content, extract, path="", depth=0)


def _refuse_constant(name: str) -> Any:
    raise invalid(f"{name} is not JSON")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise invalid(f"the name {repeated[:60]!r} occurs twice in one object")
    return built


def _walk(value: Any, extract: Extract, *, path: str, depth: int) -> None:
    check_limit("depth", depth, MAX_DEPTH, unit="levels")
    if isinstance(value, dict):
        for name, member in value.items():
            _walk(member, extract, path=f"{path}.{name}" if path else name, depth=depth + 1)
    elif isinstance(value, list):
        _add_list(value, extract, path=path, depth=depth)
    else:
        extract.add(BlockType.PARAGRAPH, f"{path}: {write_value(value)}" if path else write_value(value))


def _add_list(values: list[Any], extract: Extract, *, path: str, depth: int) -> None:
    check_limit("depth", depth + _measure_depth(values), MAX_DEPTH, unit="levels")
    if values and all(isinstance(value, dict) for value in values):
        headers = list(dict.fromkeys(name for value in values for name in value))
        rows = [[write_value(value[name]) if name in value else "" for name in headers] for value in values]
        extract.add_table(headers, rows, caption=path)
    elif values:
        lines = [f"{path}:"] if path else []
        extract.add(BlockType.LIST, "\n".join([*lines, *(f"- {write_value(value)}" for value in values)]))


def _measure_depth(value: Any) -> int:
    """Return how many levels a value has; stops counting past the bound."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH + 1:
        level = [
            member
            for item in level
            if isinstance(item, dict | list)
            for member in (item.values() if isinstance(item, dict) else item)
        ]
        depth += 1
    return depth - 1


def write_value(value: Any) -> str:
    """Return a JSON value as text: texts bare, numbers as they were written, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_quote(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_quote(member) for member in value) + "]"
    return json.dumps(value)


def _quote(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, _Number):
        return json.dumps(value, ensure_ascii=False)
    return write_value(value)
