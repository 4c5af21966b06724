"""Identifiers: time-ordered, so that an index on them grows at one end."""

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

_IN_BODY: Final = re.compile(r'"([a-z][A-Za-z]*Id)":"([a-zA-Z0-9._-]{1,64})"')
_NAMES: Final = frozenset({"agentId", "skillId"})  # an event has fields of these, found by indexes of their own
_MAX_IDS: Final = 24
_LENGTH: Final = 32
_PREFIX: Final = re.compile(r"[0-9a-f]{1,32}")


def new_id() -> str:
    """Return 32 hex digits: 48 bits of Unix milliseconds, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def span_of(prefix: str) -> tuple[str, str]:
    """Return the lowest and the highest id that begin so: an index finds what lies between, in every collation.

    Raises: ValueError unless the prefix is 1 to 32 hex digits in lower case.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("no beginning of an id")
    return prefix.ljust(_LENGTH, "0"), prefix.ljust(_LENGTH, "f")


def collect_ids(document: Mapping[str, Any]) -> list[str]:
    """Return the ids that an event's document is found by: its own, its cause's, its trace's, and those in its body.

    A body's are its members `…Id`, at any depth, at most 24 in all; its task has a field with an index of its own.
    """
    body = document.get("body")
    named = [value for name, value in _IN_BODY.findall(body) if name not in _NAMES] if isinstance(body, str) else []
    own = (document.get("_id"), document.get("causeId"), document.get("traceId"))
    return list(dict.fromkeys(str(id_) for id_ in (*own, *named) if id_))[:_MAX_IDS]
