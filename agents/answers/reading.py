"""The one JSON object that a last message is."""

import json
import re
from typing import Any

import orjson

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


class AnswerUnreadable(ValueError):
    """The text is not one JSON object that can be kept; the message tells the model what to change."""


def read_object(text: str) -> dict[str, Any]:
    """Return the object that a text is, plain or in one ``` fence.

    Raises: AnswerUnreadable.
    """
    body = text.strip()
    if fenced := _FENCED.fullmatch(body):
        body = fenced[1]
    try:
        value = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=_build_object)
        kept = orjson.dumps(value)  # refuses half characters and numbers that no store holds
    except AnswerUnreadable:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        why = str(error)[:120] or type(error).__name__
        raise AnswerUnreadable(
            f"The last message must be one JSON object and nothing around it; this one cannot be read as that ({why})."
        ) from None
    if not isinstance(value, dict):
        raise AnswerUnreadable("The last message must be a JSON object, in braces.")
    if rb"\u0000" in kept:
        raise AnswerUnreadable("The answer holds a NUL character, which cannot be stored. Leave it out.")
    return value


def _refuse_constant(name: str) -> None:
    raise AnswerUnreadable(f"{name} is no JSON. Use a number or null.")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise AnswerUnreadable(f"The key {double[:60]!r} occurs twice in one object. Give each key once.")
    return found
