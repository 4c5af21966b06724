"""Policy versions and drafts, recorded decisions, counters, approvals and grants."""

from django.db import models

from audit.fields import JsonText
from audit.models import BackgroundRun


class PolicyVersion(models.Model):
    """One numbered, immutable set of rules; the highest number is in force."""

    number = models.PositiveIntegerField(primary_key=True)
    rules = JsonText()
    digest = models.CharField(max_length=64)
    author = models.CharField(max_length=200)
    reason = models.TextField()
    created_at = models.DateTimeField()
    restored_from = models.PositiveIntegerField(null=True)  # the version whose rules these are again
    what_if_id = models.CharField(max_length=64, blank=True)  # what was known of its effect when it was published


class PolicyDraft(models.Model):
    """A person's edits of the policy, in force for nobody: one open draft a person."""

    id = models.CharField(max_length=64, primary_key=True)
    base_version = models.PositiveIntegerField()  # what was edited
    rules = JsonText()  # whole, as they would be published
    author = models.CharField(max_length=200)
    revision = models.PositiveIntegerField(default=1)  # raised by every edit: two windows of one person must not race
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)  # published or thrown away; a closed draft is never changed again
    published_as = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["author"], name="policy_draft_open", condition=models.Q(closed_at=None))
        ]


class WhatIf(BackgroundRun):
    """What a set of rules would have made of the recorded history, beside the version it was compared with."""

    base_version = models.PositiveIntegerField()
    rules = JsonText()
    digest = models.CharField(max_length=64)  # of the rules: a draft that was edited since has another
    since = models.DateTimeField(null=True)  # None: the whole history

    class Meta:
        indexes = [
            models.Index(fields=["digest", "-created_at"], name="what_if_of_rules"),
            models.Index(
                fields=["created_at"], name="what_if_open", condition=models.Q(state__in=["waiting", "running"])
            ),
        ]


class ShadowFlip(models.Model):
    """One live decision that a shadow rule would have turned."""

    rule_id = models.CharField(max_length=128)
    rule_digest = models.CharField(max_length=64)  # a rule that is changed starts to count anew
    decision_id = models.CharField(max_length=64)
    task_id = models.CharField(max_length=64)
    agent_id = models.CharField(max_length=64)
    skill_id = models.CharField(max_length=64)
    at = models.DateTimeField()
    was = models.CharField(max_length=8)
    would = models.CharField(max_length=8)
    reason = models.CharField(max_length=64)

    class Meta:
        indexes = [models.Index(fields=["rule_id", "rule_digest", "-id"], name="shadow_flip_of_rule")]


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

    class Meta:
        indexes = [
            models.Index(fields=["agent_id", "skill_id", "at", "id"], name="decision_of_pair"),
            models.Index(
                fields=["-id", "agent_id", "skill_id"], name="decision_refused", condition=models.Q(effect="deny")
            ),
        ]


class CallCounter(models.Model):
    """Calls or bytes counted against a ceiling; the key names task, skill, rule and what is counted."""

    key = models.CharField(max_length=255, primary_key=True)
    count = models.PositiveBigIntegerField()


class RateCell(models.Model):
    """GCRA's theoretical arrival time, in microseconds since 1970, for one rule and agent."""

    key = models.CharField(max_length=255, primary_key=True)
    arrival_micros = models.BigIntegerField()


class PeriodCell(models.Model):
    """What was counted in the last stretches of a period, for one rule and agent; see `toolgate.limits`."""

    key = models.CharField(max_length=255, primary_key=True)
    buckets = JsonText()


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
    arguments = JsonText()  # exactly what will run
    asked_arguments = JsonText(null=True)  # what was asked for, if a person has changed it
    digest = models.CharField(max_length=64)
    policy_version = models.PositiveIntegerField()
    rule_id = models.CharField(max_length=128, blank=True)
    terms = JsonText(default=list)  # of every rule that asks; a quorum of each has to be reached
    scope = models.CharField(max_length=8, default="once")  # "once", "task" or "minutes", once it is approved
    sla_at = models.DateTimeField(null=True)
    escalated_at = models.DateTimeField(null=True)
    submitted_by = models.CharField(max_length=200)
    trace_id = models.CharField(max_length=64, blank=True)  # of the task
    four_eyes = models.BooleanField(default=True)  # may not be answered by the one who submitted
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True)
    note = models.TextField(blank=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["expires_at", "id"], name="approval_pending", condition=models.Q(state="pending")),
            models.Index(
                fields=["sla_at"],
                name="approval_overdue",
                condition=models.Q(state="pending", escalated_at=None),
            ),
            models.Index(fields=["digest"], name="approval_equal", condition=models.Q(state="pending")),
            # What the queue is narrowed to, newest first, once it was decided.
            models.Index(fields=["agent_id", "-id"], name="approval_of_agent"),
            models.Index(fields=["skill_id", "-id"], name="approval_of_skill"),
            models.Index(fields=["rule_id", "-id"], name="approval_of_rule"),
        ]


class ApprovalVote(models.Model):
    """One person's answer to an approval; its terms say how many it takes."""

    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="votes")
    user = models.CharField(max_length=200)
    counts_for = JsonText()  # the rules whose terms this person meets
    approve = models.BooleanField()
    scope = models.CharField(max_length=8, default="once")
    minutes = models.PositiveIntegerField(null=True)
    digest = models.CharField(max_length=64)  # of what was approved: an edit afterwards makes the vote void
    note = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["approval", "user"], name="approval_vote_once")]


class Grant(models.Model):
    """Leave for further calls that some rules would ask about, within one task or for some minutes."""

    id = models.CharField(max_length=64, primary_key=True)
    approval_id = models.CharField(max_length=64)
    agent_id = models.CharField(max_length=64)
    skill_id = models.CharField(max_length=64)
    rules = JsonText()  # rule id → digest of the rule as it was: a changed rule asks again
    task_id = models.CharField(max_length=64, blank=True)  # empty: of any task
    granted_by = JsonText()  # user names
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=200, blank=True)
    uses = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(
                fields=["agent_id", "skill_id", "expires_at"], name="grant_live", condition=models.Q(revoked_at=None)
            ),
            models.Index(fields=["expires_at", "id"], name="grant_to_end"),
        ]
