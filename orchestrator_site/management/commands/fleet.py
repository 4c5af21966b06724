"""`manage.py fleet status|stop|resume`: stop everything, look, and resume in stages."""

from collections.abc import Iterator
from typing import Any, override

from django.core.management.base import CommandError
from django.utils import timezone

from agents.switches import changes
from agents.switches.reading import FleetState, read_fleet_state
from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import find_actor
from orchestrator_site.terminal.printing import Item, Toned
from orchestrator_site.terminal.verbs import Answer, VerbCommand, add_verb


class Command(VerbCommand):
    """Say whether the fleet works; stop it, and resume it."""

    help = "Stop the fleet within a second on every worker, or resume it, in stages if you like; audited."

    @override
    def add_verbs(self, verbs: Any) -> None:
        add_verb(verbs, "status", "say whether it works, and what there is to do")
        stop = add_verb(verbs, "stop", "cut off what runs, and start nothing any more", needs=Permission.FLEET_STOP)
        stop.add_argument("--reason", required=True, help="why; every page of the console shows it")
        resume = add_verb(verbs, "resume", "let it work again", needs=Permission.FLEET_STOP)
        resume.add_argument("--slots", type=int, help="so many tasks at once; all if not given")
        resume.add_argument("--reason", default="", help="kept in the audit trail")

    def _status(self, options: dict[str, Any]) -> Answer:
        state = read_fleet_state()
        return Answer(wire=state.to_wire(), lines=_describe(state))

    def _stop(self, options: dict[str, Any]) -> Answer:
        author = find_actor(options["user"], Permission.FLEET_STOP).get_username()
        changes.stop_fleet(author=author, reason=options["reason"], now=timezone.now())
        return self._status(options)

    def _resume(self, options: dict[str, Any]) -> Answer:
        author, slots = find_actor(options["user"], Permission.FLEET_STOP).get_username(), options["slots"]
        if slots is not None and slots < 1:
            raise CommandError("--slots is a whole number from 1 up. Nothing was changed.")
        changes.resume_fleet(slots=slots, author=author, reason=options["reason"], now=timezone.now())
        return self._status(options)


def _describe(state: FleetState) -> Iterator[Item]:
    slots = state.all_slots if state.slots is None else state.slots
    who = f", by {state.changed_by}: {state.reason or 'no reason given'}" if state.changed_by else ""
    word = f"{state.word}{who}"
    yield Toned(word, "warn") if state.is_stopped else word
    yield f"{state.running} running of at most {slots} at once, {state.queued} queued"
