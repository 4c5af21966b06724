"""One row an alert, by the fingerprint of its labels."""

from django.db import models

from audit.fields import JsonText


class AlertState(models.TextChoices):
    FIRING = "firing"
    RESOLVED = "resolved"


class Alert(models.Model):
    """What Alertmanager last told of one set of labels; texts are redacted, cut, and shown as they are."""

    fingerprint = models.CharField(max_length=64, primary_key=True)
    state = models.CharField(max_length=16, choices=AlertState.choices)
    name = models.CharField(max_length=128)
    severity = models.CharField(max_length=16)  # critical, warning, info; empty: the rule names none of these
    agent_id = models.CharField(max_length=64, blank=True)  # of the fleet; empty if the alert is about none
    labels = JsonText()
    summary = models.CharField(max_length=300, blank=True)
    description = models.TextField(blank=True)
    runbook_url = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    heard_at = models.DateTimeField()  # when Alertmanager last told of it

    class Meta:
        indexes = [
            models.Index(fields=["state", "-started_at"], name="alert_by_state"),
            models.Index(fields=["ended_at"], name="alert_ended", condition=models.Q(state="resolved")),
        ]
