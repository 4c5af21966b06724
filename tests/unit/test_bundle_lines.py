"""The auditor's program against other people's implementations: trees, canonical bytes, keys and checkpoints."""

import ast
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aics_tlog
import pymerkle
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.bundles import lines
from audit.bundles import verify_trail as program
from audit.canonical import MAX_INTEGER, canonical_bytes
from audit.problems import Problem
from audit.proof import notes
from audit.proof.leaves import seal
from audit.proof.merkle import EMPTY_ROOT, Frontier, hash_leaf, prove_inclusion

SOURCE = Path(program.__file__)
text = st.text(st.characters(exclude_categories=["Cs"]))
ascii_key = st.text(st.characters(max_codepoint=127))
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(ascii_key, inner), max_leaves=30)


class Leaves:
    """The hashes of a small tree, as `merkle.Tiles`."""

    def __init__(self, entries: list[bytes]) -> None:
        self.hashes = [hash_leaf(entry) for entry in entries]

    def read(self, level: int, start: int, end: int) -> list[bytes]:
        width = 1 << 8 * level
        return [Frontier().append(self.hashes[at * width : (at + 1) * width]).root for at in range(start, end)]

    def root(self, start: int, width: int) -> str:
        return Frontier().append(self.hashes[start : start + width]).root.hex()


@st.composite
def ranges(draw: Any) -> tuple[list[bytes], int, int]:
    """Give the entries of a tree, and a range of them."""
    size = draw(st.integers(1, 300))
    after = draw(st.integers(0, size))
    return [b"entry %d" % n for n in range(size)], after, draw(st.integers(after, size))


@given(ranges())
def test_left_events_and_right_give_the_root_of_pymerkle(drawn: tuple[list[bytes], int, int]) -> None:
    entries, after, to = drawn
    leaves, tree = Leaves(entries), program.Tree()
    tree.push_to(after, [leaves.root(*split) for split in lines.split_range(0, after)])
    for entry in entries[after:to]:
        tree.push(hash_leaf(entry))
    tree.push_to(len(entries), [leaves.root(*split) for split in lines.split_range(to, len(entries))])
    assert tree.root() == pymerkle.InmemoryTree.init_from_entries(entries).get_root()
    assert tree.root() == aics_tlog.MerkleTree(entries).root()


@given(ranges())
def test_a_range_is_split_in_one_way_of_few_parts(drawn: tuple[list[bytes], int, int]) -> None:
    _, after, to = drawn
    splits = list(lines.split_range(after, to))
    assert sum(width for _, width in splits) == to - after
    assert all(start % width == 0 and width.bit_count() == 1 for start, width in splits)
    assert len(splits) <= 2 * max(1, (to - after).bit_length())


@pytest.mark.parametrize("change", [lambda h: h[:-1], lambda h: [*h, h[0]], lambda h: [h[0][:-2], *h[1:]]])
def test_a_proof_of_the_wrong_length_is_none(change: Any) -> None:
    leaves = Leaves([b"%d" % n for n in range(11)])
    hashes = [leaves.root(*split) for split in lines.split_range(0, 11)]
    with pytest.raises(ValueError, match="hashes"):
        program.Tree().push_to(11, change(hashes))


@given(ranges())
def test_an_inclusion_proof_gives_the_root_here_and_elsewhere(drawn: tuple[list[bytes], int, int]) -> None:
    entries, index, _ = drawn
    index = min(index, len(entries) - 1)
    path = prove_inclusion(Leaves(entries), index, len(entries))
    root = pymerkle.InmemoryTree.init_from_entries(entries).get_root()
    found = program.root_of_path(hash_leaf(entries[index]), index, len(entries), [node.hex() for node in path])
    assert found == root
    assert aics_tlog.verify_leaf_inclusion(entries[index], index, len(entries), path, root)


