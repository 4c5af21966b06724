"""`manage.py restore DIR`: make an installation of a backup, where there is none; see docs/operations.md."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, override

from django.core.management.base import CommandError
from django.utils import timezone

from orchestrator_site.backups.restoring import restore
from orchestrator_site.terminal.printing import Item
from orchestrator_site.terminal.verbs import Answer, AnswerCommand


class Command(AnswerCommand):
    help = "Put a backup back into an empty state folder or database, with the server stopped."
    requires_system_checks: list[str] = []

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="the backup")
        parser.add_argument("--keys", type=Path, help="where its keys are, if they lie apart from it")
        parser.add_argument("--json", action="store_true", help="the backup's manifest")

    @override
    def answer(self, options: dict[str, Any]) -> Answer:
        try:
            manifest, kept = restore(options["folder"], now=timezone.now(), keys=options["keys"])
        except OSError as error:
            raise CommandError(f"{error}. The state was not put back: mend that, then restore again.") from error
        lines: list[Item] = [f"Restored as of {manifest['madeAt']}, the trail up to event {manifest['events']}."]
        lines += [f"{file} was there already, and stays." for file in kept]
        lines += [
            "What happened later is lost, and other events will have its numbers: a checkpoint or proof of more than "
            f"{manifest['events']} events from before contradicts this log. Tell whoever keeps one; see "
            "docs/operations.md.",
            "Next: start it, then manage.py rebuild_audit and manage.py verify_audit.",
        ]
        return Answer(wire=manifest, lines=lines)
