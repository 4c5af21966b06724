"""A long audit trail as the sequencer would leave it, written straight into the ledger."""

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any

import orjson
from django.db import connection

BATCH = 25_600
SIGN_EACH = 256
WRITERS = 12
TYPES = ("decision.made", "step.finished", "task.submitted", "run.started", "task.succeeded", "budget.settled")
START = datetime(2026, 1, 1, tzinfo=UTC)

_INSERT = """
    INSERT INTO audit_ledgerevent
        (event_id, type, actor, task_id, agent_id, skill_id, decision, reason, trace_id, cause_id, at, body,
         writer, writer_seq, seq, salt, private, hash)
    VALUES (%s, %s, %s, %s, %s, %s, %s, '', %s, '', %s, %s, %s, %s, %s, %s, %s, %s)
"""


@contextmanager
def empty_state() -> Iterator[Path]:
    """Point SQLite, key and checkpoints at a folder of their own while inside, and give it."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, database = Path(name), settings.DATABASES["default"]
        before = database["NAME"], settings.AUDIT_KEY_FILE
        connections.close_all()
        database["NAME"] = connections["default"].settings_dict["NAME"] = str(folder / "state.sqlite3")
        settings.AUDIT_KEY_FILE = folder / "key.pem"
        try:
            call_command("migrate", verbosity=0)
            yield folder
        finally:
            connections.close_all()
            database["NAME"] = connections["default"].settings_dict["NAME"] = before[0]
            settings.AUDIT_KEY_FILE = before[1]


def write_trail(count: int) -> None:
    """Insert `count` numbered events, their tiles, and a signed checkpoint each 256 of them."""
    from audit.lease import HEAD
    from audit.models import Checkpoint, TreeHead
    from audit.proof.leaves import SALT_BYTES, seal
    from audit.proof.tiles import Tree, write_tiles
    from audit.transactions import write_transaction

    tree, documents = Tree(), _make_documents(count)
    for batch in batched(documents, BATCH, strict=False):
        salts = os.urandom(SALT_BYTES * len(batch)).hex()
        leaves = [
            seal(document, seq=tree.frontier.size + n + 1, salt=salts[2 * SALT_BYTES * n :][: 2 * SALT_BYTES])
            for n, document in enumerate(batch)
        ]
        trees = list(tree.grow(leaves))
        tree = trees[-1]
        with write_transaction(), connection.cursor() as cursor:
            cursor.executemany(_INSERT, [_row(document) for document in batch])
            write_tiles(trees)
            Checkpoint.objects.bulk_create([_sign(one.frontier) for one in trees])
    frontier = tree.frontier
    TreeHead.objects.create(name=HEAD, seq=count, root=frontier.root.hex(), frontier=frontier.dump(), shipped_seq=count)


def _sign(frontier: Any) -> Any:
    from django.conf import settings

    from audit.models import Checkpoint
    from audit.proof import notes
    from audit.proof.keys import load_key

    at = START + timedelta(seconds=frontier.size)
    checkpoint = notes.Checkpoint(origin=settings.AUDIT_ORIGIN, size=frontier.size, root=frontier.root, at=at)
    note = notes.sign(checkpoint, load_key())
    return Checkpoint(size=frontier.size, root=frontier.root.hex(), at=at, note=note)


def _make_documents(count: int) -> Iterator[dict[str, Any]]:
    from audit.wire import format_at

    draw = random.Random(1)
    counts = [itertools.count(1) for _ in range(WRITERS)]
    for number in range(count):
        writer = draw.randrange(WRITERS)
        body = {
            "arguments": {"filePath": f"reports/file-{draw.randrange(9_999)}.txt", "format": "markdown"},
            "n": number,
        }
        yield {
            "_id": f"{number:032x}", "type": TYPES[number % len(TYPES)],
            "at": format_at(START + timedelta(seconds=number)),
            "actor": f"agent:agent-{number % 11}", "taskId": f"{number // 7:032x}", "agentId": f"agent-{number % 11}",
            "skillId": "documentParser", "decision": "allow" if number % 3 else "deny", "reason": None,
            "traceId": f"{number // 7:032x}", "causeId": None, "writer": f"{writer:032x}",
            "writerSeq": next(counts[writer]), "body": orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode(),
        }  # fmt: skip


def _row(document: dict[str, Any]) -> tuple[Any, ...]:
    at = document["at"].replace("T", " ").removesuffix("Z")
    keys = ("_id", "type", "actor", "taskId", "agentId", "skillId", "decision", "traceId")
    return (
        *(document[key] for key in keys), at,
        *(document[key] for key in ("body", "writer", "writerSeq", "seq", "salt", "private", "hash")),
    )  # fmt: skip
