#!/usr/bin/env python3
"""Check an exported part of an audit trail, or the proof of one event: offline, believing nothing but a public key.

It ends with 0 if the trail holds, 1 if it does not, 2 if that cannot be told: FILE is damaged, or the wrong one.
It needs Python 3.10 or newer and the package `cryptography`; no network, and nothing of the program that it checks.

How: events are the leaves of a Merkle tree (RFC 6962); its root, signed, is a checkpoint (C2SP tlog-checkpoint). FILE
holds the roots of the full subtrees before its first event and from its last to the newest checkpoint; the events, each
as the very bytes that were hashed; and checkpoints, where they were signed. The tree is built again from left to right
and must give every signed root. So who can neither break SHA-256 nor sign cannot change, add, drop or move an event,
and who can sign cannot take back what you know.
"""

import argparse
import base64
import gzip
import json
import re
import sys
import zlib
from contextlib import suppress
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.stderr.write("NOT CHECKED: the package cryptography is missing: pip install cryptography\n")
    sys.exit(2)

BUNDLE, PROOF = "audit-trail-bundle/1", "audit-trail-event-proof/1"
# Bounds, so that no FILE can fill the memory or keep this busy. The body of an event has at most 4,000,000 bytes.
MAX_LINE, MAX_LEAF, MAX_NOTE, MAX_PROOF, MAX_FINDINGS, SIZES = 4_200_000, 65_536, 8_192, 32_000_000, 50, range(2**53)
Kinds = dict[str, type]
HEADER: Kinds = {"format": str, "after": int, "to": int, "left": list, "right": list, "checkpoint": str, "keys": list}
ONE_EVENT: Kinds = {"format": str, "event": dict, "hash": str, "hashes": list, "checkpoint": str, "keys": list}


class Forged(ValueError):
    """No known key has signed this."""


class Stop(Exception):
    """What follows cannot be told."""


class Findings(list[str]):
    """What is wrong and where, each with its word from the vocabulary of the program that is checked."""

    def add(self, problem: str, detail: str, *, last: bool = False) -> None:
        self.append(f"BROKEN: {detail} ({problem})")
        if last or len(self) == MAX_FINDINGS:
            raise Stop("what follows the last finding")


