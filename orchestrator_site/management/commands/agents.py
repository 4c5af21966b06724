"""`manage.py agents`: pause, quarantine, disable or enable an agent."""

from argparse import ArgumentParser
from typing import Any, Final, override

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agents.exceptions import NothingToChange
from agents.registry import AgentNotFound
from agents.switches.changes import set_agent_status
from agents.types import AgentStatus
from orchestrator_site.management.people import check_person
from orchestrator_site.roles import Permission
from toolgate.exceptions import GateError

VERBS: Final = {
    "pause": AgentStatus.PAUSED,
    "quarantine": AgentStatus.QUARANTINED,
    "disable": AgentStatus.DISABLED,
    "enable": AgentStatus.ENABLED,
}


class Command(BaseCommand):
    help = "Stop or start one agent within a second on every worker; audited."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=sorted(VERBS))
        parser.add_argument("agent_id")
        parser.add_argument("--reason", required=True, help="why; kept in the audit trail")
        parser.add_argument("--user", default="admin", help="who decides; needs the permission fleet:stop")

    @override
    def handle(self, *args: Any, verb: str, agent_id: str, reason: str, user: str, **_: Any) -> None:
        author, status = check_person(user, Permission.FLEET_STOP), VERBS[verb]
        try:
            set_agent_status(agent_id, status, author=author, reason=reason, now=timezone.now())
        except AgentNotFound as error:
            raise CommandError(f"There is no agent {agent_id}. Nothing was changed.") from error
        except (GateError, NothingToChange) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{agent_id} is {status}.")
