"""The tree against RFC 6962's known roots, and against two other implementations of it."""

import random
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

import aics_tlog
import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.proof.merkle import (
    EMPTY_ROOT,
    TILE_HEIGHT,
    Frontier,
    fold,
    hash_leaf,
    is_consistent,
    load_frontier,
    prove_consistency,
    prove_inclusion,
    root_from_inclusion,
    subtree_root,
)

MOST = 3_000
# The leaves and roots by which Certificate Transparency's implementations are tested.
KNOWN = (
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    ("606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
)
sizes = st.integers(0, MOST)


class MemoryTiles:
    """The hashes of all levels, made from the leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels = [list(leaves)]
        while len(below := self.levels[-1]) >= 1 << TILE_HEIGHT:
            width = 1 << TILE_HEIGHT
            self.levels.append([fold(below[at : at + width]) for at in range(0, len(below) - width + 1, width)])

    def read(self, level: int, start: int, end: int) -> Sequence[bytes]:
        assert start >> TILE_HEIGHT == (end - 1) >> TILE_HEIGHT, "read across tiles"
        found = self.levels[level][start:end]
        assert len(found) == end - start
        return found


def entry(index: int) -> bytes:
    return b"event %d" % index


@cache
def tiles() -> MemoryTiles:
    return MemoryTiles([hash_leaf(entry(index)) for index in range(MOST)])


@cache
def theirs() -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries([entry(index) for index in range(MOST)])
    return tree


def root(size: int) -> bytes:
    return Frontier().append(tiles().levels[0][:size]).root


def test_it_gives_the_known_roots() -> None:
    frontier = Frontier()
    assert frontier.root == EMPTY_ROOT == sha256(b"").digest()
    for leaf, known in KNOWN:
        frontier = frontier.append([hash_leaf(bytes.fromhex(leaf))])
        assert frontier.root.hex() == known


@given(sizes, sizes)
def test_its_roots_equal_those_of_two_other_implementations(size: int, more: int) -> None:
    assert root(size) == theirs().get_root(size)
    few = size % 300
    assert root(few) == aics_tlog.MerkleTree(map(entry, range(few))).root()
    grown = load_frontier(few, Frontier().append(tiles().levels[0][:few]).dump()).append(tiles().levels[0][few:more])
    assert grown.size == max(few, more)
    assert grown.root == theirs().get_root(grown.size)
    if size:
        assert subtree_root(tiles(), 0, size) == root(size)


@given(st.data())
def test_its_proofs_of_inclusion_are_believed_by_others(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    leaf, proof = tiles().levels[0][index], prove_inclusion(tiles(), index, size)
    assert root_from_inclusion(leaf, index, size, proof) == root(size)
    assert aics_tlog.verify_inclusion(leaf, index, size, proof, root(size))
    assert len(proof) <= (size - 1).bit_length()


@given(sizes, sizes)
def test_its_proofs_of_consistency_are_believed_by_others(one: int, other: int) -> None:
    old, new = sorted((one, other))
    proof = prove_consistency(tiles(), old, new)
    assert is_consistent(old, root(old), new, root(new), proof)
    assert aics_tlog.verify_consistency(old, new, root(old), root(new), proof)


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(0, 200))
def test_it_believes_the_proofs_of_others(size: int, at: int) -> None:
    tree = aics_tlog.MerkleTree(map(entry, range(size)))
    index, old = at % size, 1 + at % size
    assert root_from_inclusion(hash_leaf(entry(index)), index, size, tree.inclusion_proof(index)) == tree.root()
    assert is_consistent(old, tree.root(old), size, tree.root(), tree.consistency_proof(old, size))


@given(st.data())
def test_a_proof_that_was_tampered_with_proves_nothing(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, MOST))
    old, index = data.draw(st.integers(1, new - 1)), data.draw(st.integers(0, new - 1))
    leaf, inclusion = tiles().levels[0][index], prove_inclusion(tiles(), index, new)
    growth = prove_consistency(tiles(), old, new)
    seed = data.draw(st.integers())
    for changed in _tamper(inclusion, seed):
        assert root_from_inclusion(leaf, index, new, changed) != root(new)
    for changed in _tamper(growth, seed):
        assert not is_consistent(old, root(old), new, root(new), changed)
    elsewhere = (index + 1) % new
    assert root_from_inclusion(leaf, elsewhere, new, inclusion) != root(new)
    assert root_from_inclusion(hash_leaf(b"forged"), index, new, inclusion) != root(new)
    assert not is_consistent(old, hash_leaf(b"forged"), new, root(new), growth)
    assert not is_consistent(old, root(old), new, hash_leaf(b"forged"), growth)


def _tamper(proof: list[bytes], seed: int) -> list[list[bytes]]:
    """Return the proof with a hash more, with one less, with one changed."""
    changed = [[*proof, EMPTY_ROOT], [EMPTY_ROOT, *proof]]
    if proof:
        at = random.Random(seed).randrange(len(proof))
        changed += [proof[:at] + proof[at + 1 :], [*proof[:at], hash_leaf(proof[at]), *proof[at + 1 :]]]
    return changed


def test_an_empty_log_grows_into_every_other_and_no_other_log_is_empty() -> None:
    assert is_consistent(0, EMPTY_ROOT, 5, root(5), [])
    assert is_consistent(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert not is_consistent(0, root(5), 5, root(5), [])
    assert not is_consistent(0, EMPTY_ROOT, 0, root(5), [])
    assert not is_consistent(5, root(5), 4, root(4), [])
    assert not is_consistent(5, root(5), 5, root(4), [])
    assert not is_consistent(3, root(3), 5, root(5), [])


def test_what_is_outside_the_tree_has_no_proof() -> None:
    assert root_from_inclusion(hash_leaf(b""), 5, 5, []) is None
    assert root_from_inclusion(hash_leaf(b""), -1, 5, []) is None
    with pytest.raises(ValueError, match="no leaf 5"):
        prove_inclusion(tiles(), 5, 5)
    with pytest.raises(ValueError, match="did not grow"):
        prove_consistency(tiles(), 6, 5)


@pytest.mark.parametrize(("size", "roots"), [(3, b"x" * 32), (-1, b""), (0, b"x" * 32), (1, b"x" * 31)])
def test_roots_that_do_not_fit_the_size_are_refused(size: int, roots: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_frontier(size, roots)
