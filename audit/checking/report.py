"""What a verification found: contradictions, each with its place and its narrowest range, and what to do. PURE."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final

from audit.problems import Problem

_MAX_FINDINGS: Final = 200
_NEIGHBOURS: Final = 4  # an event may have as many findings at once


class Place(StrEnum):
    """Where something contradicts what is known elsewhere."""

    LEDGER = "ledger"  # the log itself
    STORE = "store"  # its copy
    TREE = "tree"  # head and tiles
    CHECKPOINTS = "checkpoints"  # in the ledger's database
    SECOND_PLACE = "second place"
    ARCHIVES = "archives"  # what left ledger and store
    KNOWN = "known"  # a checkpoint that whoever verifies brought along


_REMEDIES: Final = {
    Place.LEDGER: "The ledger was changed from outside. Keep both databases as they are, find out who may write there, "
    "and restore the ledger from a backup; the store may still hold the right events.",
    Place.STORE: "Find out who may write to the store, then make it anew from the ledger: manage.py rebuild_audit.",
    Place.TREE: "Proofs would fail. Where the log itself holds, manage.py rebuild_audit makes its tiles anew.",
    Place.CHECKPOINTS: "Trust the checkpoints of the second place alone, and find out who may write to the ledger.",
    Place.SECOND_PLACE: "Find out who may write to the folder of checkpoints, and put its files back from a copy.",
    Place.ARCHIVES: "Put the archive back from a copy; manage.py verify_archives tells whether it is whole again.",
    Place.KNOWN: "Ask whoever gave you this checkpoint which key signed it, and of which installation it is.",
}
_OWN_REMEDIES: Final = {
    Problem.LOST: "An event was taken from the ledger before it was numbered, or its transaction lost after the commit "
    "(a database restored to an earlier moment). Compare with the state and with logs of that time.",
    Problem.FORKED: "Two histories were signed: a database was put back to an old copy, and written on. The second "
    "place holds the checkpoints of both; decide which history stands, and keep the other as evidence.",
    Problem.SHRUNKEN: "The log lacks events that were signed: restore a backup of the ledger that is newer.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One contradiction: what is wrong, where, and from which event to which, both included."""

    place: Place
    problem: Problem
    first: int
    last: int
    detail: str

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _OWN_REMEDIES.get(self.problem) or _REMEDIES[self.place]

    @property
    def breaks_log(self) -> bool:
        """Tell whether the log itself is no more what it was, so that nothing may be made anew from it."""
        return self.problem is Problem.HEAD or (self.place is Place.LEDGER and self.problem is not Problem.LOST)

    def __str__(self) -> str:
        events = f"event {self.first}" if self.first == self.last else f"events {self.first} to {self.last}"
        return f"{self.place}: {events}: {self.detail} ({self.problem})"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a verification came to. Events `since` < seq ≤ `to` were read; those before stand by a signed root."""

    since: int = 0
    to: int = 0
    head_seq: int = 0
    head_root: str = ""
    ledger_checked: int = 0
    store_checked: int = 0
    checkpoints_checked: int = 0
    exported_seq: int = 0  # what the newest sound checkpoint in the second place covers
    erased: int = 0  # events whose private part was erased
    unnumbered: int = 0
    unshipped: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0  # that were counted, and not kept
    notes: list[str] = field(default_factory=list)  # worth knowing, and no contradiction

    @property
    def holds(self) -> bool:
        """Tell whether nothing contradicts."""
        return not self.findings

    @property
    def on_their_way(self) -> int:
        """Events that are not in the store yet, and need not be."""
        return self.unnumbered + self.unshipped

    def add(self, place: Place, problem: Problem, first: int, last: int, detail: str) -> None:
        """Note a contradiction; one that goes on where another of its kind ends is one with it."""
        for at, one in enumerate(self.findings[-_NEIGHBOURS:], start=max(0, len(self.findings) - _NEIGHBOURS)):
            if (one.place, one.problem, one.detail, one.last + 1) == (place, problem, detail, first):
                self.findings[at] = Finding(place=place, problem=problem, first=one.first, last=last, detail=detail)
                return
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(place=place, problem=problem, first=first, last=last, detail=detail))
        else:
            self.more_findings += 1

    def dump(self) -> dict[str, Any]:
        """Return it as a JSON value; `remedy` is written out for each finding."""
        findings = [asdict(finding) | {"remedy": finding.remedy} for finding in self.findings]
        return {name.name: getattr(self, name.name) for name in fields(self)} | {
            "holds": self.holds,
            "findings": findings,
        }


def load_report(value: Mapping[str, Any]) -> Report:
    """Return the report behind its `dump`."""
    known = {name.name: value[name.name] for name in fields(Report) if name.name in value}
    findings = [
        Finding(
            place=Place(item["place"]),
            problem=Problem(item["problem"]),
            first=item["first"],
            last=item["last"],
            detail=item["detail"],
        )
        for item in value["findings"]
    ]
    return Report(**known | {"findings": findings})
