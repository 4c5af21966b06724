"""The two stores: do they answer, are they as this version expects, may they be written to?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from audit.documents import list_missing_indexes
from audit.exceptions import StoreUnavailable
from audit.lease import database_now
from audit.status import check_store_takes_events
from orchestrator_site.doctor.findings import Finding, fine, judge, problem, warn
from orchestrator_site.health import state_probe, store_probe
from orchestrator_site.preflight import find_holder
from orchestrator_site.roles import Role
from orchestrator_site.stores import find_unapplied

_SKEW_SECONDS: Final = 2.0
_LEASE_SECONDS: Final = 30.0


def examine_state() -> Iterator[Finding]:
    """See that the relational store answers and is migrated; without that little else can be looked at."""
    cure = "Start PostgreSQL, or mend STATE_DATABASE_URL; everything waits for it."
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
        yield problem("state.reachable", "There is no state yet", "Start it: make run.")  # looking would make a file
        return
    reading = state_probe.read()
    milliseconds = f"{reading.latency_seconds * 1000:.1f} ms"
    yield judge("state.reachable", reading.fault, well=f"The relational store answers in {milliseconds}.", cure=cure)
    if reading.fault:
        return
    missing = find_unapplied()
    fault = f"{len(missing)} migrations are not applied" if missing else ""
    yield judge("state.migrated", fault, well="Every migration is applied.", cure="Run manage.py prepare.")


def examine_clock() -> Iterator[Finding]:
    """Hold this machine's clock against the database's: leases, schedules and months go by them."""
    before = timezone.now()
    skew = abs((database_now() - before).total_seconds())
    what, cure = f"This clock and the database's differ by {skew:.1f} s.", "Run an NTP client on both machines."
    if skew < _SKEW_SECONDS:
        yield fine("clock", what)
    else:
        yield problem("clock", what, cure) if skew >= _LEASE_SECONDS else warn("clock", what, cure)


def examine_admin() -> Iterator[Finding]:
    """See that somebody can administer this."""
    there_is = User.objects.filter(is_active=True, groups__name=Role.ADMIN).exists()
    fault = "" if there_is else "No active user has the role admin"
    yield judge("admin", fault, well="There is an admin.", cure="manage.py user create NAME --role admin makes one.")


def examine_audit_store() -> Iterator[Finding]:
    """Read from the audit store, hand it an event that it has, and look at its indexes."""
    if not settings.MONGODB_URI and not find_holder(settings.VAR):
        yield warn("audit.reachable", "The embedded audit store runs with the server only.", "Start it: make run.")
        return
    fault = store_probe.read().fault
    cure = "See docs/operations.md, When the trail is behind; nothing is lost, events wait in the ledger."
    yield judge("audit.reachable", fault, well="The audit store answers.", cure=cure)
    if fault:
        return
    yield judge("audit.role", check_store_takes_events(), well="Its login may find and insert.", cure=cure)
    yield _judge_indexes()


def _judge_indexes() -> Finding:
    try:
        missing = list_missing_indexes()
    except StoreUnavailable as error:
        return warn("audit.indexes", f"Its indexes cannot be listed: {error}", "Give its login the right listIndexes.")
    what = f"{len(missing)} indexes are missing: {', '.join(missing)}"
    cure = "Run manage.py prepare, with DATABASE_ARCHIVE_URL if the login of DATABASE_URL may not."
    return warn("audit.indexes", what, cure) if missing else fine("audit.indexes", "Its indexes are there.")
