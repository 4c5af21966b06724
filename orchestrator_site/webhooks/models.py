"""Subscriptions, deliveries and their attempts, and how far the ledger was followed."""

from django.db import models

from audit.fields import JsonText
from orchestrator_site.webhooks.kinds import CALLBACK


class WebhookState(models.Model):
    """The one row that holds how far the ledger was followed, and which secret signs callbacks."""

    name = models.CharField(max_length=32, primary_key=True)  # always "main"
    seq = models.BigIntegerField()  # every event up to here has its deliveries
    generation = models.PositiveIntegerField(default=1)  # of the callbacks' secret
    rotated_at = models.DateTimeField(null=True)


class WebhookSubscription(models.Model):
    """One receiver that is told of some kinds of events. Its secret is derived, and kept nowhere."""

    id = models.CharField(max_length=64, primary_key=True)
    name = models.CharField(max_length=100, unique=True)  # a label for people
    url = models.CharField(max_length=2_048)
    kinds = JsonText()
    agents = JsonText()  # empty: of all agents, and of none
    is_active = models.BooleanField(default=True)
    paused_why = models.CharField(max_length=300, blank=True)  # in words for people; empty if a person paused it
    since = models.DateTimeField()  # it is told of what happened from then on
    generation = models.PositiveIntegerField(default=1)  # of its secret
    rotated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)

    @property
    def channel(self) -> str:
        """What its deliveries are known by."""
        return self.id


class DeliveryState(models.TextChoices):
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up; a person may have it tried again


OPEN_STATES = (DeliveryState.PENDING, DeliveryState.SENDING)


class WebhookDelivery(models.Model):
    """One event for one receiver: the same id and the same bytes on each attempt."""

    id = models.CharField(max_length=64, primary_key=True)
    receiver = models.CharField(max_length=64)  # a subscription's id, or "callback"
    channel = models.CharField(max_length=300)  # whose deliveries wait for each other: a subscription, or a host
    url = models.CharField(max_length=2_048, blank=True)  # of a callback; a subscription has its own
    event_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=32)
    type = models.CharField(max_length=64)  # of the event
    task_id = models.CharField(max_length=64, blank=True)
    payload = JsonText()  # whose bytes are the same whenever it is written
    state = models.CharField(max_length=16, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    round_attempts = models.PositiveSmallIntegerField(default=0)  # since a person last asked for it
    next_at = models.DateTimeField(null=True)  # due then; while an attempt runs, when it is taken for dead
    note = models.CharField(max_length=300, blank=True)  # what came of the last attempt, for people
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["receiver", "event_id"], name="delivery_once")]
        indexes = [
            models.Index(fields=["next_at"], name="delivery_due", condition=models.Q(state__in=["pending", "sending"])),
            models.Index(fields=["created_at"], name="delivery_oldest"),
            models.Index(fields=["state", "-id"], name="delivery_by_state"),
            models.Index(fields=["receiver", "-id"], name="delivery_by_receiver"),
            models.Index(fields=["kind", "-id"], name="delivery_by_kind"),
            models.Index(fields=["task_id", "-id"], name="delivery_by_task"),
        ]

    @property
    def is_callback(self) -> bool:
        """Whether its receiver was named by the task."""
        return self.receiver == CALLBACK


class WebhookAttempt(models.Model):
    """One try to bring a delivery to its receiver, and what came back."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="tries")
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    took_ms = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True)  # of the answer; none came
    code = models.CharField(max_length=64, blank=True)  # why there is none, or why it counts as none
    note = models.CharField(max_length=300, blank=True)
    body = models.TextField(blank=True)  # the start of the answer, redacted

    class Meta:
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="attempt_once")]
