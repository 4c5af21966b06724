"""The write-ahead ledger: events wait here, in the transaction of the change they tell of."""

from django.db import models

from audit.fields import JsonText


class LedgerEvent(models.Model):
    """One event; `seq`, `prev_hash` and `hash` are empty until the sequencer has numbered it."""

    event_id = models.CharField(max_length=64, unique=True)
    type = models.CharField(max_length=64)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    task_id = models.CharField(max_length=64, blank=True)
    agent_id = models.CharField(max_length=64, blank=True)
    skill_id = models.CharField(max_length=64, blank=True)
    decision = models.CharField(max_length=8, blank=True)
    reason = models.CharField(max_length=64, blank=True)
    body = JsonText()
    seq = models.BigIntegerField(null=True, unique=True)
    prev_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["id"], name="ledger_unnumbered", condition=models.Q(seq__isnull=True)),
        ]


class ChainHead(models.Model):
    """The one row that holds the chain's end, the sequencer's lease and what was shipped."""

    name = models.CharField(max_length=32, primary_key=True)  # always "main"
    seq = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64)
    shipped_seq = models.BigIntegerField(default=0)  # every event up to here is in the store
    shipped_at = models.DateTimeField(null=True)
    store_fault = models.CharField(max_length=300, blank=True)  # why shipping waits; empty when all is well
    holder = models.CharField(max_length=128, blank=True)
    fence = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)


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
