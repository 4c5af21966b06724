"""`manage.py skills`: quarantine a skill, or release it."""

from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agents.exceptions import NothingToChange
from agents.registry import SkillNotFound
from agents.switches.changes import quarantine_skill, release_skill
from orchestrator_site.management.people import check_person
from orchestrator_site.roles import Permission
from toolgate.exceptions import GateError


class Command(BaseCommand):
    help = "Refuse every call of a skill within a second on every worker, or let it be called again; audited."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["quarantine", "release"])
        parser.add_argument("skill_id")
        parser.add_argument("--reason", required=True, help="why; kept in the audit trail")
        parser.add_argument("--user", default="admin", help="who decides; needs the permission fleet:stop")

    @override
    def handle(self, *args: Any, verb: str, skill_id: str, reason: str, user: str, **_: Any) -> None:
        author = check_person(user, Permission.FLEET_STOP)
        turn = quarantine_skill if verb == "quarantine" else release_skill
        try:
            turn(skill_id, author=author, reason=reason, now=timezone.now())
        except SkillNotFound as error:
            raise CommandError(f"There is no skill {skill_id}. Nothing was changed.") from error
        except (GateError, NothingToChange) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{skill_id} is {'quarantined' if verb == 'quarantine' else 'released'}.")
