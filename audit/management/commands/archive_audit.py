"""Move what is older than AUDIT_RETENTION_DAYS out of the stores, into archives with their proofs."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.exceptions import AuditError
from audit.retention.archives import get_archived_seq
from audit.retention.archiving import archive_sealed
from audit.retention.segments import count_sealed


class Command(BaseCommand):
    """`archive_audit`: may be run at any time, beside a running server, and again."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--dry-run", action="store_true", help="only say how much would be archived")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        """Archive, and print what was done."""
        if not settings.AUDIT_RETENTION_DAYS:
            self.stdout.write("AUDIT_RETENTION_DAYS is not set: everything is kept where it is.")
            return
        now = timezone.now()
        if dry_run:
            events = count_sealed(now=now)
            self.stdout.write(f"{events} events would be archived in {settings.AUDIT_ARCHIVE_DIR}.")
            return
        try:
            done = archive_sealed(now=now)
        except AuditError as error:
            raise CommandError(f"{error}. What was archived before is complete; run it again.") from error
        self.stdout.write(
            f"{done} segments were archived in {settings.AUDIT_ARCHIVE_DIR}; the log is archived up to event "
            f"{get_archived_seq()}."
        )
