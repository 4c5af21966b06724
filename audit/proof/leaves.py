"""An event as a leaf of the tree. PURE.

The leaf covers what nobody ever needs to forget, and a digest of the rest: who acted and what it held. That digest is
salted, so that it tells nothing once salt, actor and body are erased, and every proof still holds.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import orjson

from audit.proof.merkle import hash_leaf
from audit.wire import Document

PUBLIC_KEYS: Final = (
    "seq", "id", "type", "at", "taskId", "agentId", "skillId", "decision", "reason", "traceId", "causeId", "writer",
    "writerSeq", "private",
)  # fmt: skip
SALT_BYTES: Final = 16


def seal(document: Document, *, seq: int, salt: str) -> bytes:
    """Number a document, give it its salt, digest and hash, and return the hash of its leaf."""
    document["seq"] = seq
    document["salt"] = salt
    document["private"] = private_digest(document)
    leaf = leaf_hash(document)
    document["hash"] = leaf.hex()
    return leaf


def private_digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, over the canonical bytes of an event's salt, actor and body.

    Raises: TypeError or ValueError for what has no canonical bytes.
    """
    return sha256(private_bytes(document)).hexdigest()


def private_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of an event's salt, actor and body.

    Raises: TypeError or ValueError for what has none.
    """
    body = document.get("body")
    if not isinstance(body, str):
        raise TypeError("a body is canonical text")
    private = {"actor": document.get("actor"), "body": orjson.Fragment(body), "salt": document.get("salt")}
    return orjson.dumps(private)  # the keys stand in order


def leaf_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes that an event's leaf covers.

    Raises: TypeError or ValueError for what has none.
    """
    fields = {key: document.get(key) for key in PUBLIC_KEYS}
    fields["id"] = document.get("_id")
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def leaf_hash(document: Mapping[str, Any]) -> bytes:
    """Return the hash of an event's leaf (RFC 6962, section 2.1).

    Raises: TypeError or ValueError for what has no canonical bytes.
    """
    return hash_leaf(leaf_bytes(document))


def is_erased(document: Mapping[str, Any]) -> bool:
    """Tell whether the private part of an event was erased: salt, actor and body are gone together."""
    return document.get("salt") is None and document.get("actor") is None and document.get("body") is None


def is_whole(document: Mapping[str, Any]) -> bool:
    """Tell whether an event's fields give the hash that it carries, and its private part its digest."""
    try:
        if not is_erased(document) and private_digest(document) != document.get("private"):
            return False
        return leaf_hash(document).hex() == document.get("hash")
    except (TypeError, ValueError):
        return False
