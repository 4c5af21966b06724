"""The tree as it is kept: full tiles of 256 hashes a level; the newest leaves are in the ledger until theirs is."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import connection

from audit.models import AuditTile
from audit.proof.merkle import HASH_BYTES, TILE_HEIGHT, TILE_WIDTH, Frontier, fold, split_hashes

logger = logging.getLogger(__name__)

_TAIL: Final = "SELECT hash FROM audit_ledgerevent WHERE seq > %s AND seq <= %s ORDER BY seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The tree while it grows: its frontier, and the leaves of its newest tile.

    The leaves are None where the ledger no longer holds what was hashed: that tile is never written, so that a tile
    is right or not there.
    """

    frontier: Frontier = field(default_factory=Frontier)
    leaves: tuple[bytes, ...] | None = ()

    def grow(self, leaves: Sequence[bytes]) -> Iterator["Tree"]:
        """Give the tree with these leaf hashes at its end: once for each tile that they fill, then as it ends."""
        tree, start = self, 0
        while start < len(leaves):
            end = start + TILE_WIDTH - tree.frontier.size % TILE_WIDTH
            tree = tree._append(leaves[start:end])
            yield tree
            start = end

    def _append(self, leaves: Sequence[bytes]) -> "Tree":
        held = self.leaves if self.frontier.size % TILE_WIDTH else ()
        return Tree(frontier=self.frontier.append(leaves), leaves=None if held is None else (*held, *leaves))


def load_tree(frontier: Frontier) -> Tree:
    """Return the tree of this frontier, the leaves of its newest tile read from the ledger."""
    count = frontier.size % TILE_WIDTH
    try:
        leaves = _read_leaves(frontier.size - count, frontier.size)
    except LookupError:
        leaves = []
    if Frontier().append(leaves).roots != frontier.roots[len(frontier.roots) - count.bit_count() :]:
        logger.error(
            "the ledger's events %d to %d do not give the root that their tree has: somebody changed them. "
            "Numbering goes on; manage.py verify_audit names them",
            frontier.size - count + 1, frontier.size, extra={"action": "tree.contradicted"},
        )  # fmt: skip
        return Tree(frontier=frontier, leaves=None)
    return Tree(frontier=frontier, leaves=tuple(leaves))


def write_tiles(trees: Iterable[Tree]) -> None:
    """Write the tiles that are full at the ends of `trees`, and those of the levels above; in a transaction."""
    for tree in trees:
        position, rest = divmod(tree.frontier.size, TILE_WIDTH)
        if rest == 0 and tree.leaves:
            _write(0, position - 1, tree.leaves)


def _write(level: int, position: int, hashes: Sequence[bytes]) -> None:
    tile = AuditTile(level=level, position=position, hashes=b"".join(hashes), root=fold(hashes))
    AuditTile.objects.bulk_create(  # one that stands there was put there by somebody else
        [tile], update_conflicts=True, unique_fields=["level", "position"], update_fields=["hashes", "root"]
    )
    above, place = divmod(position, TILE_WIDTH)
    if place == TILE_WIDTH - 1:
        roots = _read_roots(level, above * TILE_WIDTH, position + 1)
        if len(roots) == TILE_WIDTH:
            _write(level + 1, above, roots)


class StoredTiles:
    """The tree's hashes for proofs, read from the tables; `merkle.Tiles`."""

    def __init__(self) -> None:
        self._full: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Return the hashes `start` ≤ index < `end` of a level, all within one tile; only of full subtrees.

        Raises: LookupError for hashes that are not kept.
        """
        found = self._read_full(level, start, end) or self._read_open(level, start, end)
        if len(found) != end - start:
            raise LookupError(f"the tree's hashes {start} to {end} of level {level} are not kept")
        return found

    def _read_full(self, level: int, start: int, end: int) -> Sequence[bytes]:
        key = level, start >> TILE_HEIGHT
        if key not in self._full:
            rows = AuditTile.objects.filter(level=level, position=key[1]).values_list("hashes", flat=True)
            self._full[key] = bytes(rows.first() or b"")
        offset = key[1] << TILE_HEIGHT
        hashes = self._full[key][(start - offset) * HASH_BYTES : (end - offset) * HASH_BYTES]
        return list(split_hashes(hashes))

    def _read_open(self, level: int, start: int, end: int) -> Sequence[bytes]:
        """Read from below: the leaves themselves, or the roots of the tiles one level down."""
        return _read_roots(level - 1, start, end) if level else _read_leaves(start, end)


def _read_roots(level: int, start: int, end: int) -> list[bytes]:
    rows = AuditTile.objects.filter(level=level, position__gte=start, position__lt=end).order_by("position")
    return [bytes(root) for root in rows.values_list("root", flat=True)]


def _read_leaves(start: int, end: int) -> list[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(_TAIL, [start, end])
        try:
            return [bytes.fromhex(hash_) for (hash_,) in cursor.fetchall()]
        except ValueError:
            raise LookupError(f"an event's hash between {start + 1} and {end} was overwritten") from None
