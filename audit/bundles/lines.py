"""A bundle's lines: what `verify_trail.py` reads. PURE.

    {"format":"audit-trail-bundle/1","after":…,"to":…,"left":[…],"right":[…],"checkpoint":"…",…}
    {"event":{…},"hash":"…","private":{"actor":…,"body":…,"salt":…}}      once for each event, in order
    {"checkpoint":"…"}                                                    after the event at which it was signed
    {"end":"…"}                                                           digest of all lines before

What stands after "event" and after "private" are the very bytes that were hashed, so a reader need not know how to
write JSON in its canonical form.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import orjson

from audit.proof.leaves import is_erased, leaf_bytes, private_bytes

BUNDLE: Final = "audit-trail-bundle/1"
EVENT_PROOF: Final = "audit-trail-event-proof/1"


def split_range(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Give first leaf and width of the full subtrees that lead from `start` leaves to `end`, each the largest.

    There is one such split: leaves of a tree in which two subtrees of one width stand side by side are one subtree.
    """
    while start < end:
        width = start & -start or 1 << end.bit_length()
        while width > end - start:
            width >>= 1
        yield start, width
        start += width


def write_line(value: Mapping[str, Any]) -> bytes:
    """Return a line that is not an event's."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def write_event(document: Mapping[str, Any], *, redacted: bool) -> bytes:
    """Return an event's line; one that was tampered with is written so that it is found, and never breaks the line."""
    private = b"null" if redacted or is_erased(document) else _private(document)
    stated = orjson.dumps(str(document.get("hash")))
    return b'{"event":%b,"hash":%b,"private":%b}\n' % (_leaf(document), stated, private)


def _leaf(document: Mapping[str, Any]) -> bytes:
    try:
        return leaf_bytes(document)
    except (TypeError, ValueError):
        return orjson.dumps({"seq": document.get("seq"), "unreadable": repr(document)}, default=repr)


def _private(document: Mapping[str, Any]) -> bytes:
    """Return the bytes that were hashed; if they are others now, then what is there as harmless texts."""
    try:
        data = private_bytes(document)
        if sha256(data).hexdigest() == document.get("private"):
            return data
    except (TypeError, ValueError):
        pass
    return orjson.dumps({key: str(document.get(key)) for key in ("actor", "body", "salt")})
