"""All examinations in their order, and what is said of those that the state store's absence leaves out."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

from django.db import DatabaseError

from orchestrator_site.doctor import fleet, machine, stores, trail
from orchestrator_site.doctor.findings import Finding, Level, problem, warn

log = logging.getLogger(__name__)

Examine = Callable[[], Iterator[Finding]]

_BY_ITSELF: Final[tuple[Examine, ...]] = (
    machine.examine_settings,
    machine.examine_port,
    machine.examine_disk,
    machine.examine_static_files,
    machine.examine_sandbox,
    machine.examine_redis,
)
_WITH_STATE: Final[tuple[Examine, ...]] = (
    stores.examine_clock,
    stores.examine_admin,
    stores.examine_audit_store,
    trail.examine_sequencer,
    trail.examine_checkpoints,
    trail.examine_key,
    fleet.examine_workers,
    fleet.examine_models,
    fleet.examine_webhooks,
)


def examine(*, asks_providers: bool = False) -> Iterator[Finding]:
    """Give every finding, in order; vendors are asked only if `asks_providers`."""
    for part in _BY_ITSELF:
        yield from _guard(part)
    state = list(_guard(stores.examine_state))
    yield from state
    if any(finding.level is not Level.OK for finding in state):
        yield warn("state.rest", "Trail, key, workers and models were not looked at.", "Mend the state store first.")
    else:
        for part in _WITH_STATE:
            yield from _guard(part)
    if asks_providers:
        yield from _guard(fleet.call_providers)


def _guard(part: Examine) -> Iterator[Finding]:
    """Give what one part finds; that it could not look to its end is a finding too, and the others go on."""
    try:
        yield from part()
    except DatabaseError as error:
        what = f"The relational store failed meanwhile ({type(error).__name__})."
        yield problem("state.failed", what, "Look at its log, then run this again.")
    except Exception as error:  # a traceback would end with the exit code of a warning
        log.exception("an examination failed", extra={"action": "doctor.failed"})
        what = f"This could not be looked at to its end: {part.__doc__} ({type(error).__name__})"
        yield problem("doctor.failed", what, "The lines above on standard error say why; mend that, then run it again.")
