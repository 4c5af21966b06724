"""The trail: is it numbered, shipped, signed and filed, and is the key where it belongs?"""

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from audit.models import Checkpoint
from audit.proof.keys import load_verifier
from audit.proof.notes import CheckpointInvalid, open_note
from audit.status import get_checkpoint_status, get_ledger_status
from orchestrator_site.doctor.findings import Finding, fine, judge, problem, warn

_FILED_WITHIN: Final = timedelta(minutes=1)


def examine_sequencer() -> Iterator[Finding]:
    """See that events get their numbers, and reach the store."""
    status = get_ledger_status()
    waiting = f"{status.waiting:,} events wait for the audit store"
    start = "Start manage.py sequencer (with `make run` it is a part of the server)."
    if status.led:
        yield fine("trail.sequencer", f"A sequencer leads, at event {status.numbered_seq:,}.")
    else:
        stands = problem if status.waiting else warn
        yield stands("trail.sequencer", f"No sequencer leads; {waiting}.", start)
    where = "See docs/operations.md, When the trail is behind."
    if status.over_limit:
        yield problem("trail.lag", f"{waiting}: new tasks are refused.", where)
    elif status.fault or status.is_behind:
        yield warn("trail.lag", f"{waiting}{f', for {status.fault}' if status.fault else ''}.", where)
    else:
        yield fine("trail.lag", f"{waiting}.")


def examine_checkpoints() -> Iterator[Finding]:
    """See that what was signed reached its second place."""
    status = get_checkpoint_status()
    waits = [at for at in (status.unfiled_since, status.unposted_since) if at]
    is_late = bool(waits) and timezone.now() - min(waits) > _FILED_WITHIN
    cure = f"See that {settings.AUDIT_CHECKPOINT_DIR} can be written and the webhook answers; they are kept meanwhile."
    if status.fault or is_late:
        yield problem("trail.checkpoints", status.fault or "Checkpoints wait for their second place.", cure)
    else:
        yield fine("trail.checkpoints", f"Signed up to event {status.size:,}; all of it is in the second place.")


def examine_key() -> Iterator[Finding]:
    """See that the key is there, is the one that signs this log, and lies where no copy of a store takes it along."""
    path: Path = settings.AUDIT_KEY_FILE
    newest = Checkpoint.objects.order_by("-size").first()
    if not settings.AUDIT_SIGNING_KEY and not path.exists() and newest is None:
        yield warn("key", "There is no signing key yet.", "It is made at the first start; keep a copy elsewhere.")
        return
    yield judge("key", _find_fault(newest), well="The signing key is there, and signs this log.", cure=_KEY_CURE)
    if not settings.AUDIT_SIGNING_KEY and path.exists():
        yield _judge_place(path)


_KEY_CURE: Final = "Put back the key from your backup, or name it with AUDIT_SIGNING_KEY; rotate_audit_key changes it."


def _find_fault(newest: Checkpoint | None) -> str:
    try:
        verifier = load_verifier()
        if newest is not None:
            open_note(newest.note, verifier)
    except ImproperlyConfigured as error:
        return str(error)
    except CheckpointInvalid as error:
        return f"the newest checkpoint is not signed with this key: {error}"
    return ""


def _judge_place(path: Path) -> Finding:
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return problem("key.place", f"{path} can be read by other users.", f"chmod 600 {path}")
    for folder in (settings.WORKSPACE_ROOT, settings.AUDIT_CHECKPOINT_DIR, settings.AUDIT_ARCHIVE_DIR):
        if path.is_relative_to(folder):
            return problem(
                "key.place", f"{path} lies in {folder}, which others see.", "Move it, by AUDIT_SIGNING_KEY_FILE."
            )
    return fine("key.place", "It lies in a file of its owner's, and in no database.")
