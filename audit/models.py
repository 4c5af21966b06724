"""The write-ahead ledger: events wait here, in the transaction of the change they tell of."""

from django.db import models

from audit.fields import JsonText


class LedgerEvent(models.Model):
    """One event; `seq`, `salt`, `private` and `hash` are empty until the sequencer has numbered it.

    `writer` is the connection that recorded it, `writer_seq` its own count; both are empty in events of before.
    """

    event_id = models.CharField(max_length=64, unique=True)
    type = models.CharField(max_length=64)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    task_id = models.CharField(max_length=64, blank=True)
    agent_id = models.CharField(max_length=64, blank=True)
    skill_id = models.CharField(max_length=64, blank=True)
    decision = models.CharField(max_length=8, blank=True)
    reason = models.CharField(max_length=64, blank=True)
    trace_id = models.CharField(max_length=64, blank=True)
    cause_id = models.CharField(max_length=64, blank=True)
    writer = models.CharField(max_length=32, blank=True)
    writer_seq = models.BigIntegerField(null=True)
    body = JsonText()
    seq = models.BigIntegerField(null=True, unique=True)
    salt = models.CharField(max_length=32, blank=True)
    private = models.CharField(max_length=64, blank=True)  # digest of salt, actor and body
    hash = models.CharField(max_length=64, blank=True)  # of the leaf

    class Meta:
        indexes = [
            models.Index(fields=["id"], name="ledger_unnumbered", condition=models.Q(seq__isnull=True)),
        ]
        constraints = [models.UniqueConstraint(fields=["writer", "writer_seq"], name="ledger_writer_counts")]


class TreeHead(models.Model):
    """The one row that holds the tree's end, the sequencer's lease and what was shipped."""

    name = models.CharField(max_length=32, primary_key=True)  # always "main"
    seq = models.BigIntegerField(default=0)  # events in the tree
    root = models.CharField(max_length=64, blank=True)
    frontier = models.BinaryField(default=bytes)  # the roots of its full subtrees, the largest first
    archived_seq = models.BigIntegerField(default=0)  # every event up to here was moved out, with its proofs
    thinned_size = models.BigIntegerField(default=0)  # of the older checkpoints only some are kept here
    shipped_seq = models.BigIntegerField(default=0)  # every event up to here is in the store
    shipped_at = models.DateTimeField(null=True)
    store_fault = models.CharField(max_length=300, blank=True)  # why shipping waits; empty when all is well
    checkpoint_fault = models.CharField(max_length=300, blank=True, default="")  # why none is signed, or none filed
    holder = models.CharField(max_length=128, blank=True)
    fence = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)


class AuditTile(models.Model):
    """256 hashes of one level of the tree, written once it is full, and the hash over them."""

    level = models.SmallIntegerField()
    position = models.BigIntegerField()
    hashes = models.BinaryField()
    root = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["level", "position"], name="tile_place")]


class Checkpoint(models.Model):
    """What the log was at a moment, signed; `note` is what leaves this database, and is all that counts."""

    size = models.BigIntegerField(primary_key=True)
    root = models.CharField(max_length=64)
    at = models.DateTimeField()
    note = models.TextField()
    filed_at = models.DateTimeField(null=True)  # in the folder, the second place
    posted_at = models.DateTimeField(null=True)  # taken by the webhook

    class Meta:
        indexes = [
            models.Index(fields=["size"], name="checkpoint_unfiled", condition=models.Q(filed_at__isnull=True)),
            models.Index(fields=["size"], name="checkpoint_unposted", condition=models.Q(posted_at__isnull=True)),
        ]


class ArchivedSegment(models.Model):
    """A run of the log that was moved out whole, and the file that it is in; one follows the other from event 1."""

    to_seq = models.BigIntegerField(primary_key=True)
    after_seq = models.BigIntegerField()
    root = models.CharField(max_length=64)  # of the log's first `to_seq` events
    file = models.CharField(max_length=200)  # its name in the archives' folder
    sha256 = models.CharField(max_length=64)  # of the file; an erasure that rewrites it changes this too
    archived_at = models.DateTimeField()
    cleared = models.BooleanField(default=False)  # out of the store as well


class Erasure(models.Model):
    """What of a person's data is to go, until it is gone everywhere; it never says whose it was."""

    subject = models.CharField(max_length=32, primary_key=True)  # a random name that stands for the person
    at = models.DateTimeField()
    seqs = JsonText()  # of events whose private part is gone from the ledger
    archived = JsonText()  # by an archive's name, numbers of events in it
    tasks = JsonText()  # whose transcripts go
    settled = models.BooleanField(default=False)  # gone from the store and the archives too


class TranscriptEntry(models.Model):
    """One moment of an agent's run, on its way to the audit store; already redacted, written with its step."""

    entry_id = models.CharField(max_length=64, unique=True)
    task_id = models.CharField(max_length=64)
    at = models.DateTimeField()
    kind = models.CharField(max_length=16)  # "prompt", "reply", "call", "result", "verdict", "error"
    body = JsonText()
    shipped = models.BooleanField(default=False)

    class Meta:
        indexes = [
            models.Index(fields=["task_id", "id"], name="transcript_of_task"),
            models.Index(fields=["id"], name="transcript_unshipped", condition=models.Q(shipped=False)),
        ]


class RunState(models.TextChoices):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class BackgroundRun(models.Model):
    """Work that outlasts a request, with how far it is and what came out; see `audit.background`."""

    id = models.CharField(max_length=64, primary_key=True)
    state = models.CharField(max_length=16, choices=RunState.choices, default=RunState.WAITING)
    asked_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    beat_at = models.DateTimeField(null=True)  # whoever runs it and is silent for long is taken for dead
    ended_at = models.DateTimeField(null=True)
    total = models.PositiveIntegerField(default=0)  # what there is to look at
    done = models.PositiveIntegerField(default=0)
    result = JsonText(null=True)
    error = models.TextField(blank=True)

    class Meta:
        abstract = True


class TrailRunKind(models.TextChoices):
    VERIFY = "verify"
    EXPORT = "export"


class TrailRun(BackgroundRun):
    """A verification of a range of the trail, or an export of a filtered part of it: both by number, both kept."""

    kind = models.CharField(max_length=16, choices=TrailRunKind.choices)
    first_seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    details = JsonText()  # of an export: its filters and format; of a verification, empty

    class Meta:
        indexes = [
            models.Index(fields=["kind", "-created_at"], name="trail_run_newest"),
            models.Index(
                fields=["created_at"], name="trail_run_open", condition=models.Q(state__in=["waiting", "running"])
            ),
        ]
