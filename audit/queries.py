"""Read the audit store: pages, ranges and single events, all in windows of `seq`.

The embedded server reads a whole match before it cuts it to a limit, and uses an index only where the index answers
the whole filter. So every query here is one equality at most plus a range of `seq`; the rest is sifted afterwards.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from audit.chain import hash_is_right
from audit.documents import AuditEvent, TranscriptDocument, open_store
from audit.events import EventType
from audit.exceptions import EventUnknown
from audit.wire import chain_entry, entry_to_wire, format_at, read_body, to_wire

MAX_LIMIT: Final = 1_000
_FIRST_WINDOW: Final = 1_000
_MAX_WINDOW: Final = 16_000
_MAX_READ: Final = 50_000  # documents that one page may cost; a rare combination then takes several pages
_CLOCK_SLACK: Final = timedelta(minutes=65)  # how far `at` may run against `seq`: a clock that was set back an hour
_MAX_HOLE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list is narrowed to; empty means no bound. `since` ≤ at < `until`, both aware."""

    task_id: str = ""
    agent_id: str = ""
    type: str = ""
    decision: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def equalities(self) -> list[tuple[str, str]]:
        """Return the fields that must equal a value, the most selective first."""
        wanted = (
            ("taskId", self.task_id), ("agentId", self.agent_id), ("type", self.type), ("decision", self.decision),
        )  # fmt: skip
        return [(name, value) for name, value in wanted if value]

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events in wire form, newest first; `next_before` is the cursor of the older ones, None at the end."""

    events: list[dict[str, Any]]
    next_before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One event with its place in the chain."""

    event: dict[str, Any]
    prev_hash: str
    hash_holds: bool  # the fields give the hash, and the event before carries `prev_hash`


def list_events(filters: Filters, *, before: int | None = None, limit: int = 50) -> Page:
    """Return at most `limit` events below the number `before`, newest first.

    A page may be short, even empty, and still have older ones: a rare combination is searched a part at a time.

    Raises: StoreUnavailable.
    """
    below = min(before, get_head_seq() + 1) if before is not None else get_head_seq() + 1
    lowest, below = _bound_by_time(filters, below=below)
    found: list[dict[str, Any]] = []
    read = 0
    for lower, upper in _windows(below, lowest, first=_first_window(filters, limit=limit, whole=below)):
        documents = _read_window(filters, lower=lower, upper=upper, limit=limit + 1 - len(found))
        read += len(documents)
        found += [document for document in documents if _matches(document, filters)]
        if len(found) > limit:
            return Page(events=[to_wire(document) for document in found[:limit]], next_before=found[limit - 1]["seq"])
        if read >= _MAX_READ and lower > lowest:
            return Page(events=[to_wire(document) for document in found], next_before=lower)
    return Page(events=[to_wire(document) for document in found], next_before=None)


def read_range(*, after: int, to: int, limit: int = 500) -> list[dict[str, Any]]:
    """Return the events `after` < seq ≤ `to`, oldest first, out of at most `limit` numbers.

    Raises: StoreUnavailable.
    """
    return [to_wire(document) for document in _find(seq={"$gt": after, "$lte": min(to, after + limit)}, order="seq")]


def read_task(task_id: str, *, after: int = 0) -> list[dict[str, Any]]:
    """Return a task's events with a number above `after`, oldest first.

    Raises: StoreUnavailable.
    """
    return [to_wire(document) for document in _find(seq={"$gt": after}, order="seq", equality={"taskId": task_id})]


def find_decision_seqs(task_id: str) -> dict[str, int]:
    """Return the numbers of the events that record a task's decisions, by the decision's id.

    Raises: StoreUnavailable.
    """
    with open_store() as collection:
        found = collection.find({"taskId": task_id, "seq": {"$gt": 0}}, {"seq": 1, "type": 1, "body": 1})
        decisions = [document for document in found if document.get("type") == EventType.DECISION_MADE]
    bodies = ((document["seq"], read_body(document.get("body"))) for document in decisions)
    return {str(body["decisionId"]): seq for seq, body in bodies if "decisionId" in body}


def get_event(seq: int) -> dict[str, Any]:
    """Return the event numbered `seq`.

    Raises: EventUnknown; StoreUnavailable.
    """
    return get_entry(seq).event


def get_entry(seq: int) -> Entry:
    """Return the event numbered `seq` with its place in the chain, its hash computed anew.

    Raises: EventUnknown; StoreUnavailable.
    """
    pair = _find(seq={"$gte": seq - 1, "$lte": seq}, order="-seq")
    if not pair or pair[0]["seq"] != seq:
        raise EventUnknown(f"there is no event {seq} in the audit store")
    entry = chain_entry(pair[0])
    prev_hash = str(entry["prevHash"])
    follows = seq == 1 or (len(pair) > 1 and pair[1].get("hash") == prev_hash)
    holds = follows and hash_is_right(entry, prev_hash=prev_hash)
    return Entry(event=to_wire(pair[0]), prev_hash=prev_hash, hash_holds=holds)


