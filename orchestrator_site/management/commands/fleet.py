"""`manage.py fleet`: stop everything, look, and resume in stages."""

from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agents.exceptions import NothingToChange
from agents.switches import changes
from agents.switches.reading import read_fleet_state
from orchestrator_site.management.people import check_person
from orchestrator_site.roles import Permission
from toolgate.exceptions import GateError


class Command(BaseCommand):
    help = "Stop the fleet within a second on every worker, or resume it, in stages if you like; audited."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("status", help="say whether it works, and what there is to do")
        stop = verbs.add_parser("stop", help="cut off what runs, and start nothing any more")
        stop.add_argument("--reason", required=True, help="why; every page of the console shows it")
        resume = verbs.add_parser("resume", help="let it work again")
        resume.add_argument("--slots", type=int, help="so many tasks at once; all if not given")
        resume.add_argument("--reason", default="", help="kept in the audit trail")
        for verb in (stop, resume):
            verb.add_argument("--user", default="admin", help="who decides; needs the permission fleet:stop")

    @override
    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        if verb != "status":
            self._turn(verb, **options)
        state = read_fleet_state()
        slots = state.all_slots if state.slots is None else state.slots
        who = f", by {state.changed_by}: {state.reason or 'no reason given'}" if state.changed_by else ""
        self.stdout.write(f"{state.word}{who}")
        self.stdout.write(f"{state.running} running of at most {slots} at once, {state.queued} queued")

    def _turn(self, verb: str, *, user: str, reason: str, slots: int | None = None, **_: Any) -> None:
        author = check_person(user, Permission.FLEET_STOP)
        if slots is not None and slots < 1:
            raise CommandError("--slots is a whole number from 1 up. Nothing was changed.")
        try:
            if verb == "stop":
                changes.stop_fleet(author=author, reason=reason, now=timezone.now())
            else:
                changes.resume_fleet(slots=slots, author=author, reason=reason, now=timezone.now())
        except (GateError, NothingToChange) as error:
            raise CommandError(str(error)) from error
