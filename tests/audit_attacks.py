"""Attacks on the trail by one with full rights on ledger and store, who knows this program, and has no key.

Each is run against `manage.py verify_audit` and against the offline verifier. `named` says how it must be found: the
problem, and the first and last event of the narrowest place that can be told.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import connection

from audit.events import EventType
from audit.lease import get_head
from audit.ledger import iterate_numbered, record
from audit.models import AuditTile, Checkpoint, LedgerEvent, TreeHead
from audit.problems import Problem
from audit.proof import notes
from audit.proof.leaves import seal
from audit.proof.merkle import Frontier
from audit.proof.publishing import file_next
from audit.proof.tiles import Tree, write_tiles
from audit.sequencer import Sequencer
from audit.transactions import write_transaction
from audit.wire import Document
from tests.audit_cast import NOW, make_event, record_events

EARLY, COUNT = 400, 600
SIZES = (256, EARLY, 512, COUNT)  # signed, and in the second place
PLAIN: dict[str, Any] = {"type": EventType.TASK_CANCELLED, "decision": "", "reason": "", "body": {}}
SEALED_MODELS = (LedgerEvent, TreeHead, AuditTile, Checkpoint)


@dataclass(slots=True, kw_only=True)
class Trail:
    """What the attacker finds: a store, a ledger, and a copy of both of when there were 400 events."""

    store: Any
    early_rows: list[Any] = field(default_factory=list)
    early_documents: list[Document] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is done, and how the verifier must name it."""

    run: Callable[[Trail], object]
    named: tuple[tuple[Problem, int, int], ...]


def lay_trail(store: Any) -> Trail:
    """Record 600 events; each is numbered, shipped, and covered by a checkpoint in the second place."""
    trail = Trail(store=store)
    record_plainly(EARLY)
    sequence()
    trail.early_rows = [row for model in SEALED_MODELS for row in model.objects.all()]
    trail.early_documents = list(store.find({}))
    record_plainly(COUNT - EARLY, start=EARLY)
    sequence()
    assert tuple(Checkpoint.objects.order_by("size").values_list("size", flat=True)) == SIZES
    return trail


def record_plainly(count: int, *, start: int = 0) -> None:
    record_events(count, start=start, **PLAIN)


def sequence() -> None:
    """Number, sign, ship and file all that waits, as the product does."""
    number()
    while file_next():
        pass


def number(*, signing: bool = True) -> None:
    """Number and ship what waits; each batch is signed, as if a second had passed, or none."""
    seconds = itertools.count(1.0, 2.0)
    sequencer = Sequencer("attacked", lease_seconds=1e6, monotonic=lambda: next(seconds), steal=True)
    if not signing:
        sequencer._signer.sign_due = lambda *_, **__: []  # type: ignore[method-assign]
    while sequencer.step():
        pass
    sequencer.step()  # signs what is left
    sequencer.release()


# --- what the attacker can do ---------------------------------------------------------------------------------
def read_log() -> list[Document]:
    return list(iterate_numbered(after=0, to=get_head().seq))


def change(trail: Trail, seq: int, **values: Any) -> None:
    """Change an event in both places, and nothing else."""
    trail.store.update_one({"seq": seq}, {"$set": values})
    columns = {"body": orjson.loads}
    LedgerEvent.objects.filter(seq=seq).update(
        **{name: columns.get(name, lambda value: value)(value) for name, value in values.items()}
    )


def delete(trail: Trail, seq: int) -> None:
    trail.store.delete_one({"seq": seq})
    LedgerEvent.objects.filter(seq=seq).delete()


def insert(trail: Trail, seq: int) -> None:
    """Put another event under a number."""
    document = make_document(seq)
    trail.store.insert_one(document)
    LedgerEvent.objects.bulk_create([to_row(document)])


def swap(trail: Trail, seq: int) -> None:
    """Exchange an event with the next in both places."""
    two = list(trail.store.find({"seq": {"$in": [seq, seq + 1]}}).sort("seq", 1))
    trail.store.delete_many({"seq": {"$in": [seq, seq + 1]}})
    trail.store.insert_many([two[0] | {"seq": seq + 1}, two[1] | {"seq": seq}])
    for old, new in ((seq, -1), (seq + 1, seq), (-1, seq + 1)):
        LedgerEvent.objects.filter(seq=old).update(seq=new)


