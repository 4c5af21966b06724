"""Search the trail, newest first, in windows of numbers; a rare thing is searched for a part at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from time import monotonic
from typing import Any, Final

from audit.exploring.filters import Filters, name_actor
from audit.exploring.queries import find, get_head_seq
from audit.lease import get_head
from audit.wire import format_at, to_wire

MAX_LIMIT: Final = 1_000
_FIRST_WINDOW: Final = 1_000
_MAX_WINDOW: Final = 16_000
_MAX_READ: Final = 50_000  # documents that one page may cost
_MAX_SECONDS: Final = 1.0
_CLOCK_SLACK: Final = timedelta(minutes=65)  # how far `at` may run against `seq`: a clock that was set back an hour
_MAX_HOLE: Final = 1_000

Branch = tuple[str, str]  # a field and the value that it equals, as one index answers it


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events in wire form, newest first; `next_before` is the cursor of the older ones, None at the end.

    The search covered the numbers `lowest` ≤ seq < `below`, and has looked through those from `reached` on.
    """

    events: list[dict[str, Any]]
    next_before: int | None
    lowest: int = 1
    reached: int = 1
    below: int = 1
    is_partial: bool = False  # it stopped for its length, not because the page was full


EMPTY: Final = Page(events=[], next_before=None)


def list_events(filters: Filters, *, before: int | None = None, limit: int = 50) -> Page:
    """Return at most `limit` events below the number `before`, newest first.

    A page may be short, even empty, and still have older ones: then `is_partial`.

    Raises: StoreUnavailable.
    """
    lowest, below = find_bounds(filters, before=before)
    branches, first = _find_branches(filters, below=below)
    found: list[dict[str, Any]] = []
    read, give_up_at = 0, monotonic() + _MAX_SECONDS
    for lower, upper in _windows(below, lowest, first=first or limit + 1):
        wanted = limit + 1 - len(found) if filters.is_sole else 0
        documents = _read_window(branches, lower=lower, upper=upper, limit=wanted)
        read += len(documents)
        found += [document for document in documents if filters.match(document)]
        if len(found) > limit:
            return _make_page(found[:limit], lowest=lowest, reached=found[limit - 1]["seq"], below=below)
        if lower > lowest and (read >= _MAX_READ or monotonic() > give_up_at):
            return _make_page(found, lowest=lowest, reached=lower, below=below, is_partial=True)
    return _make_page(found, lowest=lowest, reached=lowest, below=below)


def _make_page(
    documents: list[dict[str, Any]], *, lowest: int, reached: int, below: int, is_partial: bool = False
) -> Page:
    return Page(
        events=[to_wire(document) for document in documents],
        next_before=reached if reached > lowest else None,
        lowest=lowest,
        reached=reached,
        below=below,
        is_partial=is_partial,
    )


def find_bounds(filters: Filters, *, before: int | None) -> tuple[int, int]:
    """Return the lowest number, and the bound above, that can hold what is wanted.

    Raises: StoreUnavailable.
    """
    lowest, end = get_head().archived_seq + 1, get_head_seq() + 1
    below = min(before, end) if before is not None else end
    if filters.seq is not None:
        return max(lowest, filters.seq), min(below, filters.seq + 1)
    if filters.since:
        lowest = _first_at_or_after(format_at(filters.since - _CLOCK_SLACK), lowest=lowest, below=below)
    if filters.until:
        below = _first_at_or_after(format_at(filters.until + _CLOCK_SLACK), lowest=lowest, below=below)
    return lowest, below


def _find_branches(filters: Filters, *, below: int) -> tuple[list[Branch], int]:
    """Return the equalities of which one must hold, and the size of the first window, 0 for what a page takes.

    What has few events is looked for in the whole trail at once; none of the branches is every event.
    """
    if filters.text and filters.seq is None:
        anywhere = [("ids", filters.text), ("taskId", filters.text)]
        if any(find(seq={"$gt": 0}, order="seq", equality=dict([branch]), limit=1) for branch in anywhere):
            return anywhere, below
        return [(name, filters.text) for name in ("agentId", "skillId")] + [
            ("actor", name_actor(filters.text))
        ], _FIRST_WINDOW
    if filters.task_id:
        return filters.equalities()[:1], below
    if filters.equalities():
        return filters.equalities()[:1], _FIRST_WINDOW
    if filters.agents is not None or filters.is_noun:
        name, values = ("agentId", filters.agents) if filters.agents is not None else ("type", filters.types)
        return [(name, value) for value in values], _FIRST_WINDOW
    return [], _FIRST_WINDOW if filters else 0


def _windows(below: int, lowest: int, *, first: int) -> Iterator[tuple[int, int]]:
    """Give ever larger windows, lower ≤ seq < upper, newest first."""
    size = first
    while below > lowest:
        lower = max(below - size, lowest)
        yield lower, below
        below, size = lower, min(size * 4, _MAX_WINDOW)


def _read_window(branches: Sequence[Branch], *, lower: int, upper: int, limit: int) -> list[dict[str, Any]]:
    """Return what the window holds of the branches, each document once, newest first; `limit` 0 is all."""
    seq = {"$gte": lower, "$lt": upper}
    if len(branches) < 2:
        return find(seq=seq, order="-seq", equality=dict(branches), limit=limit)
    found = [find(seq=seq, order="-seq", equality=dict([branch]), limit=limit) for branch in branches]
    by_seq = {document["seq"]: document for documents in found for document in documents}
    return sorted(by_seq.values(), key=itemgetter("seq"), reverse=True)


def _first_at_or_after(at: str, *, lowest: int, below: int) -> int:
    """Return, by halving, the lowest number whose event is not before `at`; `below` if there is none."""
    low, high = lowest, below
    while low < high:
        middle = (low + high) // 2
        nearest = find(seq={"$gte": middle, "$lt": min(high, middle + 1)}, order="seq") or find(
            seq={"$gte": middle, "$lt": min(high, middle + _MAX_HOLE)}, order="seq", limit=1
        )
        if nearest and nearest[0]["at"] < at:
            low = nearest[0]["seq"] + 1
        else:
            high = middle
    return low
