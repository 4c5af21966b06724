"""Verify the trail: every event, the tree over them, their copy in the store, and every checkpoint that was signed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from audit.checking import checkpoints, tree
from audit.checking.checkpoints import Claim, Judge
from audit.checking.events import Events
from audit.checking.report import Place, Report
from audit.checking.second_place import SecondPlace, open_second_place
from audit.checking.writers import WriterCounts, excuse_archived
from audit.documents import PATIENT, open_store
from audit.lease import get_head
from audit.models import AuditTile, Checkpoint, LedgerEvent, TreeHead
from audit.problems import Problem
from audit.proof.log import prove_growth, read_frontier
from audit.proof.merkle import TILE_WIDTH, Frontier, is_consistent
from audit.proof.notes import VerifierKey
from audit.proof.rotation import TrustedKey, trusted_keys
from audit.retention.archives import find_unaccounted, get_cleared_seq

Progress = Callable[[int, int], None]
_WINDOW: Final = 4 * TILE_WIDTH
_UNBOUNDED: Final = 2**62
_CLOCKS: Final = timedelta(minutes=1)  # how far those of two machines may be apart


def verify(
    *,
    since: int = 0,
    to: int | None = None,
    known: Sequence[Claim] = (),
    keys: Sequence[VerifierKey] = (),
    store: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Verify the trail, in time that grows with the events read: those above `since`, up to `to`.

    The start is moved back to a signed checkpoint, or to what is archived, and the end on to one. `known` are
    checkpoints that the caller got before; `keys` replace those of this installation; without `store` its copy is not
    read. `progress` is told how many of how many events are read; what it raises ends the run.

    Raises: StoreUnavailable; OSError if the second place cannot be read; ImproperlyConfigured without a key.
    """
    started = time.monotonic()
    while True:
        run = _begin(since=since, to=to, known=known, keys=trusted_keys(keys), store=store)
        run.walk(progress)
        run.conclude()
        if get_head().archived_seq == run.head.archived_seq:  # else what left meanwhile would seem to be missing
            break
    run.report.seconds = round(time.monotonic() - started, 3)
    return run.report


def find_size(at: datetime) -> int:
    """Return how many events the newest checkpoint signed at or before `at` covers, 0 if there is none."""
    return Checkpoint.objects.filter(at__lte=at).aggregate(size=Max("size"))["size"] or 0


def _begin(
    *, since: int, to: int | None, known: Sequence[Claim], keys: Sequence[TrustedKey], store: bool
) -> "_Verification":
    """Read what is claimed, and only then how long the log is: it grows meanwhile, and never shrinks."""
    opened_at = timezone.now()
    base = Checkpoint.objects.filter(size__lte=since).order_by("-size").first()
    folder = open_second_place(settings.AUDIT_CHECKPOINT_DIR, since=base.at if base else None)
    newest = Checkpoint.objects.aggregate(size=Max("size"))["size"] or 0
    head = get_head()
    start = max(min(base.size if base else 0, head.seq), head.archived_seq)
    report = Report(since=start, to=_find_end(to, head), head_seq=head.seq, head_root=head.root)
    first_at = LedgerEvent.objects.filter(seq=start + 1).values_list("at", flat=True).first()
    writers = WriterCounts(report, excused_until=excuse_archived(first_at, archived=head.archived_seq))
    return _Verification(
        report=report,
        head=head,
        folder=folder,
        opened_at=opened_at,
        newest_row=newest,
        known=sorted(known, key=attrgetter("size")),
        judge=Judge(report=report, keys=keys),
        events=Events(report=report, writers=writers, shipped_seq=head.shipped_seq, store=store),
    )


def _find_end(to: int | None, head: TreeHead) -> int:
    if to is None or to >= head.seq:
        return head.seq
    covering = Checkpoint.objects.filter(size__gte=to, size__lte=head.seq).order_by("size").first()
    return covering.size if covering else head.seq


