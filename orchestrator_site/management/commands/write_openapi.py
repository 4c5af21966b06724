"""`manage.py write_openapi`: bring the copy of the OpenAPI document up to date with the code."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from orchestrator_site.schema import COPY, render_schema


class Command(BaseCommand):
    """Write the document, or compare it."""

    help = f"Write the OpenAPI document to {COPY}; with --check only say whether it is up to date."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing; fail if the copy is out of date")

    def handle(self, *args: Any, **options: Any) -> None:
        path, document = settings.BASE_DIR / COPY, render_schema()
        if path.exists() and path.read_bytes() == document:
            self.stdout.write(f"{COPY} is up to date")
        elif options["check"]:
            raise CommandError(f"{COPY} is not what the code generates: run manage.py write_openapi")
        else:
            path.write_bytes(document)
            self.stdout.write(f"{COPY} was written")
