"""From the chain of before to the tree: what was numbered keeps its number, and all is shipped anew."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from audit import documents, ledger
from audit.lease import get_head
from audit.models import AuditTile
from audit.proof.leaves import is_whole
from audit.proof.log import latest_checkpoint, prove_event
from audit.proof.merkle import TILE_WIDTH, Frontier, fold, root_from_inclusion
from audit.sequencer import Sequencer
from tests.audit_cast import NOW, record_events

pytestmark = pytest.mark.django_db(transaction=True)

NUMBERED = 1_000
UNNUMBERED = 3


@pytest.fixture
def before() -> Iterator[Any]:
    """Give the models as they were with the chain; afterwards the tables are the newest again."""
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes()
    executor.migrate([("audit", "0002_agent_runs")])
    yield executor.loader.project_state([("audit", "0002_agent_runs")]).apps
    migrate(newest)


def migrate(targets: list[tuple[str, str]]) -> None:
    MigrationExecutor(connection).migrate(targets)


def fill(apps: Any) -> None:
    """Write a ledger as the version before left it: numbered, chained, and shipped."""
    events = apps.get_model("audit", "LedgerEvent").objects
    events.bulk_create(
        events.model(
            event_id=f"e-{n}", type="decision.made", at=NOW, actor="user:olga", task_id=f"t-{n}", decision="allow",
            body={"number": n, "text": "é\u2028"}, seq=n if n <= NUMBERED else None,
            prev_hash="0" * 64 if n <= NUMBERED else "", hash="f" * 64 if n <= NUMBERED else "",
        )
        for n in range(1, NUMBERED + UNNUMBERED + 1)
    )  # fmt: skip
    heads = apps.get_model("audit", "ChainHead").objects
    heads.create(name="main", seq=NUMBERED, hash="f" * 64, shipped_seq=NUMBERED, shipped_at=NOW, fence=7)


def test_what_was_numbered_becomes_leaves_and_is_shipped_anew(before: Any, audit_store: Any) -> None:
    fill(before)
    old_collection = audit_store.database["audit_events"]
    old_collection.insert_one({"_id": "e-1", "seq": 1})
    migrate([("audit", "0003_the_tree")])
    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())

    numbered = list(ledger.iterate_numbered(after=0, to=NUMBERED))
    assert [document["_id"] for document in numbered] == [f"e-{n}" for n in range(1, NUMBERED + 1)]
    assert all(map(is_whole, numbered))
    assert len({document["salt"] for document in numbered}) == NUMBERED
    leaves = [bytes.fromhex(document["hash"]) for document in numbered]
    head = get_head()
    assert (head.seq, head.shipped_seq, head.root) == (NUMBERED, 0, Frontier().append(leaves).root.hex())
    tiles = [leaves[start : start + TILE_WIDTH] for start in range(0, NUMBERED - TILE_WIDTH + 1, TILE_WIDTH)]
    assert [(bytes(tile.hashes), bytes(tile.root)) for tile in AuditTile.objects.order_by("position")] == [
        (b"".join(tile), fold(tile)) for tile in tiles
    ]

    record_events(2)
    sequencer = Sequencer("after")
    while sequencer.step():
        pass
    size = NUMBERED + UNNUMBERED + 2
    shipped = documents.get_collection().find().sort("seq", 1)
    assert [document["seq"] for document in shipped] == list(range(1, size + 1))
    assert old_collection.count_documents({}) == 1  # left alone
    signed = latest_checkpoint()
    assert signed is not None
    root = root_from_inclusion(leaves[500], 500, signed.size, prove_event(501, size=signed.size))
    assert root is not None
    assert (signed.size, root.hex()) == (size, signed.root)


def test_a_chain_with_a_hole_is_not_made_a_tree_in_silence(before: Any) -> None:
    fill(before)
    before.get_model("audit", "LedgerEvent").objects.filter(seq=700).delete()
    with pytest.raises(RuntimeError, match="event 700 is missing"):
        migrate([("audit", "0003_the_tree")])
    before.get_model("audit", "LedgerEvent").objects.all().delete()
    before.get_model("audit", "ChainHead").objects.all().delete()


def test_an_empty_ledger_is_an_empty_tree(before: Any) -> None:
    migrate(MigrationExecutor(connection).loader.graph.leaf_nodes())
    assert get_head().root == Frontier().root.hex()