@dataclass(slots=True, kw_only=True)
class _Verification:
    """A run under way; `frontier` is the tree that the events read so far give, None once one of them is unknown."""

    report: Report
    head: TreeHead
    folder: SecondPlace
    opened_at: datetime
    newest_row: int
    known: list[Claim]
    judge: Judge
    events: Events
    frontier: Frontier | None = None
    unfiled: list[int] = field(default_factory=list)  # in the database, and not in the second place
    rowless: list[int] = field(default_factory=list)  # in the second place, and not in the database

    def walk(self, progress: Progress | None) -> None:
        """Read the events a window at a time."""
        report = self.report
        self._stand_at_start()
        after = report.since
        while after < report.to:
            to = min((after // _WINDOW + 1) * _WINDOW, report.to)
            self._read_window(after=after, to=to)
            after = to
            if progress:
                progress(after - report.since, report.to - report.since)

    def _stand_at_start(self) -> None:
        """Take the tree as it was where the walk starts, and hold it against what was signed of it."""
        size = self.report.since
        try:
            self.frontier = read_frontier(size)
        except LookupError:
            detail = "the hashes that stand for these events are not kept: verify from the start"
            self.report.add(Place.TREE, Problem.TILE, 1, size, detail)
        if size:
            self._compare(after=size - 1, to=size)
        for claim in self.known:
            if claim.size < size:
                self._compare_earlier(claim, self.frontier)

    def _compare_earlier(self, claim: Claim, frontier: Frontier | None) -> None:
        """Hold a checkpoint from before the start against the tree there: the one must have grown from the other."""
        opened = self.judge.open(claim)
        if opened is None or frontier is None:
            return
        size, root, _ = opened
        try:
            grown = is_consistent(size, root, frontier.size, frontier.root, prove_growth(size, frontier.size))
        except LookupError:
            self.report.notes.append(f"checkpoint {size} could not be compared: hashes of before are not kept")
        else:
            self.judge.compare(root if grown else b"", [claim])

    def _read_window(self, *, after: int, to: int) -> None:
        tiles = tree.read_tiles(after=after, to=to)
        leaves = self.events.walk(after=after, to=to, kept=partial(tree.find_leaf, tiles))
        tree.check_leaf_tiles(self.report, tiles, leaves, after=after, head_seq=self.head.seq)
        self._compare(after=after, to=to, leaves=leaves)

    def _compare(self, *, after: int, to: int, leaves: Sequence[bytes | None] = ()) -> None:
        """Let the tree grow by these leaves, and hold it against each checkpoint on the way."""
        grown = after if leaves else to
        for size, claims in groupby(self._read_claims(after=after, to=to), key=attrgetter("size")):
            self._grow(leaves[grown - after : size - after])
            grown = max(size, grown)
            self.judge.compare(self.frontier.root if self.frontier else None, claims)
        self._grow(leaves[grown - after :])

    def _grow(self, leaves: Sequence[bytes | None]) -> None:
        known = [leaf for leaf in leaves if leaf is not None]
        if self.frontier is not None and len(known) == len(leaves):
            self.frontier = self.frontier.append(known)
        elif self.frontier is not None:
            seq = self.frontier.size + leaves.index(None) + 1
            self.report.notes.append(f"nobody knows the hash of event {seq}: what was signed after it is not compared")
            self.frontier = None

    def _read_claims(self, *, after: int, to: int) -> list[Claim]:
        rows = checkpoints.read_rows(after=after, to=to)
        filed = list(checkpoints.claims_of_folder(self.folder, after=after, to=to))
        in_folder, in_rows = {claim.size for claim in filed}, {row.size for row in rows}
        by_then = self.opened_at - _CLOCKS
        settled = [row.size for row in rows if row.filed_at and row.filed_at < by_then]
        self.unfiled += [size for size in settled if size not in in_folder]
        self.rowless += [size for size in in_folder if size not in in_rows and size > self.head.thinned_size]
        known = [claim for claim in self.known if after < claim.size <= to]
        return sorted([*checkpoints.claims_of_rows(rows), *filed, *known], key=attrgetter("size"))

    def conclude(self) -> None:
        """Judge what is known only at the end."""
        report, head = self.report, self.head
        tree.check_upper_tiles(report, after=report.since, to=report.to)
        if report.to == head.seq:
            tree.check_head(report, head, self.frontier)
        self._look_beyond()
        self._find_foreign()
        self._tell_lost_checkpoints(self.unfiled, Place.SECOND_PLACE, "written to the second place")
        self._tell_lost_checkpoints(self.rowless, Place.CHECKPOINTS, "signed and filed")
        self.judge.conclude(head_seq=head.seq)
        report.notes += self.events.silences.describe()
        report.unnumbered = LedgerEvent.objects.filter(seq__isnull=True).count()
        report.unshipped = max(head.seq - head.shipped_seq, 0)

    def _look_beyond(self) -> None:
        """Look at what is signed for more events than the log has, and at what states no size at all."""
        for path, note in self.folder.strange:
            self.judge.open(Claim(place=Place.SECOND_PLACE, size=0, note=note, source=path.name))
        rows = checkpoints.read_rows(after=self.head.seq, to=self.newest_row)
        self.judge.look_beyond(checkpoints.claims_of_rows(rows))
        self.judge.look_beyond(checkpoints.claims_of_folder(self.folder, after=self.head.seq, to=_UNBOUNDED))
        self.judge.look_beyond(claim for claim in self.known if claim.size > self.head.seq)

    def _tell_lost_checkpoints(self, sizes: list[int], place: Place, what: str) -> None:
        if sizes:
            count = "a checkpoint was" if len(sizes) == 1 else f"{len(sizes)} checkpoints of these sizes were"
            self.report.add(place, Problem.MISSING, min(sizes), max(sizes), f"{count} {what}, and not there any more")

    def _find_foreign(self) -> None:
        """Note what stands outside the numbers that were given."""
        newest = LedgerEvent.objects.aggregate(seq=Max("seq"))["seq"] or 0
        tile = AuditTile.objects.filter(level=0).aggregate(at=Max("position"))["at"]
        head = get_head()  # read again: the sequencer goes on meanwhile
        if newest > head.seq:
            detail = "the ledger holds events under numbers that were never given"
            self.report.add(Place.LEDGER, Problem.INSERTED, head.seq + 1, newest, detail)
        if tile is not None and tile >= head.seq // TILE_WIDTH:
            first, last = head.seq // TILE_WIDTH * TILE_WIDTH + 1, (tile + 1) * TILE_WIDTH
            self.report.add(Place.TREE, Problem.TILE, first, last, "there are tiles of events that do not exist")
        if self.events.store:
            self._find_foreign_in_store()
        if lost := find_unaccounted():
            detail = "these events are said to be archived, and no archive on record holds them"
            self.report.add(Place.ARCHIVES, Problem.MISSING, lost, head.archived_seq, detail)

    def _find_foreign_in_store(self) -> None:
        newest_seq, cleared = get_head().seq, get_cleared_seq()
        foreign: dict[str, Any] | None = None
        with open_store(seconds=PATIENT) as collection:
            for bounds in ({"$gt": newest_seq}, {"$lt": cleared + 1}):
                foreign = foreign or collection.find_one({"seq": bounds}, {"seq": 1})
            if foreign is None and collection.estimated_document_count() > get_head().seq - cleared:
                foreign = collection.find_one({"seq": {"$not": {"$gte": 1}}}, {"seq": 1})
        if foreign is not None:
            seq = foreign.get("seq")
            detail = f"somebody else put it into the store: id {foreign['_id']!s:.64}, number {seq!s:.64}"
            number = seq if type(seq) is int else 0
            self.report.add(Place.STORE, Problem.INSERTED, number, number, detail)
