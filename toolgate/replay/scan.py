"""Read recorded decisions in their order: raw rows, in chunks that each begin where the one before ended."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge

from django.db import connection

from toolgate.replay.simulation import Recorded

CHUNK_ROWS = 2_000

_COUNT = """
    SELECT agent_id, skill_id, COUNT(*) FROM toolgate_decisionrecord
    WHERE at >= %s AND at < %s GROUP BY agent_id, skill_id ORDER BY agent_id, skill_id
"""
_SELECT = """
    SELECT {at}, id, skill_id, task_id, arguments_digest, resource, effect, reason, policy_version, {size}
    FROM toolgate_decisionrecord
    WHERE agent_id = %s AND skill_id = %s AND (at, id) > (%s, %s) AND at < %s
    ORDER BY at, id LIMIT %s
"""
_SIZE = {"postgresql": "octet_length(arguments)", "sqlite": "length(CAST(arguments AS BLOB))"}
# As text, and with its zone, Django's converter and a second object are spared: a fifth of the reading.
_AT = {"postgresql": "at", "sqlite": "at || '+00:00'"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the history: `start` is in it, `end` is not."""

    start: datetime
    end: datetime


def count_pairs(span: Span) -> dict[tuple[str, str], int]:
    """Return how many decisions each agent and skill has in `span`; one pass over an index."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, (_to_store(span.start), _to_store(span.end)))
        return {(agent_id, skill_id): count for agent_id, skill_id, count in cursor.fetchall()}


def read_agent(agent_id: str, skill_ids: Iterable[str], span: Span, *, sizes: bool) -> Iterator[Recorded]:
    """Give one agent's decisions about some skills, in their order; without `sizes` arguments count no bytes."""
    return merge(*[_read_pair(agent_id, skill_id, span, sizes=sizes) for skill_id in skill_ids])


def _read_pair(agent_id: str, skill_id: str, span: Span, *, sizes: bool) -> Iterator[Recorded]:
    sql = _SELECT.format(at=_AT[connection.vendor], size=_SIZE[connection.vendor] if sizes else "0")
    after, end = (_to_store(span.start), ""), _to_store(span.end)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(sql, (agent_id, skill_id, *after, end, CHUNK_ROWS))
            rows = [Recorded(_from_store(at), *rest) for at, *rest in cursor.fetchall()]
        yield from rows
        if len(rows) < CHUNK_ROWS:
            return
        after = _to_store(rows[-1].at), rows[-1].id


def _to_store(at: datetime) -> str | None:
    return connection.ops.adapt_datetimefield_value(at)


def _from_store(at: str | datetime) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromisoformat(at)
