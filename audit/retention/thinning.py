"""Keep the table of checkpoints small: of those older than a week, the last of each hour and each segment's stay.

Nothing is lost by it: only checkpoints that are filed are taken out, and the folder keeps them all.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import batched, groupby
from typing import Final

from django.conf import settings
from django.db.models import QuerySet

from audit.lease import HEAD
from audit.models import Checkpoint, TreeHead
from audit.retention.segments import SEGMENT_EVENTS
from audit.transactions import write_transaction

KEPT: Final = timedelta(days=7)
_CHUNK: Final = 500


def thin_checkpoints(*, now: datetime) -> int:
    """Take out what is not needed any more of the older checkpoints; return how many went."""
    old = _list_old(now=now)
    newest = old.order_by("-size").values_list("size", flat=True).first()
    if newest is None:
        return 0
    with write_transaction():  # first, so that what is missing from the table is never taken for lost
        TreeHead.objects.filter(name=HEAD, thinned_size__lt=newest).update(thinned_size=newest)
    done = 0
    for sizes in batched(_list_needless(old), _CHUNK, strict=False):
        with write_transaction():
            done += Checkpoint.objects.filter(size__in=sizes).delete()[0]
    return done


def _list_old(*, now: datetime) -> QuerySet[Checkpoint]:
    old = Checkpoint.objects.filter(at__lt=now - KEPT, filed_at__isnull=False)
    return old.exclude(posted_at__isnull=True) if settings.AUDIT_CHECKPOINT_WEBHOOK else old


def _list_needless(old: QuerySet[Checkpoint]) -> Iterator[int]:
    rows: Sequence[tuple[int, datetime]] = list(old.order_by("size").values_list("size", "at"))
    for _, hour in groupby(rows, key=lambda row: f"{row[1]:%Y-%m-%d %H}"):
        *earlier, _last = (size for size, _ in hour)
        yield from (size for size in earlier if size % SEGMENT_EVENTS)
