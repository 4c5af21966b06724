"""`manage.py prepare`: what `serve` does to the stores before it serves, for processes that share them."""

from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from audit.exceptions import StoreUnavailable
from orchestrator_site import stores
from orchestrator_site.preflight import PreflightError


class Command(BaseCommand):
    help = "Migrate, and seed the fleet, the policy, the first users and the examples wherever they are missing."
    requires_system_checks: list[str] = []  # ours are run below, and logged

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            stores.refuse_wrong_settings()
        except PreflightError as error:
            raise CommandError(str(error)) from error
        stores.migrate_if_needed()
        stores.seed()
        try:
            stores.prepare_audit_store()
        except StoreUnavailable as error:
            raise CommandError(f"{error}; all but its indexes is prepared: run it again once it answers") from error
