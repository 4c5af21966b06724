"""API tokens. Users and their groups are Django's own."""

from django.conf import settings
from django.db import models

from audit.fields import JsonText


class ApiToken(models.Model):
    """One token of one owner. Only its digest is kept: the token itself is shown once, when it is issued."""

    prefix = models.CharField(max_length=8, db_index=True)  # its first characters, to find it by and to name it by
    digest = models.CharField(max_length=64, unique=True)  # SHA-256 of the whole token, in hex
    name = models.CharField(max_length=100)  # a label for people
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="api_tokens")
    scopes = JsonText()  # what was asked for; its owner's roles bound what it can really do
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoke_reason = models.CharField(max_length=200, blank=True)
    last_used_at = models.DateTimeField(null=True)  # written at most once a minute
