"""Print the public keys of the trail's checkpoints, as an auditor takes them."""

from typing import Any, override

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from audit.proof.rotation import trusted_keys


class Command(BaseCommand):
    """`audit_key`: a line for each key, `name+id+key`; the one in use first, then those before it."""

    help = __doc__ or ""

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            for trusted in trusted_keys():
                self.stdout.write(str(trusted.key))
        except (ImproperlyConfigured, OSError) as error:
            raise CommandError(str(error)) from error