class _Head:
    """The highest number that this process has seen: to ask for higher ones costs the embedded server little."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0

    def advance(self) -> int:
        newer = _find(seq={"$gt": self._seq}, order="-seq", limit=1)
        with self._lock:
            if newer:
                self._seq = max(self._seq, newer[0]["seq"])
            return self._seq

    def forget(self) -> None:
        with self._lock:
            self._seq = 0


_head = _Head()


def get_head_seq() -> int:
    """Return the highest number in the store, 0 if it is empty; never lower than this process has seen.

    Raises: StoreUnavailable.
    """
    return _head.advance()


def forget_head() -> None:
    """Forget the highest number seen: the store is another one now."""
    _head.forget()


def _first_window(filters: Filters, *, limit: int, whole: int) -> int:
    if filters.task_id:
        return whole  # a task has few events
    return _FIRST_WINDOW if filters else limit + 1


def _windows(below: int, lowest: int, *, first: int) -> Iterator[tuple[int, int]]:
    """Give ever larger windows, lower ≤ seq < upper, newest first."""
    size = first
    while below > lowest:
        lower = max(below - size, lowest)
        yield lower, below
        below, size = lower, min(size * 4, _MAX_WINDOW)


def _read_window(filters: Filters, *, lower: int, upper: int, limit: int) -> list[dict[str, Any]]:
    equalities = filters.equalities()
    sifted = len(equalities) > 1 or filters.since or filters.until
    return _find(
        seq={"$gte": lower, "$lt": upper}, order="-seq", equality=dict(equalities[:1]), limit=0 if sifted else limit
    )


def _matches(document: Mapping[str, Any], filters: Filters) -> bool:
    if any(document.get(name) != value for name, value in filters.equalities()):
        return False
    at = document["at"]
    if filters.since and at < format_at(filters.since):
        return False
    return not (filters.until and at >= format_at(filters.until))


def _bound_by_time(filters: Filters, *, below: int) -> tuple[int, int]:
    """Return the lowest number and the bound above that can hold events of the wanted time."""
    lowest = 1
    if filters.since:
        lowest = _first_at_or_after(format_at(filters.since - _CLOCK_SLACK), below=below)
    if filters.until:
        below = _first_at_or_after(format_at(filters.until + _CLOCK_SLACK), below=below)
    return lowest, below


def _first_at_or_after(at: str, *, below: int) -> int:
    """Return, by halving, the lowest number whose event is not before `at`; `below` if there is none."""
    low, high = 1, below
    while low < high:
        middle = (low + high) // 2
        nearest = _find(seq={"$gte": middle, "$lt": min(high, middle + 1)}, order="seq") or _find(
            seq={"$gte": middle, "$lt": min(high, middle + _MAX_HOLE)}, order="seq", limit=1
        )
        if nearest and nearest[0]["at"] < at:
            low = nearest[0]["seq"] + 1
        else:
            high = middle
    return low


def _find(
    *, seq: Mapping[str, int], order: str, equality: Mapping[str, str] | None = None, limit: int = 0
) -> list[dict[str, Any]]:
    with open_store():
        found = AuditEvent.objects(__raw__={**(equality or {}), "seq": seq}).order_by(order)
        return list((found.limit(limit) if limit else found).as_pymongo())


# --- transcripts ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A part of a task's transcript in wire form, oldest first; `next_after` goes on after it, None at the end."""

    entries: list[dict[str, Any]]
    next_after: int | None


def read_transcript(task_id: str, *, after: int = 0, limit: int = 200, max_bytes: int = 4_000_000) -> Transcript:
    """Return a task's entries with an `n` above `after`: `limit` at most, fewer when they are large, one at least.

    Raises: StoreUnavailable.
    """
    asked = {"taskId": task_id, "n": {"$gt": after}}
    with open_store(TranscriptDocument) as collection:
        sizes = list(collection.find(asked, {"n": 1, "size": 1}).sort("n", 1).limit(limit + 1))
        wanted = _cut_to(sizes[:limit], max_bytes=max_bytes)
        if not wanted:
            return Transcript(entries=[], next_after=None)
        window = {"taskId": task_id, "n": {"$gt": after, "$lte": wanted[-1]}}
        entries = [entry_to_wire(document) for document in collection.find(window).sort("n", 1)]
    return Transcript(entries=entries, next_after=wanted[-1] if len(sizes) > len(wanted) else None)


def _cut_to(sizes: list[dict[str, Any]], *, max_bytes: int) -> list[int]:
    """Return the numbers of the first entries, as many as their bodies leave room for."""
    wanted: list[int] = []
    total = 0
    for document in sizes:
        total += document.get("size", 0)
        if wanted and total > max_bytes:
            break
        wanted.append(document["n"])
    return wanted
