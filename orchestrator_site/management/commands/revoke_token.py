"""`manage.py revoke_token PREFIX`: take an API token out of use. `--list` shows which there are."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from orchestrator_site.exceptions import SiteError
from orchestrator_site.models import ApiToken
from orchestrator_site.tokens import FRESH_SECONDS, revoke_token


class Command(BaseCommand):
    """Revoke one token, or list them all."""

    help = "Revoke an API token by its first 8 characters, or list the tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("prefix", nargs="?", help="the 8 characters that issue_token showed (or the whole token)")
        what.add_argument("--list", action="store_true", help="show every token: never the token itself")
        parser.add_argument("--reason", default="revoked by manage.py", help="kept in the audit trail")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            self._list()
            return
        try:
            row = revoke_token(options["prefix"], reason=options["reason"], revoked_by="system", now=timezone.now())
        except SiteError as error:
            raise CommandError(str(error)) from error
        when = f"{row.revoked_at:%Y-%m-%d %H:%M:%S} UTC"
        self.stdout.write(f"{row.name} ({row.prefix}…) is revoked since {when}, everywhere within {FRESH_SECONDS:g} s.")

    def _list(self) -> None:
        for row in ApiToken.objects.select_related("owner").order_by("pk"):
            state = "revoked" if row.revoked_at else f"expires {row.expires_at:%Y-%m-%d}" if row.expires_at else "valid"
            used = f"used {row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never used"
            columns = (row.prefix, row.owner.get_username(), row.name, state, used, ",".join(row.scopes))
            self.stdout.write("  ".join(columns))
