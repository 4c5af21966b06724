"""The Merkle tree over the numbered events: leaves, roots, proofs and their checks (RFC 6962, section 2.1). PURE.

Event number `seq` is leaf `seq - 1`. A tree of n leaves is written by its *frontier*, the roots of the full subtrees
that n's binary form names, largest first: it is all that appending a leaf or giving the root needs. A proof needs
hashes from inside the tree; they are read through `Tiles`, 256 hashes at a time (C2SP tlog-tiles), so that it costs
the same whether a thousand events were written or a billion.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
EMPTY_ROOT: Final = sha256(b"").digest()


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf's data."""
    return sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash over two subtrees."""
    return sha256(b"\x01" + left + right).digest()


# --- growing --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """A tree of `size` leaves by the roots of its full subtrees, the largest (oldest) first."""

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.roots) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has {self.size.bit_count()} full subtrees")

    @property
    def root(self) -> bytes:
        """The hash that stands for the whole tree."""
        if not self.roots:
            return EMPTY_ROOT
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = hash_node(left, root)
        return root

    def append(self, leaves: Iterable[bytes]) -> "Frontier":
        """Return the tree with these leaf hashes at its end."""
        roots, size = list(self.roots), self.size
        for leaf in leaves:
            node, below = leaf, size
            while below & 1:
                node, below = hash_node(roots.pop(), node), below >> 1
            roots.append(node)
            size += 1
        return Frontier(size=size, roots=tuple(roots))

    def dump(self) -> bytes:
        """Return the roots, one after the other."""
        return b"".join(self.roots)


def load_frontier(size: int, roots: bytes) -> Frontier:
    """Return the tree whose `dump` was kept. Raises: ValueError if it does not fit `size`."""
    if len(roots) % HASH_BYTES:
        raise ValueError("the roots are not a whole number of hashes")
    return Frontier(size=size, roots=tuple(split_hashes(roots)))


def split_hashes(data: bytes) -> Iterator[bytes]:
    """Give the hashes that stand one after the other in `data`."""
    return (data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES))


# --- reading inside -------------------------------------------------------------------------------------------
class Tiles(Protocol):
    """The tree's hashes as kept: level 0 are leaf hashes, level 1 roots of 256 of them, and so on."""

    def read(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Return the hashes `start` ≤ index < `end` of a level, all within one tile; only of full subtrees."""
        ...


def subtree_root(tiles: Tiles, start: int, end: int) -> bytes:
    """Return the root over the leaves `start` ≤ index < `end`, a subtree: `start` is a multiple of its full width.

    Raises: LookupError for hashes that are not kept.
    """
    count = end - start
    if count & (count - 1):
        half = 1 << (count - 1).bit_length() - 1
        return hash_node(subtree_root(tiles, start, start + half), subtree_root(tiles, start + half, end))
    level, rest = divmod(count.bit_length() - 1, TILE_HEIGHT)
    width = 1 << level * TILE_HEIGHT
    return fold(tiles.read(level, start // width, (start // width) + (1 << rest)))


def fold(nodes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of hashes of one level."""
    while len(nodes) > 1:
        nodes = [hash_node(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]


def prove_inclusion(tiles: Tiles, index: int, size: int) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the root of the first `size` leaves, from below.

    Raises: ValueError for a leaf outside the tree; LookupError.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return _path(tiles, index, 0, size)


def _path(tiles: Tiles, index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + (1 << (end - start - 1).bit_length() - 1)
    if index < middle:
        return [*_path(tiles, index, start, middle), subtree_root(tiles, middle, end)]
    return [*_path(tiles, index, middle, end), subtree_root(tiles, start, middle)]


def prove_consistency(tiles: Tiles, old: int, new: int) -> list[bytes]:
    """Return the hashes that show that the first `old` of `new` leaves are the tree of size `old`.

    Raises: ValueError unless 0 ≤ old ≤ new; LookupError.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves did not grow from one of {old}")
    return [] if old in (0, new) else _subproof(tiles, old, 0, new, whole=True)


def _subproof(tiles: Tiles, old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
    if old == end - start:
        return [] if whole else [subtree_root(tiles, start, end)]
    half = 1 << (end - start - 1).bit_length() - 1
    middle = start + half
    if old <= half:
        return [*_subproof(tiles, old, start, middle, whole=whole), subtree_root(tiles, middle, end)]
    return [*_subproof(tiles, old - half, middle, end, whole=False), subtree_root(tiles, start, middle)]


# --- checking -------------------------------------------------------------------------------------------------
def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that `proof` gives for a leaf hash at `index` of `size`, None for a proof of the wrong length.

    RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if at & 1 or at == last:
            node = hash_node(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = hash_node(node, sibling)
        at, last = at >> 1, last >> 1
    return node if last == 0 else None


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether `proof` shows that the tree of `new` leaves begins with the tree of `old` (RFC 9162, 2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT and (new > 0 or new_root == EMPTY_ROOT)
    if old == new:
        return not proof and old_root == new_root
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = hash_node(sibling, first), hash_node(sibling, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = hash_node(second, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and (first, second) == (old_root, new_root)
