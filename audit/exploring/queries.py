"""Read the audit store by number: ranges, single events, a task's, and where the trail begins and ends.

The embedded server reads a whole match before it cuts it to a limit, and uses an index only where the index answers
the whole filter. So every query here is one equality at most plus a range of `seq`; the rest is sifted afterwards.
"""

import threading
from collections.abc import Mapping
from typing import Any, Final

from django.db import connection

from audit.documents import AuditEvent, open_store
from audit.events import EventType
from audit.exceptions import EventUnknown
from audit.ids import span_of
from audit.lease import get_head
from audit.models import LedgerEvent
from audit.retention.archives import find_archived
from audit.wire import read_body, to_wire

_MAX_RELATED: Final = 50  # causes, effects and neighbours that a page shows


def read_range(*, after: int, to: int, limit: int = 500) -> list[dict[str, Any]]:
    """Return the events `after` < seq ≤ `to`, oldest first, out of at most `limit` numbers.

    Raises: StoreUnavailable.
    """
    return [to_wire(document) for document in find(seq={"$gt": after, "$lte": min(to, after + limit)}, order="seq")]


def read_task(task_id: str, *, after: int = 0) -> list[dict[str, Any]]:
    """Return a task's events with a number above `after`, oldest first.

    Raises: StoreUnavailable.
    """
    return [to_wire(document) for document in find(seq={"$gt": after}, order="seq", equality={"taskId": task_id})]


def find_numbered(prefix: str, *, limit: int) -> list[tuple[int, str]]:
    """Return number and type of events whose id begins so, newest first, as far as the ledger still holds them."""
    try:
        span = span_of(prefix)
    except ValueError:
        return []
    rows = LedgerEvent.objects.filter(event_id__range=span, seq__isnull=False).order_by("-event_id")
    return [(seq, type_) for seq, type_ in rows.values_list("seq", "type")[:limit] if seq is not None]


def find_decision_seqs(task_id: str) -> dict[str, int]:
    """Return the numbers of the events that record a task's decisions, by the decision's id.

    Raises: StoreUnavailable.
    """
    with open_store() as collection:
        found = collection.find({"taskId": task_id, "seq": {"$gt": 0}}, {"seq": 1, "type": 1, "body": 1})
        decisions = [document for document in found if document.get("type") == EventType.DECISION_MADE]
    bodies = ((document["seq"], read_body(document.get("body"))) for document in decisions)
    return {str(body["decisionId"]): seq for seq, body in bodies if body and "decisionId" in body}


def get_document(seq: int) -> dict[str, Any]:
    """Return the event numbered `seq` as the store holds it.

    Raises: EventUnknown; EventArchived; StoreUnavailable.
    """
    found = find(seq={"$gte": seq, "$lte": seq}, order="seq")
    if not found:
        raise find_archived(seq) or EventUnknown(f"there is no event {seq} in the audit store")
    return found[0]


def get_event(seq: int) -> dict[str, Any]:
    """Return the event numbered `seq`.

    Raises: EventUnknown; StoreUnavailable.
    """
    return to_wire(get_document(seq))


def find_by_id(event_id: str) -> dict[str, Any] | None:
    """Return the event with this id, None if the store holds none.

    Raises: StoreUnavailable.
    """
    with open_store() as collection:
        document = collection.find_one({"_id": event_id})
    return to_wire(document) if document else None


def list_carrying(id_: str) -> list[dict[str, Any]]:
    """Return the oldest events that carry an id anywhere, at most 50.

    Raises: StoreUnavailable.
    """
    found = find(seq={"$gt": 0}, order="seq", equality={"ids": id_}, limit=_MAX_RELATED)
    return [to_wire(document) for document in found]


class _Head:
    """The highest number known here or to the ledger: to ask for higher ones costs the embedded server little.

    To ask for those above a number of hours ago would have it read all that came since.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0

    def advance(self) -> int:
        known = max(self._seq, _read_shipped_seq())
        newer = find(seq={"$gt": known}, order="-seq", limit=1)
        with self._lock:
            self._seq = max(self._seq, newer[0]["seq"] if newer else known)
            return self._seq

    def forget(self) -> None:
        with self._lock:
            self._seq = 0


def _read_shipped_seq() -> int:
    """Ask the ledger; a connection that was opened for it is closed, for on the hub's threads nobody else would."""
    was_open = connection.connection is not None
    try:
        return get_head().shipped_seq
    finally:
        if not was_open:
            connection.close()


_head = _Head()


def get_head_seq() -> int:
    """Return the highest number in the store, 0 if it is empty; never lower than this process has seen.

    Raises: StoreUnavailable.
    """
    return _head.advance()


def forget_head() -> None:
    """Forget the highest number seen: the store is another one now."""
    _head.forget()


def find(
    *, seq: Mapping[str, int], order: str, equality: Mapping[str, str] | None = None, limit: int = 0
) -> list[dict[str, Any]]:
    """Return documents of a range of numbers that equal one value, in order; `limit` 0 is all.

    Raises: StoreUnavailable.
    """
    with open_store():
        found = AuditEvent.objects(__raw__={**(equality or {}), "seq": seq}).order_by(order)
        return list((found.limit(limit) if limit else found).as_pymongo())
