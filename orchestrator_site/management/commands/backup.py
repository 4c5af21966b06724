"""`manage.py backup DIR`: copy state, trail, keys and workspace while everything goes on; see docs/operations.md."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, override

from django.core.management.base import CommandError
from django.utils import timezone

from orchestrator_site.backups.places import KEYS
from orchestrator_site.backups.saving import save
from orchestrator_site.terminal.verbs import Answer, AnswerCommand


class Command(AnswerCommand):
    help = "Copy state, checkpoints, archives, workspace and keys to a new folder, beside a running server."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="where to; it must not exist yet")
        parser.add_argument("--json", action="store_true", help="the backup's manifest")

    @override
    def answer(self, options: dict[str, Any]) -> Answer:
        folder: Path = options["folder"]
        try:
            manifest = save(folder, now=timezone.now())
        except OSError as error:
            raise CommandError(f"{error}. No backup was made.") from error
        lines = [f"{len(manifest['files'])} files, the trail up to event {manifest['events']}, are in {folder}."]
        if any(name.startswith(f"{KEYS}/") for name in manifest["files"]):
            lines.append(
                f"Who holds {folder / KEYS} can sign in this log's name: move it to another place than the rest."
            )
        return Answer(wire=manifest, lines=lines)
