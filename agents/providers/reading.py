"""How what a model wrote is read, whichever vendor brought it. PURE."""

from typing import Any, Final

import orjson

from agents.providers.base import ToolCall

_UNREADABLE: Final = "unreadable"


def read_arguments(raw: str) -> dict[str, Any] | None:
    """Return a tool call's arguments, None if `raw` is no JSON object; nothing at all is an empty object."""
    try:
        found = orjson.loads(raw or "{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def make_call(*, call_id: str, name: str, raw: str) -> ToolCall:
    """Return the call of a tool with arguments that were written as `raw`."""
    arguments = read_arguments(raw)
    return ToolCall(id=call_id, name=name, arguments=arguments, raw=raw if arguments is None else "")


def write_arguments(call: ToolCall) -> dict[str, Any]:
    """Return the arguments to hand back as the model's own, with what could not be read shown as such.

    Servers that put a conversation into a template fail on arguments that are no JSON object.
    """
    return {_UNREADABLE: call.raw} if call.arguments is None else dict(call.arguments)


def clean_text(text: str) -> str:
    """Return `text` with surrogates joined to the characters that a stream cut in two, lone ones replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean(value: Any) -> Any:
    """Return a JSON value with all its texts cleaned, so that it can be stored and sent again."""
    match value:
        case str():
            return clean_text(value)
        case list():
            return [clean(part) for part in value]
        case dict():
            return {clean_text(key): clean(part) for key, part in value.items()}
    return value