def need(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


# --- JSON, read strictly ------------------------------------------------------------------------------------------
def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    need(len(fields) == len(pairs), "a key stands twice")
    return fields


# `int` refuses the numbers that are not whole: 1.5, 1e5, NaN. What is written is RFC 8785 for all that can be read.
decoder = json.JSONDecoder(object_pairs_hook=make_object, parse_float=int, parse_constant=int)
encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_object(data: bytes, limit: int, kinds: Kinds) -> dict[str, Any]:
    """Return a JSON object that has at least fields of these kinds. Raises: ValueError."""
    need(len(data) <= limit, f"it is longer than {limit} bytes")
    try:
        fields = decoder.decode(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    need(type(fields) is dict, "it is no JSON object")
    for name, kind in kinds.items():
        value = fields.get(name)
        fits = type(value) is kind and (kind is not int or value in SIZES)
        if not fits or (kind is list and not all(type(item) is str for item in value)):
            raise ValueError(f"its field {name} is missing, or not as it must be")
    return fields  # type: ignore[no-any-return]


# --- the tree (RFC 6962, section 2.1) -----------------------------------------------------------------------------
def hash_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows, as the roots of its full subtrees, the largest first: one for each 1 in its size."""

    def __init__(self) -> None:
        self.size = 0
        self.roots: list[bytes] = []

    def push(self, node: bytes, width: int = 1) -> None:
        """Add a full subtree of `width` leaves: two of one width become one of twice that."""
        place = self.size // width
        while place & 1:
            node, place = hash_node(self.roots.pop(), node), place >> 1
        self.roots.append(node)
        self.size += width

    def push_to(self, end: int, hashes: list[str]) -> None:
        """Add the full subtrees that lead on to `end` leaves: each the largest that fits, so there is one way only."""
        for text in hashes:
            width = self.size & -self.size or SIZES.stop
            while width > end - self.size:
                width >>= 1
            need(width and re.fullmatch("[0-9a-f]{64}", text), "it has too many hashes, or one that is none")
            self.push(bytes.fromhex(text), width)
        need(self.size == end, "it has too few hashes")

    def root(self) -> bytes:
        return reduce(lambda right, left: hash_node(left, right), reversed(self.roots))


def root_of_path(node: bytes, index: int, size: int, path: list[str]) -> bytes:
    """Return the root that an inclusion proof gives for a leaf's hash; the last of the path stands below the root."""
    need((size == 1) == (not path), "it has too many hashes, or too few")
    if size == 1:
        return node
    half, sibling = 1 << (size - 1).bit_length() - 1, bytes.fromhex(path[-1])
    if index < half:
        return hash_node(root_of_path(node, index, half, path[:-1]), sibling)
    return hash_node(sibling, root_of_path(node, index - half, size - half, path[:-1]))


# --- keys and checkpoints (C2SP signed-note, tlog-checkpoint) -----------------------------------------------------
class Checkpoint(NamedTuple):
    size: int
    root: bytes
    note: str


Known = dict[int, Checkpoint]  # by size
Checked = tuple[Checkpoint, int, str]  # the newest, how many that were known before are in the file, what was seen
CHECKPOINT = re.compile(r"([^\n]+)\n([1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\nat [0-9T:.-]{19,26}Z\n")
NOTES = re.compile("^((?:[^\n]+\n)+)\n((?:\u2014 [^\n]+\n)+)(?!\\(cut off\\)\n)", re.M)  # what was cut off is none
Key = tuple[str, bytes, bytes]  # name, id, the 32 bytes of Ed25519


def decode(text: str) -> bytes:
    """Return the bytes of base64. Raises: ValueError, also for another form than the one."""
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 in another form than the one")
    return data


def read_key(text: str) -> Key:
    name, key_id, encoded = [*text.split("+", 2), "", ""][:3]
    data = decode(encoded)
    its_own = len(data) == 33 and data[0] == 1 and sha256(f"{name}\n".encode() + data).hexdigest()[:8] == key_id
    need(its_own, f"{text!a:.80} is no Ed25519 key as name+id+key")
    return name, bytes.fromhex(key_id), data[1:]


class Keys(list[Key]):
    """The keys that are believed: those given, and those that one of them has named, and signed, as its successor."""

    def open(self, note: str) -> str:
        """Return the text of a note that one of the keys has signed. Raises: Forged."""
        text, _, signatures = note.partition("\n\n")
        for line in signatures.split("\n")[:16] if len(note) <= MAX_NOTE else []:
            for name, key_id, public in self:
                head = f"\u2014 {name} "
                try:
                    data = decode(line.removeprefix(head))
                    Ed25519PublicKey.from_public_bytes(public).verify(data[4:], f"{text}\n".encode())
                except (ValueError, InvalidSignature):
                    continue
                if line.startswith(head) and data[:4] == key_id and text.startswith((f"{name}\n", f"{name}+")):
                    return f"{text}\n"
        raise Forged(f"no key that you gave has signed {note!a:.100}")

    def open_checkpoint(self, note: str) -> Checkpoint:
        match = CHECKPOINT.fullmatch(self.open(note))
        if not match:
            raise Forged(f"what is signed is no checkpoint: {note!a:.100}")
        return Checkpoint(int(match[2]), decode(match[3]), note)


def open_notes(header: dict[str, Any], keys: Keys, paths: list[str], findings: Findings) -> tuple[Checkpoint, Known]:
    """Return the newest checkpoint, and those of the files at `paths` by size. Raises: Forged; ValueError; OSError."""
    for note in header["keys"]:
        with suppress(Forged):
            keys.append(read_key(keys.open(note).partition("\n")[0]))
    newest = keys.open_checkpoint(header["checkpoint"])
    known: Known = {}
    for path in paths:
        for text, signatures in NOTES.findall(Path(path).read_text("utf-8", "replace") + "\n"):
            signed = keys.open_checkpoint(f"{text}\n{signatures}")
            other = known.setdefault(signed.size, newest if signed.size == newest.size else signed)
            if signed.root != other.root:
                findings.add("forked", f"of {signed.size} events there are two signed checkpoints with different roots")
    return newest, known


def check_event(leaf: bytes, stated: str, private: bytes, findings: Findings) -> dict[str, Any]:
    """Return the fields of an event, having noted what is wrong with them. Raises: ValueError; Stop."""
    fields = read_object(leaf, MAX_LEAF, {"seq": int, "private": str})
    if sha256(b"\x00" + leaf).hexdigest() != stated:
        findings.add("edited", f"event {fields['seq']} was edited: its fields do not give its hash")
    elif private != b"null" and sha256(private).hexdigest() != fields["private"]:
        findings.add("edited", f"event {fields['seq']} was edited: its actor and body do not give their digest")
    return fields


class Walk:
    """The way along the events of a bundle: the tree that they give, and what was seen."""

    def __init__(self, tree: Tree, to: int, known: Known, findings: Findings) -> None:
        self.tree, self.to, self.known, self.findings = tree, to, known, findings
        self.start = self.good = tree.size
        self.bad, self.bare, self.met = 0, 0, set[int]()
        self.due: dict[str, int] = {}  # each connection that writes counts its own events from 1
        self.gaps: dict[tuple[str, int], int] = {}  # with the event before which it was due
        self.meet_known()

    def event(self, line: bytes) -> None:
        """Take the next event. A leaf is flat, so the bytes that end it stand in no string of it."""
        due, (leaf, _, rest) = self.tree.size + 1, line[9:].partition(b',"hash":"')
        try:
            need(line[:9] + rest[64:76] + rest[-2:] == b'{"event":","private":}\n', "it is not written as one")
            node, private = bytes.fromhex(rest[:64].decode()), rest[76:-2]
            fields = check_event(leaf, rest[:64].decode(), private, self.findings)
        except ValueError as error:
            return self.findings.add("edited", f"event {due} is no event any more: {error}", last=True)
        seq = fields["seq"]
        if seq != due or seq > self.to:
            problem = "inserted" if seq > self.to else "missing" if seq > due else "order"
            self.findings.add(problem, f"where event {due} belongs stands event {seq}", last=True)
        self.bare += private == b"null"
        self.count(fields.get("writer"), fields.get("writerSeq"))
        self.tree.push(node)  # the hash that is stated: so an edit leaves all other events to be proven
        return self.meet_known()

    def count(self, writer: Any, number: Any) -> None:
        """Note a writer's number. Two of one writer may have changed places; before writers counted there were none."""
        if type(writer) is str and type(number) is int:
            due = self.due.get(writer, number if self.start else 1)
            for lost in range(due, min(number, due + MAX_FINDINGS)):
                self.gaps[writer, lost] = self.tree.size + 1
            self.gaps.pop((writer, number), None)
            self.due[writer] = max(due, number + 1)

    def meet(self, signed: Checkpoint) -> bool:
        """Hold the tree against a signed root of its size; remember the first that it does not give."""
        given = signed.root == self.tree.root()
        self.met.add(signed.size)
        if not self.bad:
            self.good, self.bad = (signed.size, 0) if given else (self.good, signed.size)
        return given

    def meet_known(self) -> None:
        if self.tree.size in self.known:
            self.meet(self.known[self.tree.size])

    def end(self, newest: Checkpoint, right: list[str]) -> None:
        """Lead the tree on to the newest checkpoint, and tell what does not fit."""
        if self.tree.size < self.to:
            self.findings.add("missing", f"event {self.tree.size + 1} and all after it are missing", last=True)
        self.tree.push_to(newest.size, right)
        if self.meet(newest) and self.bad:
            self.findings.add("forked", f"the checkpoint of {self.bad} has not the root of its events; the newest has")
        elif self.bad:
            self.findings.add("rewritten", f"events {self.good + 1} to {self.bad} do not give the root signed there")
        for (writer, number), seq in self.gaps.items():
            self.findings.add("lost", f"number {number} of writer {writer!a:.40}, due before event {seq}, is not there")


def check_bundle(file: gzip.GzipFile, keys: Keys, paths: list[str], findings: Findings) -> Checked:
    """Walk along a bundle once. Raises: Forged; Stop; ValueError; OSError."""
    line, digest, tree = file.readline(MAX_LINE), sha256(), Tree()
    header = read_object(line, MAX_LINE, HEADER)
    need(header["format"] == BUNDLE, "it is no bundle that this program can read")
    (newest, known), to = open_notes(header, keys, paths, findings), header["to"]
    if max(known, default=0) > newest.size:
        findings.add("shrunken", f"you keep a checkpoint of {max(known)} events, and its newest is of {newest.size}")
    need(header["after"] <= to <= newest.size, "its sizes contradict each other")
    tree.push_to(header["after"], header["left"])
    walk = Walk(tree, to, known, findings)
    while not line.startswith(b'{"end":'):
        digest.update(line)
        line = file.readline(MAX_LINE)
        need(line.endswith(b"\n"), f"after event {tree.size} it is cut short, or a line is longer than any event")
        if line.startswith(b'{"checkpoint":'):
            signed = keys.open_checkpoint(read_object(line, 2 * MAX_NOTE, {"checkpoint": str})["checkpoint"])
            need(signed.size == tree.size, f"after event {tree.size} stands the checkpoint of {signed.size}")
            walk.meet(signed)
        elif not line.startswith(b'{"end":'):
            walk.event(line)
    walk.end(newest, header["right"])
    whole = read_object(line, MAX_NOTE, {"end": str})["end"] == digest.hexdigest() and not file.read(1)
    need(whole, "it is damaged: its lines do not give the digest at its end")
    compared = sum(walk.start <= size <= to or size == newest.size for size in known)
    need(compared or not paths, f"you keep no checkpoint of {walk.start} to {to} events: ask for a wider range")
    seen = f"events {walk.start + 1:,} to {to:,} by {len(walk.due):,} writers, {walk.bare:,} without actor and body\n"
    return newest, compared, f"{seen}{len(walk.met):,} signed roots, {compared:,} of which you knew before"


def check_proof(data: bytes, keys: Keys, paths: list[str], findings: Findings) -> Checked:
    """Check that one event is in the log. Raises: as above."""
    proof = read_object(data, MAX_PROOF, ONE_EVENT)
    need(proof["format"] == PROOF, "it is no proof that this program can read")
    (newest, known), stated = open_notes(proof, keys, paths, findings), proof["hash"]
    leaf, private = (encoder.encode(proof.get(name)).encode() for name in ("event", "private"))
    seq = check_event(leaf, stated, private, findings)["seq"]
    need(0 < seq <= newest.size, "its sizes contradict each other")
    if root_of_path(bytes.fromhex(stated), seq - 1, newest.size, proof["hashes"]) != newest.root:
        findings.add("rewritten", f"event {seq} is not in the log whose root was signed at {newest.size}")
    return newest, newest.size in known, f"event {seq:,} of {newest.size:,}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", help="what manage.py export_audit wrote, or the proof of one event")
    parser.add_argument("--key", required=True, help="the log's public key, or a file of keys; not got along with FILE")
    parser.add_argument("--known", action="append", default=[], help="a file of checkpoints that you kept from before")
    parser.add_argument("--keep", help="where to write the newest checkpoint if all is well: --known next time")
    given, findings = parser.parse_args(), Findings()
    try:
        keys = Keys(map(read_key, Path(given.key).read_text().split() if Path(given.key).is_file() else [given.key]))
        with open(given.file, "rb") as file, gzip.GzipFile(fileobj=file) as bundle:
            if file.peek(2)[:2] == b"\x1f\x8b":
                newest, compared, seen = check_bundle(bundle, keys, given.known, findings)
            else:
                newest, compared, seen = check_proof(file.read(MAX_PROOF + 1), keys, given.known, findings)
    except (OSError, EOFError, zlib.error, ValueError, Stop) as error:
        forged = isinstance(error, Forged)
        print("\n".join([*findings, f"BROKEN: {error} (forged)" if forged else f"NOT CHECKED: {error}"]))
        return 1 if findings or forged else 2
    bound = "" if compared else ", as far as can be told without a checkpoint that you kept (--known)"
    said = findings or [f"HOLDS{bound}. The newest checkpoint:\n\n{newest.note}"]
    print("\n".join([seen, *said]))
    if given.keep and not findings:
        Path(given.keep).write_text(newest.note, "utf-8")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
