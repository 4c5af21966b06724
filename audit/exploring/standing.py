"""How the log stands: its size, what was signed, where that has arrived, what was checked and what was archived."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from audit.lease import get_head
from audit.models import Checkpoint, RunState, TrailRun, TrailRunKind


def count_findings(report: Mapping[str, Any]) -> int:
    """Return how many contradictions a verification found, kept or not, from its report as it was dumped."""
    return len(report["findings"]) + int(report["more_findings"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The log for the card beside the list; `filed_size` and `posted_size` are None where nobody asked for that."""

    size: int
    shipped: int
    archived: int
    checkpoint: Checkpoint | None
    filed_size: int | None
    posted_size: int | None
    checkpoint_fault: str  # why checkpoints are not signed, or do not arrive; empty when all is well
    verified: TrailRun | None  # the newest that came to an end

    @property
    def unsigned(self) -> int:
        """Events that are numbered and under no checkpoint yet."""
        return self.size - (self.checkpoint.size if self.checkpoint else 0)

    @property
    def found(self) -> int:
        """What the newest verification found wrong."""
        return count_findings(self.verified.result) if self.verified and self.verified.result else 0

    @property
    def signed_at(self) -> datetime | None:
        """When the newest checkpoint was signed."""
        return self.checkpoint.at if self.checkpoint else None


def read_standing() -> Standing:
    """Return how the log stands, from the relational store alone."""
    head = get_head()
    return Standing(
        size=head.seq,
        shipped=head.shipped_seq,
        archived=head.archived_seq,
        checkpoint=Checkpoint.objects.order_by("-size").first(),
        filed_size=_find_size("filed_at"),
        posted_size=_find_size("posted_at") if settings.AUDIT_CHECKPOINT_WEBHOOK else None,
        checkpoint_fault=head.checkpoint_fault,
        verified=TrailRun.objects.filter(kind=TrailRunKind.VERIFY, state=RunState.DONE).order_by("-created_at").first(),
    )


def _find_size(arrived: str) -> int:
    """Return the size of the newest checkpoint before the first that waits to arrive there, 0 if none has."""
    sizes = Checkpoint.objects.values_list("size", flat=True)
    waiting = sizes.filter(**{f"{arrived}__isnull": True}).order_by("size").first()
    gone = sizes if waiting is None else sizes.filter(size__lt=waiting)
    return gone.order_by("-size").first() or 0
