"""Policy versions, recorded decisions, counters and approvals."""

from django.db import models

from audit.fields import JsonText


class PolicyVersion(models.Model):
    """One numbered, immutable set of rules; the highest number is in force."""

    number = models.PositiveIntegerField(primary_key=True)
    rules = JsonText()
    digest = models.CharField(max_length=64)
    author = models.CharField(max_length=200)
    reason = models.TextField()
    created_at = models.DateTimeField()


class DecisionRecord(models.Model):
    """One decision with all it was made from, so that it can be explained and replayed."""

    id = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField()
    agent_id = models.CharField(max_length=64)
    agent_version = models.PositiveIntegerField()
    skill_id = models.CharField(max_length=64)
    skill_version = models.CharField(max_length=16)
    arguments = JsonText()
    arguments_digest = models.CharField(max_length=64)
    resource = JsonText()
    counters = JsonText()
    effect = models.CharField(max_length=8)
    reason = models.CharField(max_length=64)
    detail = models.TextField(blank=True)
    deciding_rules = JsonText()
    policy_version = models.PositiveIntegerField()
    task_id = models.CharField(max_length=64, db_index=True)
    trace_id = models.CharField(max_length=64)


class CallCounter(models.Model):
    """Calls counted against a ceiling; the key names task, skill and rule."""

    key = models.CharField(max_length=255, primary_key=True)
    count = models.PositiveIntegerField()


class RateCell(models.Model):
    """GCRA's theoretical arrival time, in microseconds since 1970, for one rule and agent."""

    key = models.CharField(max_length=255, primary_key=True)
    arrival_micros = models.BigIntegerField()


class ApprovalState(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # the policy changed before anyone decided: the gate asks again
    USED = "used"


class Approval(models.Model):
    """A question to a person, bound by `digest` to agent, skill, exact arguments and policy version."""

    id = models.CharField(max_length=64, primary_key=True)
    kind = models.CharField(max_length=16, default="call")  # "call", "step_unknown" after a crash, "review"
    state = models.CharField(max_length=16, choices=ApprovalState.choices, default=ApprovalState.PENDING)
    task_id = models.CharField(max_length=64, db_index=True)
    agent_id = models.CharField(max_length=64)
    skill_id = models.CharField(max_length=64)
    arguments = JsonText()
    digest = models.CharField(max_length=64)
    policy_version = models.PositiveIntegerField()
    rule_id = models.CharField(max_length=128, blank=True)
    submitted_by = models.CharField(max_length=200)
    four_eyes = models.BooleanField(default=True)  # may not be answered by the one who submitted
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True)
    note = models.TextField(blank=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["expires_at"], name="approval_pending", condition=models.Q(state="pending")),
        ]
