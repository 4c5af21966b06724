"""Write down that the trail was verified, and with what result: an act that leaves a trace as all others."""

from typing import Final

from django.utils import timezone

from audit.bodies import TrailVerified
from audit.checking.report import Report
from audit.events import Event, EventType
from audit.ledger import record
from audit.metrics import violations
from audit.transactions import write_transaction

_MAX_FINDINGS: Final = 20
_MAX_CHARACTERS: Final = 500


def record_run(report: Report, *, actor: str) -> None:
    """Record `trail.verified`, and count what was found."""
    body: TrailVerified = {
        "after": report.since,
        "to": report.to,
        "checked": report.ledger_checked,
        "holds": report.holds,
        "findings": [str(finding)[:_MAX_CHARACTERS] for finding in report.findings[:_MAX_FINDINGS]],
    }
    with write_transaction():
        record(Event(type=EventType.TRAIL_VERIFIED, at=timezone.now(), actor=actor, body=body))
    for finding in report.findings:
        violations.labels(violation_type=finding.problem.value).inc()
