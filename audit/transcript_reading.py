"""Read the store's transcripts, a part at a time."""

from dataclasses import dataclass
from typing import Any

from audit.documents import TranscriptDocument, open_store
from audit.wire import entry_to_wire


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
