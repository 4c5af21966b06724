"""`manage.py erase_person NAME --reason …`: erase what is kept of a person; every proof of the trail still holds."""

import time
from argparse import ArgumentParser
from typing import Any, Final, override

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.exceptions import ArchiveFailed, ErasureRefused, EventsUnderWay, StoreUnavailable
from orchestrator_site.erasing import Erased, erase_person, look_up
from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import add_user, find_actor

_PATIENCE_SECONDS: Final = 10.0


class Command(BaseCommand):
    help = "Erase what the trail, its archives and the transcripts hold of a person, and their name; audited."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user name")
        parser.add_argument("--reason", required=True, help="why; it is kept, so it must not name the person")
        add_user(parser, Permission.USERS_WRITE)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be erased")

    @override
    def handle(self, *args: Any, name: str, reason: str, user: str, dry_run: bool, **options: Any) -> None:
        author = find_actor(user, Permission.USERS_WRITE).get_username()
        try:
            if dry_run:
                traces, tasks = look_up(name)
                self.stdout.write(_tell(traces.count, len(tasks), sorted(traces.archived), verb="would be erased"))
                return
            done = _erase_patiently(name, reason=reason, author=author)
        except (ArchiveFailed, ErasureRefused) as error:
            raise CommandError(str(error)) from error
        except StoreUnavailable as error:
            raise CommandError(
                f"{error}. The ledger is erased; the store and the archives follow by themselves when it is back"
            ) from error
        self.stdout.write(_tell(done.events, done.transcripts, list(done.archives), verb="are erased"))
        self.stdout.write(f"{done.subject} stands for this person from now on.")


def _erase_patiently(name: str, *, reason: str, author: str) -> Erased:
    """Erase; what was done a moment ago is waited for until it is in the store."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return erase_person(name, reason=reason, author=author, now=timezone.now())
        except EventsUnderWay:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.2)


def _tell(events: int, tasks: int, archives: list[str], *, verb: str) -> str:
    where = f", some of them in {', '.join(archives)}" if archives else ""
    return f"Actor and body of {events} events{where}, and the transcripts of {tasks} tasks, {verb}."
