"""Walk ledger and store side by side, and judge each event: whole, in its place, the same in both."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from django.conf import settings

from audit import ledger
from audit.checking.report import Place, Report
from audit.checking.writers import WriterCounts
from audit.documents import PATIENT, open_store
from audit.problems import Problem
from audit.proof.leaves import is_erased, leaf_hash, private_digest
from audit.retention.erasures import is_named, read_erased
from audit.wire import Document

_EDITED: Final = "its fields do not give its hash"
_ERASED: Final = "its actor and body were taken out, and no erasure on record says so"
_MISSING: Final = "it is not there"


@dataclass(slots=True, kw_only=True)
class Silences:
    """Times, each over three beats of the sequencer, in which not even one of those was recorded."""

    limit: timedelta = field(default_factory=lambda: timedelta(seconds=3 * settings.AUDIT_HEARTBEAT_SECONDS))
    count: int = 0
    longest: tuple[timedelta, datetime | None] = (timedelta(0), None)
    _last_at: datetime | None = None

    def see(self, at: datetime) -> None:
        """Take the time of the next event."""
        if self._last_at and at - self._last_at > self.limit:
            self.count += 1
            self.longest = max(self.longest, (at - self._last_at, self._last_at), key=itemgetter(0))
        self._last_at = max(at, self._last_at or at)

    def describe(self) -> Iterator[str]:
        """Give a sentence, if there is anything to say."""
        if self.count:
            length, since = self.longest
            seconds = int(length.total_seconds())
            times = "once" if self.count == 1 else f"{self.count} times"
            yield (
                f"{times} nothing was recorded for over {self.limit.seconds} s, not even a beat of the sequencer; the "
                f"longest was {seconds} s, from {since:%Y-%m-%d %H:%M} UTC. It did not run then"
            )


@dataclass(slots=True, kw_only=True)
class Events:
    """Judges the events of a range. `store` is whether the copy is read too; it is whole up to `shipped_seq`."""

    report: Report
    writers: WriterCounts
    shipped_seq: int
    store: bool = True
    silences: Silences = field(default_factory=Silences)
    erasures: Sequence[range] = ()

    def walk(self, *, after: int, to: int, kept: Callable[[int], bytes | None]) -> list[bytes | None]:
        """Judge the events `after` < seq ≤ `to` and return their leaves.

        Where an event is no more what it was, its leaf is what the tree has `kept` for it or the other copy gives, so
        that one contradiction does not bring others after it; None where that is not known either.

        Raises: StoreUnavailable.
        """
        rows = _Numbered(ledger.iterate_numbered(after=after, to=to))
        copies = _Numbered(iterate_store(after=after, to=to) if self.store else iter(()))
        leaves = []
        for seq in range(after + 1, to + 1):
            own, held = rows.take(seq), copies.take(seq)
            row = own[0] if len(own) == 1 else self._judge_number(own, seq, place=Place.LEDGER)
            leaf = self._judge_row(row, seq) if row is not None else None
            other = self._judge_copies(held, row, leaf, seq) if self.store else None
            leaves.append(leaf or kept(seq) or other)
        return leaves

    def _judge_number(self, found: Sequence[Document], seq: int, *, place: Place) -> Document | None:
        """Note that a number is not there, or there more than once; return the event to go on with."""
        if found:
            self.report.add(place, Problem.ORDER, seq, seq, f"{len(found)} events stand under this number")
            return found[0]
        self.report.add(place, Problem.MISSING, seq, seq, _MISSING)
        return None

    def _judge_row(self, row: Document, seq: int) -> bytes | None:
        self.report.ledger_checked += 1
        at = read_at(row["at"])
        if at is not None:
            self.silences.see(at)
        leaf = _whole_leaf(row)
        if leaf is None:
            self.report.add(Place.LEDGER, Problem.EDITED, seq, seq, _EDITED)
            return None
        if row["writer"] and at is not None:
            self.writers.see(row["writer"], row["writerSeq"], seq=seq, at=at)
        if row["salt"] is None:
            self._judge_erasure(seq)
        return leaf

    def _judge_erasure(self, seq: int) -> None:
        self.report.erased += 1
        if not is_named(seq, self.erasures):
            self.erasures = read_erased()  # one may have been decided since
        if not is_named(seq, self.erasures):
            self.report.add(Place.LEDGER, Problem.ERASED, seq, seq, _ERASED)

    def _judge_copies(
        self, held: Sequence[Document], row: Document | None, leaf: bytes | None, seq: int
    ) -> bytes | None:
        """Judge what the store holds under a number; return its leaf if it is whole."""
        if not held:
            if seq <= self.shipped_seq:
                self.report.add(Place.STORE, Problem.MISSING, seq, seq, _MISSING)
            return None
        copy = held[0]
        if len(held) > 1:
            self._judge_number(held, seq, place=Place.STORE)
        self.report.store_checked += 1
        if leaf is not None and row is not None and is_same(copy, row):
            return leaf
        other = _whole_leaf(copy) if _are_integers(copy) else None
        if other is None:
            self.report.add(Place.STORE, Problem.EDITED, seq, seq, _EDITED)
        elif leaf is not None and other != leaf:
            detail = "it is not the event that the ledger holds under this number"
            self.report.add(Place.STORE, Problem.REPLACED, seq, seq, detail)
        elif row is not None and leaf is not None:
            self._judge_difference(copy, row, seq)
        return other

    def _judge_difference(self, copy: Document, row: Document, seq: int) -> None:
        """Two whole events of one leaf differ: one of them is erased, or bears what the leaf does not cover."""
        if is_erased(copy) and not is_erased(row):
            self.report.add(Place.STORE, Problem.ERASED, seq, seq, _ERASED)
        elif is_erased(row):
            self.report.notes.append(f"event {seq} is erased in one place only: an erasure is going on, or was cut off")
        else:
            self.report.add(Place.STORE, Problem.EDITED, seq, seq, "it holds fields that no event has")


class _Numbered:
    """Takes documents, which come in the order of their numbers, by number."""

    def __init__(self, documents: Iterator[Document]) -> None:
        self._documents = documents
        self._next = next(documents, None)

    def take(self, seq: int) -> list[Document]:
        """Return the documents up to number `seq` that were not taken yet."""
        taken = []
        while self._next is not None and self._next["seq"] <= seq:
            taken.append(self._next)
            self._next = next(self._documents, None)
        return taken


def iterate_store(*, after: int, to: int) -> Iterator[Document]:
    """Give the store's documents up to `to` in order.

    Raises: StoreUnavailable.
    """
    with open_store(seconds=PATIENT) as collection:
        yield from collection.find({"seq": {"$gt": after, "$lte": to}}).sort("seq", 1)


def read_at(text: Any) -> datetime | None:
    """Return the time of an event, None if it was made unreadable."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else None


def _whole_leaf(document: Document) -> bytes | None:
    """Return an event's leaf if its fields give the hash that it carries, and its private part the digest."""
    try:
        if not is_erased(document) and private_digest(document) != document.get("private"):
            return None
        leaf = leaf_hash(document)
    except (TypeError, ValueError):
        return None
    return leaf if leaf.hex() == document.get("hash") else None


def is_same(copy: Document, row: Document) -> bool:
    """Tell whether the store's document is that of the ledger, member by member."""
    return copy == row and _are_integers(copy)


def _are_integers(document: Document) -> bool:
    """Tell whether the numbers are integers: in Python 3.0 and True would equal 3 and 1."""
    return type(document.get("seq")) is int and type(document.get("writerSeq")) in (int, type(None))
