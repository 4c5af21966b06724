"""Check that every archive is in its folder, whole, and of the log that was signed."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from audit.retention.inspecting import inspect_archives


class Command(BaseCommand):
    """`verify_archives`: exit 0 if all archives hold, 1 if one does not."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, and print what was found."""
        found = inspect_archives()
        for finding in found.findings:
            self.stdout.write(f"BROKEN: {finding}")
        if found.findings:
            sys.exit(1)
        self.stdout.write(f"OK: {found.archives} archives hold events 1 to {found.events}")
