"""In whose name a command acts: a user of the console, with that user's roles."""

from argparse import ArgumentParser
from typing import Final

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from orchestrator_site.roles import Permission, has_permission
from orchestrator_site.terminal.printing import make_line

FIRST_ADMIN: Final = "admin"  # whom a fresh installation makes


def add_user(parser: ArgumentParser, permission: Permission, *, required: bool = False) -> None:
    """Declare `--user`; where two people must be told apart, it is `required`."""
    what = f"in whose name; needs the permission {permission}, and is kept in the audit trail"
    default = None if required else FIRST_ADMIN
    parser.add_argument("--user", required=required, default=default, metavar="NAME", help=what)


def find_actor(name: str, permission: Permission) -> User:
    """Return the active user of that name, who may do this.

    Raises: CommandError.
    """
    shown = make_line(name)
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        missing = f"There is no active user {shown}, and it takes one who has {permission}"
        raise CommandError(f"{missing}. Nothing was done; name another with --user.")
    if not has_permission(user, permission):
        raise CommandError(f"No role of {shown} gives {permission}. Nothing was done; name another with --user.")
    return user
