"""What can be proven from the stores: that an event is in the log, and that the log only ever grew."""

from dataclasses import dataclass

from audit.models import Checkpoint
from audit.proof.merkle import Frontier, prove_consistency, prove_inclusion, subtree_root
from audit.proof.tiles import StoredTiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A checkpoint that was signed: the note itself, and what it says."""

    size: int
    root: str  # hex
    note: str


def latest_checkpoint() -> Signed | None:
    """Return the newest checkpoint, None before the first."""
    return _as_signed(Checkpoint.objects.order_by("-size").first())


def find_checkpoint(covering: int) -> Signed | None:
    """Return the smallest checkpoint that covers event `covering`, None if none does yet."""
    return _as_signed(Checkpoint.objects.filter(size__gte=covering).order_by("size").first())


def prove_event(seq: int, *, size: int) -> list[bytes]:
    """Return the hashes that lead from event `seq` to the root of the first `size` events.

    Raises: ValueError if the event is not among them; LookupError if hashes are not kept.
    """
    return prove_inclusion(StoredTiles(), seq - 1, size)


def prove_growth(old: int, new: int) -> list[bytes]:
    """Return the hashes that show that the log of `new` events begins with the log of `old`.

    Raises: ValueError; LookupError.
    """
    return prove_consistency(StoredTiles(), old, new)


def read_frontier(size: int) -> Frontier:
    """Return the log's first `size` events by the roots of their full subtrees.

    Raises: LookupError if hashes are not kept.
    """
    tiles, roots, start = StoredTiles(), [], 0
    for bit in reversed(range(size.bit_length())):
        width = 1 << bit
        if size & width:
            roots.append(subtree_root(tiles, start, start + width))
            start += width
    return Frontier(size=size, roots=tuple(roots))


def _as_signed(row: Checkpoint | None) -> Signed | None:
    return None if row is None else Signed(size=row.size, root=row.root, note=row.note)
