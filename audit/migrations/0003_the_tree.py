"""From a chain of hashes to a Merkle tree: what was numbered keeps its numbers and becomes leaves.

The store's documents take another shape with it, so everything is shipped anew, into a new collection.
"""

import secrets
from itertools import zip_longest
from typing import Any

from django.db import migrations, models

from audit.canonical import canonical_bytes
from audit.proof.leaves import SALT_BYTES, seal
from audit.proof.merkle import TILE_WIDTH, Frontier, fold
from audit.wire import format_at

_PAGE = 1_024


def grow_tree(apps: Any, schema_editor: Any) -> None:
    """Give each numbered event its salt and hashes, and write tiles and head."""
    events, head = apps.get_model("audit", "LedgerEvent"), apps.get_model("audit", "TreeHead").objects.first()
    if head is None:
        return
    frontier, levels = Frontier(), [[]]  # of each level the hashes whose tile is not full yet
    tiles = apps.get_model("audit", "AuditTile").objects
    for start in range(0, head.seq, _PAGE):
        page = list(events.objects.filter(seq__gt=start, seq__lte=min(start + _PAGE, head.seq)).order_by("seq"))
        _refuse_gaps(page, after=start, to=min(start + _PAGE, head.seq))
        leaves = [_seal(row) for row in page]
        events.objects.bulk_update(page, ["salt", "private", "hash"], batch_size=200)
        frontier = frontier.append(leaves)
        for leaf in leaves:
            _add(tiles, levels, leaf)
    head.root, head.frontier, head.shipped_seq = frontier.root.hex(), frontier.dump(), 0
    head.save()


def _refuse_gaps(page: list[Any], *, after: int, to: int) -> None:
    for seq, row in zip_longest(range(after + 1, to + 1), page):
        if row is None or row.seq != seq:
            raise RuntimeError(
                f"event {seq} is missing in the ledger, so its chain is broken already. Find out why and put it back "
                "(the audit store may hold it) before this version is installed; nothing was changed"
            )


def _add(tiles: Any, levels: list[list[bytes]], hash_: bytes, level: int = 0) -> None:
    """Add a hash to its level; what fills a tile goes on to the level above."""
    if level == len(levels):
        levels.append([])
    levels[level].append(hash_)
    if len(levels[level]) < TILE_WIDTH:
        return
    hashes, levels[level] = levels[level], []
    position = tiles.filter(level=level).count()
    tiles.create(level=level, position=position, hashes=b"".join(hashes), root=fold(hashes))
    _add(tiles, levels, fold(hashes), level + 1)


def _seal(row: Any) -> bytes:
    document = {
        "_id": row.event_id, "type": row.type, "at": format_at(row.at), "actor": row.actor or None,
        "taskId": row.task_id or None, "agentId": row.agent_id or None, "skillId": row.skill_id or None,
        "decision": row.decision or None, "reason": row.reason or None, "body": canonical_bytes(row.body).decode(),
    }  # fmt: skip
    leaf = seal(document, seq=row.seq, salt=secrets.token_hex(SALT_BYTES))
    row.salt, row.private, row.hash = document["salt"], document["private"], document["hash"]
    return leaf


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_agent_runs")]

    operations = [
        migrations.RenameModel("ChainHead", "TreeHead"),
        migrations.RenameField("TreeHead", "hash", "root"),
        migrations.AlterField("TreeHead", "root", models.CharField(blank=True, max_length=64)),
        migrations.AddField("TreeHead", "frontier", models.BinaryField(default=bytes)),
        migrations.AddField("TreeHead", "archived_seq", models.BigIntegerField(default=0)),
        migrations.AddField("TreeHead", "checkpoint_fault", models.CharField(blank=True, default="", max_length=300)),
        migrations.RemoveField("LedgerEvent", "prev_hash"),
        migrations.AddField("LedgerEvent", "trace_id", models.CharField(blank=True, default="", max_length=64), False),
        migrations.AddField("LedgerEvent", "cause_id", models.CharField(blank=True, default="", max_length=64), False),
        migrations.AddField("LedgerEvent", "writer", models.CharField(blank=True, default="", max_length=32), False),
        migrations.AddField("LedgerEvent", "writer_seq", models.BigIntegerField(null=True)),
        migrations.AddField("LedgerEvent", "salt", models.CharField(blank=True, default="", max_length=32), False),
        migrations.AddField("LedgerEvent", "private", models.CharField(blank=True, default="", max_length=64), False),
        migrations.AddConstraint(
            "LedgerEvent", models.UniqueConstraint(fields=["writer", "writer_seq"], name="ledger_writer_counts")
        ),
        migrations.CreateModel(
            "AuditTile",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("level", models.SmallIntegerField()),
                ("position", models.BigIntegerField()),
                ("hashes", models.BinaryField()),
                ("root", models.BinaryField()),
            ],
            options={"constraints": [models.UniqueConstraint(fields=["level", "position"], name="tile_place")]},
        ),
        migrations.CreateModel(
            "Checkpoint",
            [
                ("size", models.BigIntegerField(primary_key=True, serialize=False)),
                ("root", models.CharField(max_length=64)),
                ("at", models.DateTimeField()),
                ("note", models.TextField()),
                ("filed_at", models.DateTimeField(null=True)),
                ("posted_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["size"], name="checkpoint_unfiled", condition=models.Q(filed_at__isnull=True)),
                    models.Index(
                        fields=["size"], name="checkpoint_unposted", condition=models.Q(posted_at__isnull=True)
                    ),
                ]
            },
        ),
        migrations.RunPython(grow_tree, migrations.RunPython.noop),
    ]
