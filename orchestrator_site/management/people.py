"""Who acts by a command: a user of the console, with that user's roles."""

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from orchestrator_site.roles import Permission, has_permission


def check_person(name: str, permission: Permission) -> str:
    """Return the name of a user who may do this. Raises: CommandError."""
    if not has_permission(get_user_model().objects.filter(username=name).first(), permission):
        raise CommandError(f"{name} may not do this: it needs the permission {permission}. Name another with --user.")
    return name
