"""Check that nobody has edited, removed, added or moved an event, nor signed another history."""

import json
import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, override

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from audit.checking.checkpoints import claims_of_file
from audit.checking.recording import record_run
from audit.checking.report import Report
from audit.checking.verification import find_size, verify
from audit.exceptions import StoreUnavailable
from audit.proof.notes import CheckpointInvalid, parse_key


class Command(BaseCommand):
    """`verify_audit`: exit 0 if the trail holds, 1 if it does not, 2 if it could not be verified."""

    help = __doc__ or ""

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", metavar="SIZE|TIME", help="from the signed checkpoint before it on (all)")
        parser.add_argument(
            "--known", type=Path, metavar="FILE", help="checkpoints that you kept, to be given by the log"
        )
        parser.add_argument("--key", action="append", metavar="TEXT", help="the keys you know (this installation's)")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        report = self._verify(options)
        record_run(report, actor="system")
        if options["json"]:
            self.stdout.write(json.dumps(report.dump(), indent=2))
        else:
            self._print(report)
        if not report.holds:
            sys.exit(1)

    def _verify(self, options: dict[str, Any]) -> Report:
        try:
            known = claims_of_file(options["known"]) if options["known"] else []
            keys = [parse_key(text) for text in options["key"] or ()]
            since = read_since(options["since"]) if options["since"] else 0
        except (OSError, ValueError, CheckpointInvalid) as error:
            raise CommandError(str(error), returncode=2) from error
        try:
            return verify(since=since, known=known, keys=keys)
        except StoreUnavailable as error:
            self.stderr.write(f"Not verified: {error}. Events are kept in the ledger; try again when it is back.")
        except OSError as error:
            self.stderr.write(f"Not verified: the second place cannot be read: {error}")
        except ImproperlyConfigured as error:
            self.stderr.write(f"Not verified: {error}")
        sys.exit(2)

    def _print(self, report: Report) -> None:
        write = self.stdout.write
        start = f"from the checkpoint of {report.since} events on" if report.since else "from the first event on"
        write(f"{start}, in {report.seconds:.1f} s")
        write(f"ledger: {report.ledger_checked} events")
        write(f"store:  {report.store_checked} events")
        write(f"signed: {report.checkpoints_checked} checkpoints; outside up to event {report.exported_seq}")
        write(
            f"on their way: {report.on_their_way} ({report.unnumbered} not numbered yet, "
            f"{report.unshipped} not in the store yet)"
        )
        if report.erased:
            write(f"erased: the private part of {report.erased} events")
        for note in report.notes:
            write(f"note: {note}")
        for finding in report.findings:
            write(f"BROKEN: {finding}")
        if report.more_findings:
            write(f"BROKEN: and {report.more_findings} more")
        for remedy in dict.fromkeys(finding.remedy for finding in report.findings):
            write(f"What to do: {remedy}")
        if report.holds:
            write(f"OK: the log holds up to event {report.head_seq}, root {report.head_root}")


def read_since(text: str) -> int:
    """Return the size of the log that `--since` names. Raises: ValueError."""
    if text.isdecimal():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--since is a number of events or a time as 2026-11-25T10:00Z, not {text!r}") from None
    return find_size(at if at.tzinfo else at.replace(tzinfo=UTC))
