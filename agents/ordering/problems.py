"""What keeps an input from fitting its agent's schema, told field by field."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from agents.schemas import find_errors
from toolgate.reading import MAX_DETAIL, MAX_PROBLEMS, FieldProblem, make_pointer

_WORDS: Final[Mapping[str, str]] = {
    "type": "This must be {}.",
    "enum": "This must be one of {}.",
    "const": "This must be {}.",
    "minItems": "At least {} of them are needed.",
    "maxItems": "At most {} of them are taken.",
    "minLength": "At least {} characters are needed.",
    "maxLength": "At most {} characters are taken.",
    "minimum": "This must be {} or more.",
    "maximum": "This must be {} or less.",
    "exclusiveMinimum": "This must be more than {}.",
    "exclusiveMaximum": "This must be less than {}.",
    "pattern": "This must match {}.",
    "uniqueItems": "No two of them may be the same.",
}


def list_input_problems(schema: Mapping[str, Any], value: Any, base: str = "#") -> list[FieldProblem]:
    """Return the first problems of `value`, each with a pointer below `base`; never what was sent."""
    try:
        problems = (problem for error in find_errors(schema, value) for problem in _tell(error, base))
        return list(islice(problems, MAX_PROBLEMS))
    except RecursionError:
        return [FieldProblem(pointer=base, code="depth", detail="This is nested too deeply to be checked.")]


def _tell(error: Any, base: str) -> Iterator[FieldProblem]:
    for name, detail in _describe(error):
        place = [*error.absolute_path, *([] if name is None else [name])]
        yield FieldProblem(pointer=make_pointer(base, place), code=str(error.validator), detail=detail[:MAX_DETAIL])


def _describe(error: Any) -> Iterator[tuple[str | None, str]]:
    """Give what one error comes to: the field it is about, None for the value itself, and a sentence."""
    rule, bound = error.validator, error.validator_value
    if rule == "required":  # one error for each missing field; which one is only in its message
        yield next((name for name in bound if error.message.startswith(repr(name))), None), "This is needed."
    elif rule == "additionalProperties":
        known = error.schema.get("properties", {})
        yield from ((name, "There is no such field.") for name in error.instance if name not in known)
    elif rule in {"oneOf", "anyOf"}:
        yield None, _describe_choice(error)
    else:
        yield None, _WORDS.get(rule, "This does not fit the schema's {1}.").format(_list(bound), rule)


def _describe_choice(error: Any) -> str:
    wants = [", ".join(inner.schema.get("required", ())) for inner in error.context if inner.validator == "required"]
    if wants:
        return f"One of these is needed: {'; or '.join(dict.fromkeys(wants))}."
    return "This fits none of the allowed forms." if error.context else "This fits more than one of the allowed forms."


def _list(bound: Any) -> str:
    items: Iterable[Any] = bound if isinstance(bound, list) else [bound]
    return ", ".join(str(item) for item in items)
