"""How `manage.py serve` begins: the checks and the embedded MongoDB first, while Django is still being loaded."""

import argparse
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from orchestrator_site import preflight

if TYPE_CHECKING:
    from orchestrator_site.parts import MongodbPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was begun before Django was loaded."""

    claim: preflight.Claim
    mongodb: "MongodbPart | None"
    started_at: float  # monotonic


_launch: Launch | None = None


def begin(arguments: list[str]) -> None:
    """Check, claim and start what can be; end the process with one line where something is in the way."""
    os.umask(0o077)  # all that is written is this user's own: documents, logins, the audit trail
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is something to wind up: no traceback
    parser = argparse.ArgumentParser(prog="manage.py serve", add_help=False)
    preflight.add_arguments(parser)
    options, others = parser.parse_known_args(arguments)
    if not {"-h", "--help"} & set(others):
        get_launch(options)


def get_launch(options: argparse.Namespace) -> Launch:
    """Return what `begin` began, or begin now."""
    global _launch  # noqa: PLW0603  (handed from the process's first lines to Django's command)
    if _launch is None:
        started_at = time.monotonic()
        claim = preflight.claim_or_exit(options)
        _launch = Launch(claim=claim, mongodb=_start_mongodb(claim), started_at=started_at)
    return _launch


def _start_mongodb(claim: preflight.Claim) -> "MongodbPart | None":
    from django.conf import settings

    try:
        settings.VAR  # noqa: B018  (loads the settings, here, where what is wrong with them is one line)
    except ImproperlyConfigured as error:
        preflight.fail(str(error))
    if not claim.embedded_mongodb:
        return None
    from orchestrator_site.parts import MongodbPart

    mongodb = MongodbPart(claim.var)
    mongodb.start()
    return mongodb
