"""The two written forms of an event: as a document in the store, and on the wire. PURE."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

# A document holds what its hash covers, with the body as its canonical text: BSON would widen integers, refuse NUL in
# keys, and cut times to milliseconds.
Document = dict[str, Any]

WIRE_KEYS = (
    "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "traceId", "causeId",
    "body", "hash",
)  # fmt: skip


def format_at(at: datetime) -> str:
    """Return a time as ISO 8601 UTC with microseconds and "Z"; a naive time is taken as UTC."""
    naive = at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(timespec="microseconds") + "Z"


def to_wire(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as the API, the feed and the export show it."""
    wire = {key: document.get(key) for key in WIRE_KEYS}
    wire["id"] = document.get("_id")
    wire["body"] = read_body(document.get("body"))
    return wire


def entry_to_wire(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of a transcript as the API, the task page and the export show it."""
    return {
        "n": document.get("n"),
        "id": document.get("_id"),
        "at": document.get("at"),
        "kind": document.get("kind"),
        "body": read_body(document.get("body")),
    }


def read_body(text: Any) -> Any:
    """Return the body behind its canonical text, None once erased; what was tampered with is shown as it is."""
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except (TypeError, ValueError):
        return {"unreadable": str(text)}
