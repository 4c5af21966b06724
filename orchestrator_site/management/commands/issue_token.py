"""`manage.py issue_token NAME --scopes a,b`: make an API token and show it once."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from orchestrator_site.exceptions import NoOwner, SiteError
from orchestrator_site.roles import Permission, Role, permissions_of
from orchestrator_site.tokens import issue_token, read_scopes

MAX_DAYS = 3650


class Command(BaseCommand):
    """Print the token on stdout, alone, and what there is to know about it on stderr."""

    help = "Make an API token and print it. It is shown once: only its digest is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        known = ", ".join(permission.value for permission in Permission)
        parser.add_argument("name", help="a label, to tell tokens apart")
        parser.add_argument("--scopes", required=True, help=f"separated by commas, or all. Known: {known}")
        parser.add_argument("--agents", default=None, help="limit it to these, separated by commas (every agent)")
        parser.add_argument("--user", default="", help="whose token it is (the first admin)")
        parser.add_argument("--expires-days", type=int, default=None, help="days until it expires (never)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            owner = find_owner(options["user"])
            scopes = read_scopes(options["scopes"].split(","))
            now = timezone.now()
            expires_at = now + _read_days(options["expires_days"]) if options["expires_days"] is not None else None
            agents = options["agents"].split(",") if options["agents"] is not None else None
            row, token = issue_token(
                options["name"], owner=owner, scopes=scopes, agents=agents, now=now, expires_at=expires_at
            )
        except SiteError as error:
            raise CommandError(str(error)) from error
        until = f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "until it is revoked"
        limit = f", for {', '.join(row.agents)} alone" if row.agents is not None else ""
        self.stderr.write(f"Token {row.prefix}… of {owner.get_username()}, {until}{limit}. It is shown only now:")
        without = sorted(set(scopes) - permissions_of(owner))
        if without:
            self.stderr.write(f"No role of {owner.get_username()} gives {', '.join(without)}: the token cannot use it.")
        self.stdout.write(token)


def _read_days(days: int) -> timedelta:
    if not 1 <= days <= MAX_DAYS:
        raise CommandError(f"--expires-days is a whole number from 1 to {MAX_DAYS}. No token was made.")
    return timedelta(days=days)


def find_owner(name: str | None) -> User:
    """Return the active user of this name; without one, the first admin.

    Raises: NoOwner.
    """
    active = User.objects.filter(is_active=True)
    if name:
        user = active.filter(username=name).first()
        if user is None:
            raise NoOwner(f"There is no active user {ascii(name)[1:-1]}. No token was made.")
        return user
    admin = active.filter(groups__name=Role.ADMIN).order_by("pk").first()
    if admin is None:
        raise NoOwner("There is no admin yet: manage.py user create NAME --role admin makes one. No token was made.")
    return admin
