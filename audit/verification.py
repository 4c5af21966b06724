"""Verify the audit trail: the ledger's chain, the store's copy event by event, and both against the chain's head."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from audit import ledger
from audit.chain import Problem, Verdict, check_chain
from audit.documents import PATIENT, open_store
from audit.lease import get_head
from audit.models import LedgerEvent
from audit.wire import chain_entry

_WINDOW: Final = 1_000


class Place(StrEnum):
    """Where a contradiction was found."""

    LEDGER = "ledger"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One contradiction: what is wrong, where, and at which event."""

    place: Place
    problem: Problem
    seq: int
    detail: str


@dataclass(slots=True, kw_only=True)
class Report:
    """What a verification came to."""

    head_seq: int
    head_hash: str
    ledger_checked: int = 0
    store_checked: int = 0
    unnumbered: int = 0
    unshipped: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def on_their_way(self) -> int:
        """Events that are not in the store yet, and need not be."""
        return self.unnumbered + self.unshipped

    @property
    def holds(self) -> bool:
        """Tell whether nothing contradicts the ledger."""
        return not self.findings


_SAYS = {
    Problem.EDITED: "was edited: its fields do not give its hash",
    Problem.MISSING: "is missing",
    Problem.ORDER: "stands out of order",
    Problem.LINK: "does not follow from the event before it",
}


def verify() -> Report:
    """Walk the ledger and the store from the first event; stop in each at the first contradiction.

    Raises: StoreUnavailable.
    """
    head = get_head()
    report = Report(head_seq=head.seq, head_hash=head.hash)
    report.unnumbered = LedgerEvent.objects.filter(seq__isnull=True).count()
    _verify_ledger(report)
    _verify_store(report, shipped_seq=head.shipped_seq)
    return report


def _verify_ledger(report: Report) -> None:
    entries = (chain_entry(document) for document in ledger.iterate_numbered(after=0, to=report.head_seq))
    verdict = check_chain(entries)
    report.ledger_checked = verdict.checked
    _judge(report, verdict, place=Place.LEDGER, end_seq=report.head_seq)


def _verify_store(report: Report, *, shipped_seq: int) -> None:
    """Check the store's chain, its agreement with the ledger, and that it holds nothing else.

    What is above `shipped_seq` at the end of the store may still be on its way.
    """
    verdict = check_chain(chain_entry(document) for document in _iterate_store(to=report.head_seq))
    if verdict.problem is Problem.MISSING and verdict.head_seq >= shipped_seq:
        verdict = replace(verdict, bad_seq=None, problem=None)  # a batch becomes visible in any order
    report.store_checked = verdict.checked
    report.unshipped = max(report.head_seq - max(verdict.head_seq, shipped_seq), 0)
    end_seq = max(shipped_seq, verdict.head_seq)
    if not _judge(report, verdict, place=Place.STORE, end_seq=end_seq):
        return
    if not _agrees_with_ledger(report, to=verdict.head_seq, hash_=verdict.head_hash):
        return
    _find_foreign(report)


def _judge(report: Report, verdict: Verdict, *, place: Place, end_seq: int) -> bool:
    """Note the first break of a chain, or that it ends too early or in another hash; tell whether it holds."""
    if verdict.bad_seq is not None and verdict.problem is not None:
        finding = _finding(place, verdict.problem, verdict.bad_seq, _SAYS[verdict.problem])
    elif verdict.head_seq < end_seq:
        detail = f"is missing, and all after it up to {end_seq}"
        finding = _finding(place, Problem.MISSING, verdict.head_seq + 1, detail)
    elif verdict.head_seq == report.head_seq and verdict.head_hash != report.head_hash:
        detail = "is the last, but its hash is not the one that the head of the chain records"
        finding = _finding(place, Problem.HEAD, verdict.head_seq, detail)
    else:
        return True
    report.findings.append(finding)
    return False


def _agrees_with_ledger(report: Report, *, to: int, hash_: str) -> bool:
    """Compare the hashes event by event if the last ones differ, to name the first that was replaced."""
    last = ledger.read_numbered(after=to - 1, to=to) if to else []
    if not to or (last and last[0]["hash"] == hash_):
        return True
    pairs = zip(ledger.iterate_numbered(after=0, to=to), _iterate_store(to=to), strict=False)
    seq = next((own["seq"] for own, copy in pairs if own["hash"] != copy["hash"]), to)
    detail = "is not the event that the ledger holds under that number"
    report.findings.append(_finding(Place.STORE, Problem.REPLACED, seq, detail))
    return False


def _find_foreign(report: Report) -> None:
    """Note what is in the store outside the numbers that the ledger gave."""
    newest_seq = get_head().seq  # read again: the sequencer goes on meanwhile
    foreign: dict[str, Any] | None = None
    with open_store(seconds=PATIENT) as collection:
        for bounds in ({"$gt": newest_seq}, {"$lt": 1}):
            foreign = foreign or collection.find_one({"seq": bounds}, {"seq": 1})
        if foreign is None and collection.estimated_document_count() > get_head().seq:
            foreign = collection.find_one({"seq": {"$not": {"$gte": 1}}}, {"seq": 1})
    if foreign is not None:
        seq = foreign.get("seq")
        detail = f"was put into the store by somebody else: id {foreign['_id']!s:.64}, number {seq!s:.64}"
        report.findings.append(_finding(Place.STORE, Problem.INSERTED, seq if isinstance(seq, int) else 0, detail))


def _iterate_store(*, to: int) -> Iterator[dict[str, Any]]:
    """Give the store's documents up to `to` in order, a bounded window in memory at a time."""
    for after in range(0, to, _WINDOW):
        with open_store(seconds=PATIENT) as collection:
            bounds = {"$gt": after, "$lte": min(after + _WINDOW, to)}
            window = list(collection.find({"seq": bounds}).sort("seq", 1))
        yield from window


def _finding(place: Place, problem: Problem, seq: int, detail: str) -> Finding:
    return Finding(place=place, problem=problem, seq=seq, detail=detail)
