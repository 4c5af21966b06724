"""The tree as it is kept: tiles equal those of the leaves, and proofs from the tables those from memory."""

import random
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise

import pytest
from django.db import connection

from audit.models import AuditTile, LedgerEvent
from audit.proof.log import prove_event, prove_growth, read_frontier
from audit.proof.merkle import (
    TILE_WIDTH,
    Frontier,
    fold,
    hash_leaf,
    is_consistent,
    prove_consistency,
    prove_inclusion,
    root_from_inclusion,
)
from audit.proof.tiles import Tree, load_tree, write_tiles
from audit.transactions import write_transaction
from tests.audit_cast import NOW

pytestmark = pytest.mark.django_db(transaction=True)

SIZES = (1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_800)
MOST = SIZES[-1]


@cache
def make_leaves() -> list[bytes]:
    return [hash_leaf(b"event %d" % index) for index in range(MOST)]


class MemoryTiles:
    """The hashes of all levels, made from the leaves."""

    def __init__(self) -> None:
        self.levels = [make_leaves()]
        while len(below := self.levels[-1]) >= TILE_WIDTH:
            whole = len(below) // TILE_WIDTH
            self.levels.append([fold(below[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]) for at in range(whole)])

    def read(self, level: int, start: int, end: int) -> Sequence[bytes]:
        return self.levels[level][start:end]


@cache
def in_memory() -> MemoryTiles:
    return MemoryTiles()


def fill_ledger(*, after: int, to: int) -> None:
    """Put rows with these leaves into the ledger; only their hashes matter here."""
    for start in range(after, to, 5_000):
        LedgerEvent.objects.bulk_create(
            LedgerEvent(event_id=f"e-{seq}", type="any", at=NOW, seq=seq, hash=make_leaves()[seq - 1].hex(), body={})
            for seq in range(start + 1, min(start + 5_000, to) + 1)
        )


def grow(tree: Tree, *, to: int) -> Tree:
    """Grow the tree, and its tiles, as the sequencer does."""
    trees = list(tree.grow(make_leaves()[tree.frontier.size : to]))
    with write_transaction():
        write_tiles(trees)
    return trees[-1]


def assert_tiles(size: int) -> None:
    """See that exactly the full tiles are there, and right."""
    expected = {}
    for level, hashes in enumerate(in_memory().levels):
        for position in range((size >> 8 * level) // TILE_WIDTH):
            nodes = hashes[position * TILE_WIDTH : (position + 1) * TILE_WIDTH]
            expected[level, position] = (b"".join(nodes), fold(nodes))
    stored = AuditTile.objects.values_list("level", "position", "hashes", "root")
    assert {(level, position): (bytes(hashes), bytes(root)) for level, position, hashes, root in stored} == expected


def test_tiles_of_odd_batches_equal_those_of_the_leaves() -> None:
    draw = random.Random(7)
    tree = Tree()
    for end in accumulate(draw.choice((1, 3, 100, 255, 256, 257, 600)) for _ in range(40)):
        tree = grow(tree, to=end)
        assert tree.frontier.root == Frontier().append(make_leaves()[:end]).root
    assert_tiles(tree.frontier.size)
    assert tree.frontier.size > 5_000


def test_proofs_from_the_tables_equal_those_from_memory() -> None:
    """Two levels of tiles; the leaves of full ones are not in the ledger, as after they were archived."""
    tree = Tree()
    for size in SIZES:
        fill_ledger(after=max(tree.frontier.size, size - size % TILE_WIDTH), to=size)
        tree = grow(tree, to=size)
        for seq in {1, size // 2 + 1, max(1, size - size % TILE_WIDTH), size}:
            proof = prove_event(seq, size=size)
            assert proof == prove_inclusion(in_memory(), seq - 1, size)
            assert root_from_inclusion(make_leaves()[seq - 1], seq - 1, size, proof) == tree.frontier.root
        assert read_frontier(size) == tree.frontier
    for old, new in (*pairwise(SIZES), (1, MOST), (255, MOST), (256, 65_536), (65_535, 65_537)):
        if old % TILE_WIDTH in (0, 1, 255):  # what was open then is in full tiles now
            proof = prove_growth(old, new)
            assert proof == prove_consistency(in_memory(), old, new)
            roots = [Frontier().append(make_leaves()[:size]).root for size in (old, new)]
            assert is_consistent(old, roots[0], new, roots[1], proof)
    assert_tiles(MOST)


def test_a_proof_reads_a_bounded_number_of_tiles(django_assert_max_num_queries: object) -> None:
    grow(Tree(), to=65_536)
    with django_assert_max_num_queries(4):  # type: ignore[operator]
        assert len(prove_event(30_000, size=65_536)) == 16


def test_what_is_not_kept_is_said_to_be_so() -> None:
    grow(Tree(), to=600)
    fill_ledger(after=512, to=590)
    with pytest.raises(LookupError, match="not kept"):
        prove_event(1, size=600)
    with pytest.raises(LookupError):
        read_frontier(600)
    assert read_frontier(590).size == 590
    with pytest.raises(ValueError, match="no leaf"):
        prove_event(601, size=600)
    LedgerEvent.objects.filter(seq=590).update(hash="no hash")
    with pytest.raises(LookupError, match="overwritten"):
        read_frontier(590)


def test_a_tree_is_loaded_with_the_leaves_of_its_open_tile() -> None:
    fill_ledger(after=0, to=300)
    for size in (0, 1, 255, 256, 257, 300):
        frontier = Frontier().append(make_leaves()[:size])
        loaded = load_tree(frontier)
        assert loaded.leaves == tuple(make_leaves()[size - size % TILE_WIDTH : size])
        assert [tree.frontier.size for tree in loaded.grow(make_leaves()[size:600])][-1] == 600


@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM audit_ledgerevent WHERE seq = 290", "UPDATE audit_ledgerevent SET hash = 'x' WHERE seq = 290"],
)
def test_a_ledger_that_was_changed_gives_no_wrong_tile(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    tree = grow(Tree(), to=300)
    fill_ledger(after=256, to=300)
    with connection.cursor() as cursor:
        cursor.execute(damage)
    loaded = load_tree(tree.frontier)
    assert "events 257 to 300 do not give the root" in caplog.text
    grown = grow(loaded, to=1_100)
    assert grown.frontier.root == Frontier().append(make_leaves()[:1_100]).root
    assert list(AuditTile.objects.order_by("position").values_list("position", flat=True)) == [0, 2, 3]


def test_a_tile_that_somebody_put_there_before_is_written_over() -> None:
    AuditTile.objects.create(level=0, position=0, hashes=b"x" * 32 * TILE_WIDTH, root=b"x" * 32)
    grow(Tree(), to=300)
    assert_tiles(300)
