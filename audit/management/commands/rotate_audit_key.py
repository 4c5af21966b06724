"""Let another key sign the trail's checkpoints from now on."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, override

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.proof.rotation import rotate


class Command(BaseCommand):
    """`rotate_audit_key`: the old key signs that the new one takes over, and the new one that it does."""

    help = __doc__ or ""

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--old-key", type=Path, metavar="FILE", help="the key before, in PEM, where AUDIT_SIGNING_KEY holds the new"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            old_pem = options["old_key"].read_text() if options["old_key"] else ""
            rotation = rotate(now=timezone.now(), old_pem=old_pem)
        except (ImproperlyConfigured, OSError, UnicodeError) as error:
            raise CommandError(f"The key was not changed: {error}") from error
        self.stderr.write(f"{rotation.old} signs nothing of more than {rotation.last} events. The key is now:")
        self.stdout.write(str(rotation.new))
