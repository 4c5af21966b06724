"""`manage.py serve`: everything in one process, as `make run` starts it."""

import argparse
from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand

from orchestrator_site import preflight
from orchestrator_site.launch import get_launch


class Command(BaseCommand):
    help = "Serve the console and the API, with worker, sequencer and the embedded MongoDB; until Ctrl-C or SIGTERM."
    requires_system_checks: list[str] = []  # ours are run below; Django's are for `manage.py check`

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        preflight.add_arguments(parser)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        launch = get_launch(argparse.Namespace(**options))
        from orchestrator_site import serve

        serve.serve(launch)
