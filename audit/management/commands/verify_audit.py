"""Check that nobody has edited, removed, added or moved an event."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from audit.exceptions import StoreUnavailable
from audit.metrics import violations
from audit.verification import Report, verify


class Command(BaseCommand):
    """`verify_audit`: exit 0 if the trail holds, 1 if it does not, 2 if the store could not be read."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify, and print what was found."""
        try:
            report = verify()
        except StoreUnavailable as error:
            self.stderr.write(f"Not verified: {error}. Events are kept in the ledger; try again when it is back.")
            sys.exit(2)
        self._print(report)
        if not report.holds:
            sys.exit(1)

    def _print(self, report: Report) -> None:
        self.stdout.write(f"ledger: {report.ledger_checked} events in the chain")
        self.stdout.write(f"store:  {report.store_checked} events in the chain")
        self.stdout.write(
            f"on their way: {report.on_their_way} ({report.unnumbered} not numbered yet, "
            f"{report.unshipped} not in the store yet)"
        )
        for finding in report.findings:
            violations.labels(violation_type=finding.problem.value).inc()
            self.stdout.write(f"BROKEN: {finding.place}: event {finding.seq} {finding.detail} ({finding.problem})")
        if report.holds:
            self.stdout.write(f"OK: the chain holds up to event {report.head_seq}, head {report.head_hash}")
