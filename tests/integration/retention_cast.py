"""What tests of retention share: a small log, months old, signed, filed and shipped."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import connection

from audit.ledger import record
from audit.proof.publishing import file_next
from audit.retention import segments
from audit.sequencer import Sequencer
from audit.transactions import write_transaction
from tests.audit_cast import NOW, make_event

SEGMENT = 256  # one tile instead of sixteen: what is tested is the same
OLD = NOW - timedelta(days=40)


def set_up(settings: Any, monkeypatch: Any, folder: Path) -> None:
    """Keep 30 days, in runs of 256 events; key, checkpoints and archives lie in `folder`."""
    settings.AUDIT_RETENTION_DAYS = 30
    settings.AUDIT_ARCHIVE_DIR = folder / "archives"
    settings.AUDIT_CHECKPOINT_DIR = folder / "checkpoints"
    settings.AUDIT_KEY_FILE = folder / "keys" / "key.pem"
    monkeypatch.setattr(segments, "SEGMENT_EVENTS", SEGMENT)


def write_log(count: int, *, start: int = 0, at: Any = OLD, **changes: Any) -> None:
    """Record events, and have them numbered, signed at `at`, shipped and filed."""
    connection._audit_writer = None  # type: ignore[attr-defined]  # months later it is another writer
    with write_transaction():
        record(*(make_event(number, at=at, **changes) for number in range(start, start + count)))
    move_on(at=at)


def move_on(*, at: Any = OLD) -> None:
    """Number, sign, ship and file what there is."""
    sequencer = Sequencer("one", clock=lambda: at, steal=True)
    while sequencer.step():
        pass
    sequencer.release()
    while file_next():
        pass