def make_document(number: int) -> Document:
    """Return an event that never happened, whole in itself."""
    event = make_event(number, **PLAIN, actor="user:mallory")
    document: Document = {
        "_id": event.id, "type": str(event.type), "at": "2026-11-23T12:00:00.000000Z", "actor": event.actor,
        "taskId": event.task_id, "agentId": event.agent_id, "skillId": event.skill_id,
        "decision": event.decision or None, "reason": event.reason or None,
        "traceId": None, "causeId": None, "writer": None, "writerSeq": None,
        "body": orjson.dumps(event.body).decode(),
    }  # fmt: skip
    seal(document, seq=number, salt="5a" * 16)
    return document


def to_row(document: Document) -> LedgerEvent:
    return LedgerEvent(
        event_id=document["_id"],
        type=document["type"],
        at=datetime.fromisoformat(document["at"]),
        actor=document["actor"] or "",
        task_id=document["taskId"] or "",
        agent_id=document["agentId"] or "",
        skill_id=document["skillId"] or "",
        decision=document["decision"] or "",
        reason=document["reason"] or "",
        trace_id=document["traceId"] or "",
        cause_id=document["causeId"] or "",
        writer=document["writer"] or "",
        writer_seq=document["writerSeq"],
        body=orjson.loads(document["body"]),
        seq=document["seq"],
        salt=document["salt"],
        private=document["private"],
        hash=document["hash"],
    )


def rewrite(trail: Trail, documents: Iterable[Document], *, key: Ed25519PrivateKey | None = None) -> None:
    """Make ledger, tiles, head and store hold these events, all hashes made anew by the product's own code.

    Checkpoints that contradict are removed from the database, or signed anew with a key of the attacker's own.
    """
    log = [dict(document) for document in documents]
    leaves = [seal(document, seq=seq, salt=document["salt"]) for seq, document in enumerate(log, start=1)]
    with write_transaction():
        LedgerEvent.objects.filter(seq__isnull=False).delete()
        LedgerEvent.objects.bulk_create([to_row(document) for document in log])
        frontier = regrow(leaves)
        size = frontier.size
        TreeHead.objects.update(seq=size, root=frontier.root.hex(), frontier=frontier.dump(), shipped_seq=size)
        for checkpoint in Checkpoint.objects.all():
            if checkpoint.size > size or key is None:
                checkpoint.delete()
            else:
                forge(checkpoint.size, Frontier().append(leaves[: checkpoint.size]).root, key)
    trail.store.delete_many({})
    if log:
        trail.store.insert_many(log)


def regrow(leaves: list[bytes]) -> Frontier:
    """Write all tiles anew, and return the tree."""
    AuditTile.objects.all().delete()
    write_tiles(Tree().grow(leaves))
    return Frontier().append(leaves)


def forge(size: int, root: bytes, key: Ed25519PrivateKey) -> None:
    """Replace a checkpoint in the database by one that another key has signed."""
    note = notes.sign(notes.Checkpoint(origin=settings.AUDIT_ORIGIN, size=size, root=root, at=NOW), key)
    Checkpoint.objects.filter(size=size).update(root=root.hex(), note=note)


def put_back_old_copy(trail: Trail) -> None:
    """Restore both databases to when there were 400 events."""
    for model in SEALED_MODELS:
        model.objects.all().delete()
    for row in trail.early_rows:
        row.save(force_insert=True)
    trail.store.delete_many({})
    trail.store.insert_many(trail.early_documents)


def go_on_from_old_copy(trail: Trail) -> None:
    put_back_old_copy(trail)
    go_on(250)


def wipe(trail: Trail) -> None:
    for model in SEALED_MODELS:
        model.objects.all().delete()
    trail.store.delete_many({})


def edited(documents: list[Document], seq: int) -> list[Document]:
    return [d | {"actor": "user:mallory"} if d["seq"] == seq else d for d in documents]


def go_on(count: int) -> None:
    """Let the product record, number, sign and file more events: it does not know what was done to it."""
    record_plainly(count, start=COUNT)
    sequence()


def fork(trail: Trail, *, at: int) -> None:
    rewrite(trail, read_log()[: at - 1])
    go_on(250)


def forge_newest(trail: Trail) -> None:
    forge(COUNT, bytes.fromhex(get_head().root), Ed25519PrivateKey.generate())


def forge_with_announced_key(trail: Trail) -> None:
    """Record that the key was rotated to the attacker's own, let the product number and sign it, and use that key."""
    key = Ed25519PrivateKey.generate()
    text = str(notes.public_key_of(key, name=settings.AUDIT_ORIGIN))
    with write_transaction():
        record(make_event(**PLAIN | {"type": EventType.KEY_ROTATED, "body": {"oldKey": text, "newKey": text}}))
    sequence()
    rewrite(trail, edited(read_log(), 300), key=key)


