"""The two written forms of an event: as a document in the store, and on the wire. PURE."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from audit.chain import event_hash

# A document holds what the hash covers, with the body as its canonical text: BSON would widen integers,
# refuse NUL in keys, and cut times to milliseconds.
Document = dict[str, Any]

WIRE_KEYS = (
    "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "body", "hash",
)  # fmt: skip
_HASHED_TEXTS = ("type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason")


def format_at(at: datetime) -> str:
    """Return a time as ISO 8601 UTC with microseconds and "Z"; a naive time is taken as UTC."""
    naive = at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(timespec="microseconds") + "Z"


def hashed_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event's hash covers, all but `prevHash`, from its document."""
    fields = {key: document.get(key) for key in _HASHED_TEXTS}
    fields["seq"] = document.get("seq")
    fields["id"] = document.get("_id")
    body = document.get("body")
    fields["body"] = orjson.Fragment(body) if isinstance(body, str) else body
    return fields


def seal(document: Document, *, seq: int, prev_hash: str) -> str:
    """Number a document, chain it to the event before, and return its hash."""
    document["seq"] = seq
    document["prevHash"] = prev_hash
    document["hash"] = event_hash(prev_hash, hashed_fields(document))
    return str(document["hash"])


def chain_entry(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document as `chain.check_chain` reads it."""
    return hashed_fields(document) | {"prevHash": document.get("prevHash"), "hash": document.get("hash")}


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
    """Return the body behind its canonical text; a text that was tampered with is shown as it is."""
    try:
        return orjson.loads(text)
    except (TypeError, ValueError):
        return {"unreadable": str(text)}
