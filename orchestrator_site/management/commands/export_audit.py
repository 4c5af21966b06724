"""Write a part of the audit trail, with its proof, to a file that an auditor checks offline."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from audit.bundles.bundle import Bundle, Source, prepare_bundle, record_export, write_bundle
from audit.exceptions import AuditError
from orchestrator_site.roles import Permission
from orchestrator_site.terminal.acting import add_user, find_actor


class Command(BaseCommand):
    """`export_audit`: the bundle that `audit/bundles/verify_trail.py` reads; itself audited."""

    help = __doc__ or ""

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to; it must not exist yet")
        parser.add_argument("--since", type=int, default=0, metavar="SIZE", help="after so many events (all)")
        parser.add_argument("--to", type=int, metavar="SIZE", help="up to event SIZE (the newest checkpoint)")
        parser.add_argument("--redacted", action="store_true", help="without actors and bodies; just as provable")
        parser.add_argument("--source", choices=list(Source), default=Source.LEDGER, help="which of the two copies")
        add_user(parser, Permission.AUDIT_EXPORT)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        if options["out"].exists():
            raise CommandError(f"{options['out']} exists already: name another file. Nothing was exported.")
        name = find_actor(options["user"], Permission.AUDIT_EXPORT).get_username()
        if not options["redacted"]:
            find_actor(name, Permission.AUDIT_PAYLOAD)
        try:
            bundle = prepare_bundle(
                after=options["since"],
                to=options["to"],
                redacted=options["redacted"],
                source=Source(options["source"]),
                made_by=f"user:{name}",
            )
            record_export(bundle)
            size_bytes = write_file(options["out"], bundle)
        except (AuditError, OSError) as error:
            raise CommandError(f"{error} Nothing was exported.") from error
        self.stdout.write(
            f"Events {bundle.after + 1} to {bundle.to}, proven up to the checkpoint of {bundle.checkpoint.size}: "
            f"{size_bytes:,} bytes in {options['out']}"
        )


def write_file(path: Path, bundle: Bundle) -> int:
    """Write a bundle to a new file, which is there whole or not at all; return its size in bytes.

    Raises: OSError; StoreUnavailable.
    """
    temporary = path.with_name(f"{path.name}.part")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            write_bundle(file, bundle)
        os.link(temporary, path)  # unlike a rename, this overwrites nothing
    finally:
        temporary.unlink(missing_ok=True)
    return path.stat().st_size
