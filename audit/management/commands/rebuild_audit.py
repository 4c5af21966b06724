"""Recreate the MongoDB copy of the audit trail from the ledger."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.checking.rebuilding import LedgerBroken, rebuild
from audit.exceptions import ArchiveFailed, StoreUnavailable


class Command(BaseCommand):
    """`rebuild_audit`: may be run at any time, beside a running server, and again."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild, and print what was done."""
        removed_file = Path(settings.VAR, f"audit-removed-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl")
        try:
            done = rebuild(removed_file=removed_file)
        except StoreUnavailable as error:
            raise CommandError(f"{error}. Nothing was lost; run it again when the store is back.") from error
        except ArchiveFailed as error:
            raise CommandError(str(error)) from error
        except LedgerBroken as error:
            raise CommandError(f"{error}. Nothing was changed; restore the ledger from a backup first.") from error
        self.stdout.write(
            f"The store holds events 1 to {done.head_seq}: {done.kept} were right, {done.sent} were sent, "
            f"{done.removed} were removed."
        )
        if done.entries_kept or done.entries_sent:
            self.stdout.write(
                f"Of the transcripts' entries {done.entries_kept} were right, {done.entries_sent} were sent."
            )
        if done.tiles_made:
            self.stdout.write("The tree's tiles, of which proofs are made, were written anew.")
        if done.removed:
            self.stdout.write(f"What was removed is kept in {removed_file}")
