"""Identifiers: time-ordered, so that an index on them grows at one end."""

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

_IN_BODY: Final = re.compile(r'"([a-z][A-Za-z]*Id)":"([a-zA-Z0-9._-]{1,64})"')
_NAMES: Final = frozenset({"agentId", "skillId"})  # an event has fields of these, found by indexes of their own
_MAX_IDS: Final = 24


def new_id() -> str:
    """Return 32 hex digits: 48 bits of Unix milliseconds, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def collect_ids(document: Mapping[str, Any]) -> list[str]:
    """Return the ids that an event's document is found by: its own, its cause's, its trace's, and those in its body.

    A body's are its members `…Id`, at any depth, at most 24 in all; its task has a field with an index of its own.
    """
    body = document.get("body")
    named = [value for name, value in _IN_BODY.findall(body) if name not in _NAMES] if isinstance(body, str) else []
    own = (document.get("_id"), document.get("causeId"), document.get("traceId"))
    return list(dict.fromkeys(str(id_) for id_ in (*own, *named) if id_))[:_MAX_IDS]
