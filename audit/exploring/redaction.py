"""What readers without `audit:payload` see of an event: that it was, not what it held. PURE."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_ID: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")


def redact(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event in wire form without its body."""
    return {**event, "body": None, "redacted": True}


def reveal(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event in wire form with its body, marked as whole."""
    return {**event, "redacted": False}


def is_erased(event: Mapping[str, Any]) -> bool:
    """Tell whether who acted, and what the event held, were erased for a person's sake."""
    return event.get("actor") is None


def list_ids(body: Any) -> dict[str, str]:
    """Return the ids that a body names, which are no payload: they lead to other pages."""
    named = body.items() if isinstance(body, Mapping) else ()
    return {
        name: value for name, value in named if name.endswith("Id") and isinstance(value, str) and _ID.fullmatch(value)
    }


def list_sizes(body: Any) -> list[tuple[str, int]]:
    """Return the names of a body's members and how many bytes of JSON each holds."""
    named = body.items() if isinstance(body, Mapping) else ()
    return [(str(name), len(orjson.dumps(value))) for name, value in named]
