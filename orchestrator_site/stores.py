"""Bring the stores to the state that this version expects: migrations, the seeded fleet, the first users."""

import logging
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from orchestrator_site import checks
from orchestrator_site.preflight import PreflightError

log = logging.getLogger(__name__)


def refuse_wrong_settings() -> None:
    """Run our own system checks; warnings are logged.

    Raises: PreflightError with the first error and its hint.
    """
    for finding in sorted(run_checks(tags=[checks.TAG]), key=lambda found: -found.level):
        if finding.level >= ERROR:
            raise PreflightError(f"{finding.msg} ({finding.id}). {finding.hint or ''}")
        log.warning("%s. %s", finding.msg, finding.hint, extra={"action": "settings.warned", "id": finding.id})


def refuse_missing_static_files() -> None:
    """Without them no page has a style, and whoever opens one learns nothing of why.

    Raises: PreflightError.
    """
    if not Path(settings.STATIC_ROOT, "staticfiles.json").exists():
        raise PreflightError(f"{settings.STATIC_ROOT} holds no static files: run make static")


def find_unapplied() -> set[tuple[str, str]]:
    """Return the migrations (app, name) that are on disk but not in the database.

    Names are compared, which takes milliseconds; building Django's migration graph takes half a second.
    """
    return list_migrations() - set(MigrationRecorder(connection).applied_migrations())


def list_migrations() -> set[tuple[str, str]]:
    """Return the migrations (app, name) that are on disk."""
    return {migration for config in apps.get_app_configs() for migration in _on_disk(config.label, config.path)}


def _on_disk(label: str, path: str) -> set[tuple[str, str]]:
    files = Path(path, "migrations").glob("[0-9]*.py")
    return {(label, file.stem) for file in files}


def migrate_if_needed() -> None:
    """Apply what is not applied yet."""
    if find_unapplied():
        call_command("migrate", interactive=False, verbosity=0)


def refuse_unapplied() -> None:
    """For a process that shares its store and must not change it.

    Raises: PreflightError.
    """
    if missing := find_unapplied():
        raise PreflightError(f"{len(missing)} migrations are not applied: run manage.py prepare first")


def prepare_audit_store() -> None:
    """Make the audit store's indexes, with the login that may; one that is away gets them when events are shipped.

    Raises: StoreUnavailable where that is a login of its own: who ships does not have it, and nobody would make them.
    """
    from audit.documents import ensure_indexes
    from audit.exceptions import StoreUnavailable

    if not settings.MONGODB_URI:
        return  # the embedded one is not started here
    try:
        ensure_indexes()
    except StoreUnavailable as error:
        if settings.MONGODB_ARCHIVE_URI:
            raise
        log.warning("the audit store was not prepared: %s", error, extra={"action": "store.unprepared"})


def seed() -> None:
    """Make what is missing of fleet, policy, first users and examples, and bring the budget's caps up to date."""
    from agents.money.caps import follow_caps
    from agents.registry import seed_agents
    from orchestrator_site.bootstrap import bootstrap_users, copy_examples
    from toolgate.seed import seed_policy

    now = timezone.now()
    seed_agents(now=now)
    follow_caps(now=now)
    seed_policy(now=now)
    bootstrap_users(now=now)
    copy_examples()
