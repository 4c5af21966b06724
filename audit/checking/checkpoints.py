"""Hold the signed checkpoints against the log: who signed them, and whether the events still give their roots."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from audit.checking.report import Place, Report
from audit.checking.second_place import SecondPlace, is_torn
from audit.models import Checkpoint
from audit.problems import Problem
from audit.proof.notes import CheckpointInvalid, open_note, split_notes
from audit.proof.rotation import TrustedKey
from audit.wire import format_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A note found somewhere that says that the log had `size` events."""

    place: Place
    size: int
    note: str
    source: str = ""  # file or row, for a person to find it


def read_rows(*, after: int, to: int) -> list[Checkpoint]:
    """Return the database's checkpoints with `after` < size ≤ `to`, the smallest first."""
    return list(Checkpoint.objects.filter(size__gt=after, size__lte=to).order_by("size"))


def claims_of_rows(rows: Iterable[Checkpoint]) -> Iterator[Claim]:
    """Give what the database's rows claim."""
    return (Claim(place=Place.CHECKPOINTS, size=row.size, note=row.note, source=row.root) for row in rows)


def claims_of_folder(folder: SecondPlace, *, after: int, to: int) -> Iterator[Claim]:
    """Give what the second place claims."""
    for size, note, source in folder.read(after=after, to=to):
        yield Claim(place=Place.SECOND_PLACE, size=size, note=note, source=source)


def claims_of_file(path: Path) -> list[Claim]:
    """Return what a file of notes claims, as it is brought along by whoever verifies.

    Raises: OSError; ValueError if it holds no note.
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        notes = [note for _, note in split_notes(file)]
    if not notes:
        raise ValueError(f"{path} holds no checkpoint")
    lines = [note.split("\n", 2)[1:2] for note in notes]
    sizes = [int(line[0]) if line and line[0].isdecimal() else 0 for line in lines]
    return [
        Claim(place=Place.KNOWN, size=size, note=note, source=path.name)
        for size, note in zip(sizes, notes, strict=True)
    ]


@dataclass(slots=True, kw_only=True)
class Judge:
    """Opens claims and keeps what they come to: which signed roots the log gives, and which it does not."""

    report: Report
    keys: Sequence[TrustedKey]
    good_size: int = 0  # the largest that the log gives, before the first that it does not
    bad: tuple[int, datetime] | None = None  # the first that it does not give
    good_after_bad: int = 0
    beyond: tuple[int, datetime] | None = None  # the largest of more events than the log has
    _newest: tuple[str, tuple[int, bytes, datetime] | None] = ("", None)

    def open(self, claim: Claim) -> tuple[int, bytes, datetime] | None:
        """Return size, root and time of a claim, None if no known key has signed it, which is noted."""
        if claim.note != self._newest[0]:
            self._newest = claim.note, self._verify(claim)
        opened = self._newest[1]
        if opened is None:
            self._note_forged(claim)
        elif claim.place is Place.CHECKPOINTS and (claim.size, claim.source) != (opened[0], opened[1].hex()):
            self._add_forged(claim, "its row names another size or root than the note that was signed")
        else:
            self.report.checkpoints_checked += 1
            return opened
        return None

    def _verify(self, claim: Claim) -> tuple[int, bytes, datetime] | None:
        keys = [trusted.key for trusted in self.keys if trusted.last is None or claim.size <= trusted.last]
        try:
            checkpoint = open_note(claim.note, *keys)
        except CheckpointInvalid:
            return None
        return checkpoint.size, checkpoint.root, checkpoint.at

    def _note_forged(self, claim: Claim) -> None:
        if claim.place is Place.SECOND_PLACE and is_torn(claim.note):
            self.report.notes.append(f"{claim.source} holds text that was not written to its end; it claims nothing")
        else:
            self._add_forged(claim, "no known key has signed this checkpoint")

    def _add_forged(self, claim: Claim, detail: str) -> None:
        source = f", in {claim.source}" if claim.place is not Place.CHECKPOINTS else ""
        self.report.add(claim.place, Problem.FORGED, claim.size, claim.size, detail + source)

    def compare(self, root: bytes | None, claims: Iterable[Claim]) -> None:
        """Hold what was claimed of one size against the root that the events give, None where that is not known."""
        found = [(claim.place, *opened) for claim in claims if (opened := self.open(claim))]
        if root is None:
            return
        good = [(place, size) for place, size, signed, _ in found if signed == root]
        self.bad = self.bad or next(((size, at) for _, size, signed, at in found if signed != root), None)
        for place, size in good:
            if self.bad:
                self.good_after_bad = size
            else:
                self.good_size = size
            if place is Place.SECOND_PLACE:
                self.report.exported_seq = size

    def look_beyond(self, claims: Iterable[Claim]) -> None:
        """Take note of what is signed for more events than the log has."""
        for claim in claims:
            opened = self.open(claim)
            if opened and (self.beyond is None or opened[0] > self.beyond[0]):
                self.beyond = opened[0], opened[2]

    def conclude(self, *, head_seq: int) -> None:
        """Note what the roots come to, once all are compared."""
        if self.beyond:
            size, at = self.beyond
            detail = f"a checkpoint of {size} events was signed at {format_at(at)}, and the log has only {head_seq}"
            self.report.add(Place.LEDGER, Problem.SHRUNKEN, head_seq + 1, size, detail)
        if not self.bad:
            return
        size, at = self.bad
        first, since = self.good_size + 1, f"checkpoint {self.good_size}" if self.good_size else "the start"
        signed = f"between {since} and checkpoint {size}, signed at {format_at(at)},"
        if self.good_after_bad:
            detail = f"{signed} the log parts from one that was signed too: it gives checkpoint {self.good_after_bad}"
            self.report.add(Place.LEDGER, Problem.FORKED, first, size, detail)
        else:
            detail = f"{signed} the events are not those that were signed"
            self.report.add(Place.LEDGER, Problem.REWRITTEN, first, size, detail)
