"""`manage.py create_user NAME --role operator`: make a user of the console."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from orchestrator_site.bootstrap import create_user, make_password
from orchestrator_site.exceptions import SiteError
from orchestrator_site.roles import Role


class Command(BaseCommand):
    """Make a user; print the generated password on stdout, alone, unless one was handed in."""

    help = "Make a user of the console with one or more roles."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user name")
        parser.add_argument("--role", action="append", required=True, choices=[role.value for role in Role])
        parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")

    def handle(self, *args: Any, **options: Any) -> None:
        given = options["password_stdin"]
        password = sys.stdin.readline().rstrip("\r\n") if given else make_password()
        roles = [Role(role) for role in options["role"]]
        try:
            user = create_user(options["name"], password=password, roles=roles, now=timezone.now())
        except SiteError as error:
            raise CommandError(str(error)) from error
        names = ", ".join(role.value for role in roles)
        if given:
            self.stderr.write(f"{user.get_username()} may sign in as {names}.")
        else:
            self.stderr.write(f"{user.get_username()} may sign in as {names}. The password is shown only now:")
            self.stdout.write(password)
