"""API tokens, saved views, looks of the console, what webhooks and alerts keep. Users and groups are Django's."""

from django.conf import settings
from django.db import models

from audit.fields import JsonText
from orchestrator_site.alerts.models import Alert
from orchestrator_site.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookState, WebhookSubscription

__all__ = ["Alert", "ApiToken", "WebhookAttempt", "WebhookDelivery", "WebhookState", "WebhookSubscription"]


class ApiToken(models.Model):
    """One token of one owner. Only its digest is kept: the token itself is shown once, when it is issued."""

    prefix = models.CharField(max_length=8, db_index=True)  # its first characters, to find it by and to name it by
    digest = models.CharField(max_length=64, unique=True)  # SHA-256 of the whole token, in hex
    name = models.CharField(max_length=100)  # a label for people
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="api_tokens")
    scopes = JsonText()  # what was asked for; its owner's roles bound what it can really do
    agents = JsonText(null=True)  # the ids of those that it is limited to; null: every agent
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoke_reason = models.CharField(max_length=200, blank=True)
    last_used_at = models.DateTimeField(null=True)  # written at most once a minute


class SavedView(models.Model):
    """A list's filters that a person keeps under a name. It names the list, never an address: it opens nothing else."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    list = models.CharField(max_length=32)  # a key of `finding.lists.LISTS`
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)  # its filters alone, as its address has them
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "list", "name"], name="view_name")]


class Profile(models.Model):
    """How the console looks to one person. Who has none sees it as a new one would."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True)
    theme = models.CharField(max_length=8, blank=True)  # light, dark; empty: as the system has it
    density = models.CharField(max_length=8, blank=True)  # cosy; empty: compact
    time_zone = models.CharField(max_length=64, blank=True)  # an IANA name; empty: the browser's
    single_keys = models.BooleanField(default=True)  # shortcuts of one key, which voice control sets off (WCAG 2.1.4)