@given(json_values)
def test_what_is_read_and_written_again_is_rfc_8785(value: Any) -> None:
    read = program.read_object(canonical_bytes({"value": value}), 10**9, {})
    assert program.encoder.encode(read).encode() == rfc8785.dumps({"value": value})


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":1e3}', b'{"a":NaN}', b'{"a":-Infinity}', b"[]", b"", b'{"a":\xff}',
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'{"a":' + b"9" * 5_000 + b"}", b'{"b":1}', b'{"a":true}',
        b'{"a":-1}', b'{"a":99999999999999999999}',
    ],
)  # fmt: skip
def test_json_is_read_strictly(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        program.read_object(content, 10**6, {"a": int})


@given(st.dictionaries(ascii_key, json_values, max_size=5), text, text)
def test_the_line_of_any_event_is_cut_where_it_was_joined(body: dict[str, Any], actor: str, reason: str) -> None:
    document = {
        "_id": "a", "type": 'x"},"hash":"', "at": "2026", "actor": actor, "reason": reason, "writer": "w",
        "writerSeq": 1, "body": canonical_bytes(body).decode(),
    }  # fmt: skip
    seal(document, seq=1, salt="5a" * 16)
    findings, line = program.Findings(), lines.write_event(document, redacted=False)
    walk = program.Walk(program.Tree(), 1, {}, findings)
    walk.event(line)
    assert findings == []
    assert walk.tree.root().hex() == document["hash"]
    read = json.loads(line)
    assert (read["event"]["reason"], read["private"]["actor"], read["private"]["body"]) == (reason, actor, body)
    assert lines.write_event(document, redacted=True).endswith(b'"private":null}\n')


@given(st.integers(1, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_and_keys_are_read_by_another_reader_of_c2sp_notes(size: int, root: bytes) -> None:
    private = Ed25519PrivateKey.generate()
    at = datetime(2026, 11, 26, 3, 4, 5, 6, UTC)
    note = notes.sign(notes.Checkpoint(origin="fleet.example/audit", size=size, root=root, at=at), private)
    key = str(notes.public_key_of(private, name="fleet.example/audit"))
    theirs = aics_tlog.parse_checkpoint(aics_tlog.parse_note(note).text)
    assert (theirs.origin, theirs.size, theirs.root) == ("fleet.example/audit", size, root)
    assert theirs.extension_lines == ("at 2026-11-26T03:04:05.000006Z",)
    assert aics_tlog.verify_note(aics_tlog.parse_note(note), [aics_tlog.parse_vkey(key)])
    ours = program.Keys([program.read_key(key)]).open_checkpoint(note)
    assert (ours.size, ours.root) == (size, root)


def test_a_note_that_another_program_signed_is_read() -> None:
    private = Ed25519PrivateKey.generate()
    key = aics_tlog.format_vkey(aics_tlog.vkey_from_ed25519("log", private.public_key()))
    theirs = aics_tlog.Checkpoint("log", 7, EMPTY_ROOT, ("at 2026-11-26T00:00:00Z",))
    note = aics_tlog.sign_checkpoint(theirs, private, "log").serialise()
    assert program.Keys([program.read_key(key)]).open_checkpoint(note).size == 7


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_no_bit_of_a_checkpoint_can_be_flipped(position: int, bit: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    checkpoint = notes.Checkpoint(origin="log", size=77, root=EMPTY_ROOT, at=datetime(2026, 11, 26, tzinfo=UTC))
    note = bytearray(notes.sign(checkpoint, private).encode())
    keys = program.Keys([program.read_key(str(notes.public_key_of(private, name="log")))])
    assert keys.open_checkpoint(note.decode()).size == 77
    note[position % len(note)] ^= 1 << bit
    changed = note.decode(errors="replace")
    if changed.rstrip("\n") != notes.sign(checkpoint, private).rstrip("\n"):
        with pytest.raises(program.Forged):
            keys.open_checkpoint(changed)


def test_its_findings_are_named_in_the_words_of_the_program() -> None:
    named = set(re.findall(r'(?:add\(|if [^\n]* else |= )"([a-z]+)"', SOURCE.read_text())) | {"forged"}
    of_the_stores = {Problem.HEAD, Problem.REPLACED, Problem.TILE, Problem.ERASED}
    assert named == set(Problem) - of_the_stores


def test_it_is_one_file_that_knows_nothing_of_this_program() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE.read_text(), feature_version=(3, 10))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - sys.stdlib_module_names == {"cryptography"}
    assert imported.isdisjoint({"socket", "ssl", "urllib", "http", "pickle", "subprocess", "importlib", "ctypes"})


def test_it_runs_on_python_3_10(tmp_path: Path) -> None:
    """By the types of that version's library: no newer name is used."""
    command = ["--strict", "--config-file=", "--python-version", "3.10", "--cache-dir", str(tmp_path), str(SOURCE)]
    done = subprocess.run([sys.executable, "-m", "mypy", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
