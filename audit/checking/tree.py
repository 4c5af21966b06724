"""Hold the tree as it is kept, tiles and head, against the leaves that the events give."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from audit.checking.report import Place, Report
from audit.models import AuditTile, TreeHead
from audit.problems import Problem
from audit.proof.merkle import HASH_BYTES, TILE_WIDTH, Frontier, fold, load_frontier, split_hashes

_WRONG: Final = "the tree keeps another hash than this event gives"
_LEVELS: Final = 6  # 256 to the sixth is more than a million times a million


def read_tiles(*, after: int, to: int) -> dict[int, AuditTile]:
    """Return the tiles of leaves that touch the events `after` < seq ≤ `to`, by position."""
    positions = {"position__gte": after // TILE_WIDTH, "position__lte": (to - 1) // TILE_WIDTH}
    return {tile.position: tile for tile in AuditTile.objects.filter(level=0, **positions)}


def find_leaf(tiles: Mapping[int, AuditTile], seq: int) -> bytes | None:
    """Return the leaf that tiles keep of event `seq`, None if they do not."""
    position, place = divmod(seq - 1, TILE_WIDTH)
    if position not in tiles:
        return None
    leaf = bytes(tiles[position].hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES])
    return leaf if len(leaf) == HASH_BYTES else None


def check_leaf_tiles(
    report: Report, tiles: Mapping[int, AuditTile], leaves: Sequence[bytes | None], *, after: int, head_seq: int
) -> None:
    """Hold the tiles that touch a range of events against their leaves."""
    to = after + len(leaves)
    for position in range(after // TILE_WIDTH, min(-(-to // TILE_WIDTH), head_seq // TILE_WIDTH)):
        start = position * TILE_WIDTH
        first, last = max(start, after), min(start + TILE_WIDTH, to)
        tile = tiles.get(position)
        if tile is None:
            report.add(Place.TREE, Problem.TILE, first + 1, last, "the tile of these events is not there")
        else:
            _check_tile(report, tile, leaves[first - after : last - after], offset=first - start)


def _check_tile(report: Report, tile: AuditTile, leaves: Sequence[bytes | None], *, offset: int) -> None:
    hashes = bytes(tile.hashes)
    start = tile.position * TILE_WIDTH
    kept = hashes[offset * HASH_BYTES : (offset + len(leaves)) * HASH_BYTES]
    if kept != b"".join(leaf or b"" for leaf in leaves):
        for seq, (leaf, own) in enumerate(zip(leaves, split_hashes(kept), strict=False), start=start + offset + 1):
            if leaf is not None and leaf != own:
                report.add(Place.TREE, Problem.TILE, seq, seq, _WRONG)
    if not _is_sound(tile):
        report.add(Place.TREE, Problem.TILE, start + 1, start + TILE_WIDTH, "their tile does not give its own root")


def _is_sound(tile: AuditTile) -> bool:
    hashes = bytes(tile.hashes)
    return len(hashes) == TILE_WIDTH * HASH_BYTES and fold(list(split_hashes(hashes))) == bytes(tile.root)


def check_upper_tiles(report: Report, *, after: int, to: int) -> None:
    """Hold the tiles of roots that touch a range of events against the tiles below them."""
    for level in range(1, _LEVELS):
        width = TILE_WIDTH ** (level + 1)
        for position in range(after // width, to // width):
            tile = AuditTile.objects.filter(level=level, position=position).first()
            below = AuditTile.objects.filter(
                level=level - 1, position__gte=position * TILE_WIDTH, position__lt=(position + 1) * TILE_WIDTH
            )
            roots = b"".join(bytes(root) for root in below.order_by("position").values_list("root", flat=True))
            if tile is None or bytes(tile.hashes) != roots or not _is_sound(tile):
                detail = f"the tile of level {level} over them is not there, or not made of those below"
                report.add(Place.TREE, Problem.TILE, position * width + 1, (position + 1) * width, detail)


def check_head(report: Report, head: TreeHead, frontier: Frontier | None) -> None:
    """Hold the head against itself, and against the tree that the events give, where that is known."""
    for detail in _faults(head, frontier):
        report.add(Place.TREE, Problem.HEAD, head.seq, head.seq, detail)


def _faults(head: TreeHead, frontier: Frontier | None) -> Iterator[str]:
    try:
        own = load_frontier(head.seq, bytes(head.frontier))
    except ValueError:
        yield "the tree's head does not hold the roots that so many events have"
        return
    if own.root.hex() != head.root:
        yield "the tree's head records a root that its own frontier does not give"
    if frontier is not None and frontier.root.hex() != head.root:
        yield "the events up to this one do not give the root that the tree's head records"
    elif frontier is not None and frontier != own:
        yield "the tree's head holds a frontier that is not that of the events"
