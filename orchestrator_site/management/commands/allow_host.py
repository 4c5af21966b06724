"""`manage.py allow_host`: what "allow this host for this agent" does in the console, for whoever has the machine."""

from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand
from django.utils import timezone

from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import add_user, find_actor
from orchestrator_site.terminal.refusals import refusals
from toolgate.publishing import allow_host


class Command(BaseCommand):
    help = "Let an agent's skill reach one more host; makes a new policy version, audited."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("agent_id")
        parser.add_argument("skill_id")
        parser.add_argument("host", help="such as example.com, or *.example.com")
        parser.add_argument("--reason", required=True, help="why; kept with the version and in the audit trail")
        add_user(parser, Permission.POLICY_WRITE)

    @override
    def handle(self, *args: Any, agent_id: str, skill_id: str, host: str, reason: str, user: str, **_: Any) -> None:
        author = find_actor(user, Permission.POLICY_WRITE).get_username()
        with refusals():
            version = allow_host(agent_id, skill_id, host, author=author, reason=reason, now=timezone.now())
        self.stdout.write(f"Policy version {version.number} lets {agent_id} reach {host} with {skill_id}.")
