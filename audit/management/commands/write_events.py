"""Bring the page of the vocabulary up to date with the code."""

from argparse import ArgumentParser
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.vocabulary import render_vocabulary

PAGE: Final = "docs/events.md"


class Command(BaseCommand):
    """Write the page, or compare it."""

    help = f"Write the vocabulary of the audit trail to {PAGE}; with --check only say whether it is up to date."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing; fail if the page is out of date")

    def handle(self, *args: Any, **options: Any) -> None:
        path, page = settings.BASE_DIR / PAGE, render_vocabulary()
        if path.exists() and path.read_text() == page:
            self.stdout.write(f"{PAGE} is up to date")
        elif options["check"]:
            raise CommandError(f"{PAGE} is not what the code says: run manage.py write_events")
        else:
            path.write_text(page)
            self.stdout.write(f"{PAGE} was written")
