"""What tests of checkpoints share: a sequencer whose seconds they count, signed checkpoints, and a folder's notes."""

from pathlib import Path
from typing import Any

from audit.ledger import record
from audit.models import Checkpoint
from audit.proof import notes
from audit.proof.keys import load_key
from audit.sequencer import Sequencer
from audit.transactions import write_transaction
from tests.audit_cast import NOW, make_event


def set_places(settings: Any, folder: Path) -> None:
    """Give a test a key and a second place of its own, and no third."""
    settings.AUDIT_SIGNING_KEY = ""
    settings.AUDIT_KEY_FILE = folder / "keys" / "audit-signing.pem"
    settings.AUDIT_CHECKPOINT_DIR = folder / "checkpoints"
    settings.AUDIT_CHECKPOINT_WEBHOOK = ""


class Hand:
    """A sequencer whose seconds the test counts."""

    def __init__(self, holder: str = "one", **options: Any) -> None:
        self.seconds = 100.0
        self.sequencer = Sequencer(holder, monotonic=lambda: self.seconds, lease_seconds=1e6, **options)

    def drain(self, *, after: float = 0.0) -> None:
        self.seconds += after
        while self.sequencer.step():
            pass


def record_many(count: int) -> None:
    with write_transaction():
        record(*(make_event(n) for n in range(count)))


def split(text: str) -> list[str]:
    """Return the notes in a text."""
    return [note for _, note in notes.split_notes(text.splitlines(keepends=True))]


def list_sizes() -> list[int]:
    return list(Checkpoint.objects.order_by("size").values_list("size", flat=True))


def read_filed(folder: Path) -> list[str]:
    """Return the notes in the folder's files, in order."""
    return split("".join(path.read_text() for path in sorted(folder.glob("*.checkpoints"))))


def make_checkpoints(*sizes: int) -> list[str]:
    """Save signed checkpoints, and return their notes."""
    for size in sizes:
        checkpoint = notes.Checkpoint(origin="test", size=size, root=bytes(32), at=NOW)
        Checkpoint.objects.create(size=size, root="00" * 32, at=NOW, note=notes.sign(checkpoint, load_key()))
    return list(Checkpoint.objects.order_by("size").values_list("note", flat=True))
