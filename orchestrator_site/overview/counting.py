"""Count rows by spans of time through their indexes, and keep the counts of spans that are over.

Each count looks at no more than `MAX_ROWS` rows and touches an index alone, so it costs as much in a large store as
in a small one; what hit that bound says so.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

from django.db import connection

from orchestrator_site.overview.windows import Span

MAX_ROWS: Final = 50_000  # of one span and key
_ARMS: Final = 200  # of one statement; SQLite takes 500
_MOST_KEPT: Final = 2_000
_SETTLING: Final = timedelta(minutes=1)  # what was written by then is committed

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is counted under a key: the rows of a table that a condition lets through."""

    key: str
    table: str
    where: str
    values: Values


class SpanCounts:
    """Counts by span. Those of a span that is over hold for `keep_seconds`, for what is in it may still change."""

    def __init__(self, list_arms: Callable[[Span], Iterable[Arm]], *, keep_seconds: float) -> None:
        self._list_arms = list_arms
        self._keep_seconds = keep_seconds
        self._kept: dict[Span, tuple[float, Counter[str]]] = {}

    def read(self, spans: Sequence[Span], *, now: datetime) -> list[Counter[str]]:
        """Return the counts of each span by key, each at most `MAX_ROWS`."""
        at = monotonic()
        known = {span: kept[1] for span in spans if (kept := self._kept.get(span)) and kept[0] > at}
        fresh = count_arms({span: self._list_arms(span) for span in spans if span not in known})
        if len(self._kept) > _MOST_KEPT:
            self._kept.clear()
        until = at + self._keep_seconds
        self._kept |= {span: (until, counts) for span, counts in fresh.items() if span.end + _SETTLING < now}
        return [known[span] if span in known else fresh[span] for span in spans]

    def forget(self) -> None:
        """Keep nothing: for tests."""
        self._kept.clear()


def count_arms(wanted: dict[Span, Iterable[Arm]]) -> dict[Span, Counter[str]]:
    """Return the counts of each span by key, in as few statements as the store takes."""
    found: dict[Span, Counter[str]] = {span: Counter() for span in wanted}
    flat = [(span, arm) for span, arms in wanted.items() for arm in arms]
    for begin in range(0, len(flat), _ARMS):
        part = flat[begin : begin + _ARMS]
        for place, count in _ask([arm for _, arm in part]):
            span, arm = part[place]
            found[span][arm.key] = count
    return found


def _ask(arms: Sequence[Arm]) -> list[tuple[int, int]]:
    selects = [
        f"SELECT {place}, COUNT(*) FROM (SELECT 1 FROM {arm.table} WHERE {arm.where} LIMIT {MAX_ROWS}) AS rows{place}"  # noqa: S608  (names of ours; values are bound)
        for place, arm in enumerate(arms)
    ]
    return ask(" UNION ALL ".join(selects), [value for arm in arms for value in arm.values])


def ask(question: str, values: Sequence[Any]) -> list[Any]:
    """Return the rows that a question in SQL has, its values bound."""
    with connection.cursor() as cursor:
        cursor.execute(question, [_adapt(value) for value in values])
        return list(cursor.fetchall())


def _adapt(value: Any) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