def cut_unnumbered(trail: Trail) -> None:
    """Take an event out of the ledger before it was numbered; its connection goes on writing."""
    record_plainly(3, start=COUNT)
    LedgerEvent.objects.filter(seq__isnull=True, task_id=f"t-{COUNT + 1}").delete()
    sequence()


def cut_newest_unnumbered(trail: Trail) -> None:
    """Take the newest event of a connection before it was numbered, and before that connection writes its next."""
    record_plainly(2, start=COUNT)
    LedgerEvent.objects.filter(seq__isnull=True, task_id=f"t-{COUNT + 1}").delete()
    record_plainly(1, start=COUNT + 2)
    sequence()


def cut_unexported(trail: Trail) -> None:
    """Take away events that were numbered, and that no checkpoint covered yet: the one bound that remains."""
    connection._audit_writer = None  # type: ignore[attr-defined]  # of a connection that writes no more
    record_plainly(5, start=COUNT)
    number(signing=False)
    checkpoints = list(Checkpoint.objects.all())
    rewrite(trail, read_log()[:COUNT])
    Checkpoint.objects.bulk_create(checkpoints)


AFTER_256, AFTER_400 = (257, EARLY), (EARLY + 1, 512)  # between the checkpoints around event 300, and event 500

ATTACKS: dict[str, Attack] = {
    "edit": Attack(run=lambda t: change(t, 300, actor="user:mallory"), named=((Problem.EDITED, 300, 300),)),
    "edit the body": Attack(run=lambda t: change(t, 300, body='{"number":7}'), named=((Problem.EDITED, 300, 300),)),
    "delete": Attack(run=lambda t: delete(t, 300), named=((Problem.MISSING, 300, 300),)),
    "insert": Attack(run=lambda t: insert(t, COUNT + 1), named=((Problem.INSERTED, COUNT + 1, COUNT + 1),)),
    "swap": Attack(run=lambda t: swap(t, 300), named=((Problem.EDITED, 300, 301),)),
    "edit and re-hash": Attack(
        run=lambda t: rewrite(t, edited(read_log(), 300)), named=((Problem.REWRITTEN, *AFTER_256),)
    ),
    "edit, re-hash and forge": Attack(
        run=lambda t: rewrite(t, edited(read_log(), 300), key=Ed25519PrivateKey.generate()),
        named=((Problem.REWRITTEN, *AFTER_256), (Problem.FORGED, EARLY, EARLY)),
    ),
    "delete and re-hash": Attack(
        run=lambda t: rewrite(t, [d for d in read_log() if d["seq"] != 300]),
        named=((Problem.REWRITTEN, *AFTER_256), (Problem.SHRUNKEN, COUNT, COUNT)),
    ),
    "insert and re-hash": Attack(
        run=lambda t: rewrite(t, [*(log := read_log())[:299], make_document(300), *log[299:]]),
        named=((Problem.REWRITTEN, *AFTER_256),),
    ),
    "swap and re-hash": Attack(
        run=lambda t: rewrite(t, [*(log := read_log())[:299], log[300], log[299], *log[301:]]),
        named=((Problem.REWRITTEN, *AFTER_256),),
    ),
    "truncate": Attack(run=lambda t: rewrite(t, read_log()[:500]), named=((Problem.SHRUNKEN, 501, COUNT),)),
    "wipe": Attack(run=wipe, named=((Problem.SHRUNKEN, 1, COUNT),)),
    "fork": Attack(
        run=lambda t: rewrite(t, [*read_log()[:499], *(make_document(n) for n in range(500, 700))]),
        named=((Problem.REWRITTEN, *AFTER_400),),
    ),
    "fork that goes on": Attack(run=lambda t: fork(t, at=500), named=((Problem.FORKED, *AFTER_400),)),
    "old copy": Attack(run=put_back_old_copy, named=((Problem.SHRUNKEN, EARLY + 1, COUNT),)),
    "old copy that goes on": Attack(run=go_on_from_old_copy, named=((Problem.FORKED, *AFTER_400),)),
    "forge a checkpoint": Attack(run=forge_newest, named=((Problem.FORGED, COUNT, COUNT),)),
    "forge with an announced key": Attack(
        run=forge_with_announced_key, named=((Problem.FORGED, EARLY, EARLY), (Problem.REWRITTEN, *AFTER_256))
    ),
    "cut before numbering": Attack(run=cut_unnumbered, named=((Problem.LOST, COUNT + 2, COUNT + 2),)),
    "cut the newest": Attack(run=cut_newest_unnumbered, named=((Problem.LOST, COUNT + 2, COUNT + 2),)),
}
