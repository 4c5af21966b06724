"""Sign what the log came to: a checkpoint each 256 events, and each second in which there were any."""

import logging
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.lease import Clock
from audit.models import Checkpoint
from audit.proof import notes
from audit.proof.keys import load_key
from audit.proof.merkle import TILE_WIDTH, Frontier

logger = logging.getLogger(__name__)

MAX_EVENTS: Final = TILE_WIDTH  # so that each full tile is the end of a signed tree
MAX_SECONDS: Final = 1.0


class Signer:
    """Knows what was signed last; without a key it says so once, and numbering goes on."""

    def __init__(self) -> None:
        self._size = 0
        self._tried_at = -inf
        self.fault = ""

    def look_back(self, size: int) -> None:
        """Read up to where a log of `size` events is signed: another process may have signed since."""
        signed = Checkpoint.objects.filter(size__lte=size).order_by("-size").values_list("size", flat=True)
        self._size = signed.first() or 0
        self.hurry()

    def hurry(self) -> None:
        """Let what is not signed yet be due at once."""
        self._tried_at = -inf

    def wait_seconds(self, size: int, *, monotonic: float) -> float | None:
        """Return how long a log of `size` events may go unsigned from now, None if there is nothing to sign."""
        return max(0.0, self._tried_at + MAX_SECONDS - monotonic) if size > self._size else None

    def sign_due(self, frontiers: Iterable[Frontier], *, clock: Clock, monotonic: float) -> list[Checkpoint]:
        """Return checkpoints, to be saved, of those of the growing trees that are due; none if there is no key."""
        signed = (self._sign_if_due(frontier, clock=clock, monotonic=monotonic) for frontier in frontiers)
        return [checkpoint for checkpoint in signed if checkpoint is not None]

    def _sign_if_due(self, frontier: Frontier, *, clock: Clock, monotonic: float) -> Checkpoint | None:
        wait = self.wait_seconds(frontier.size, monotonic=monotonic)
        if wait is None or (wait and frontier.size % MAX_EVENTS):
            return None
        self._tried_at = monotonic
        try:
            key = load_key()
        except ImproperlyConfigured as error:
            if self.fault != str(error):
                logger.error("audit checkpoints are not signed: %s", error, extra={"action": "checkpoints.unsigned"})
            self.fault = str(error)
            return None
        self.fault = ""
        self._size, now = frontier.size, clock()
        checkpoint = notes.Checkpoint(origin=settings.AUDIT_ORIGIN, size=frontier.size, root=frontier.root, at=now)
        return Checkpoint(size=frontier.size, root=frontier.root.hex(), at=now, note=notes.sign(checkpoint, key))


def save_checkpoints(checkpoints: Sequence[Checkpoint]) -> None:
    """Save what was signed, in a transaction; what stands under the same size already is left for who verifies."""
    if checkpoints:
        Checkpoint.objects.bulk_create(checkpoints, ignore_conflicts=True)
