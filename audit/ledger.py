"""The write-ahead ledger: events are written in the transaction of the change that they tell of."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, transaction

from audit import bell
from audit.chain import canonical_bytes
from audit.events import Event
from audit.wire import Document, format_at

MAX_BODY_BYTES: Final = 4_000_000  # a document of the store may hold 16 MB
_MAX_LENGTHS = (64, 64, 200, 64, 64, 64, 8, 64)

_INSERT = """
    INSERT INTO audit_ledgerevent
        (event_id, type, actor, task_id, agent_id, skill_id, decision, reason, at, body, prev_hash, hash)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '', '')
"""
_COLUMNS = "event_id, type, actor, task_id, agent_id, skill_id, decision, reason, at, body, id, seq, prev_hash, hash"
_SELECT_UNNUMBERED = f"""
    SELECT {_COLUMNS} FROM audit_ledgerevent WHERE seq IS NULL AND id > %s ORDER BY id LIMIT %s
"""  # noqa: S608
_SELECT_NUMBERED = f"""
    SELECT {_COLUMNS} FROM audit_ledgerevent WHERE seq > %s AND seq <= %s ORDER BY seq
"""  # noqa: S608
_NUMBER = "UPDATE audit_ledgerevent SET seq = %s, prev_hash = %s, hash = %s WHERE id = %s AND seq IS NULL"
_PAGE_ROWS: Final = 64  # read in pages, so that large bodies are counted before they are all in memory
_BATCH_BYTES: Final = 8_000_000


def record(*events: Event) -> None:
    """Add `events` to the ledger, to be committed or rolled back with the change around it.

    Raises: RuntimeError outside a transaction; ValueError for an event that has no canonical form, whose body
    is over 4 MB, or whose texts hold NUL or are too long for their columns.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("record() outside a transaction: open write_transaction() around the change and its events")
    rows = [_row(event) for event in events]
    with connection.cursor() as cursor:
        if len(rows) == 1:
            cursor.execute(_INSERT, rows[0])
        else:
            cursor.executemany(_INSERT, rows)
    transaction.on_commit(bell.recorded.ring)


def _row(event: Event) -> tuple[Any, ...]:
    texts = (
        event.id, str(event.type), event.actor,
        event.task_id, event.agent_id, event.skill_id, str(event.decision), str(event.reason),
    )  # fmt: skip
    for text, limit in zip(texts, _MAX_LENGTHS, strict=True):
        if len(text) > limit or "\0" in text:
            raise ValueError(f"{event.type}: a text of the event is over {limit} characters or holds NUL: {text!r:.80}")
    if event.at.tzinfo is None:
        raise ValueError(f"{event.type}: `at` has no time zone")
    body = canonical_bytes(dict(event.body))
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"{event.type}: a body of {len(body)} bytes is over {MAX_BODY_BYTES}")
    return (*texts, connection.ops.adapt_datetimefield_value(event.at), body.decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A row of the ledger with the document that it becomes; `seq` and hashes are set once it is numbered."""

    row_id: int
    document: Document


def read_unnumbered(*, limit: int) -> list[LedgerRow]:
    """Return the oldest rows without a number: at most `limit`, fewer when their bodies are large."""
    return _bounded(_iterate_unnumbered(), limit=limit)


def read_numbered(*, after: int, to: int) -> list[Document]:
    """Return the documents after number `after`, in order, at most up to `to`, fewer when their bodies are large."""
    rows = (LedgerRow(row_id=0, document=document) for document in iterate_numbered(after=after, to=to))
    return [row.document for row in _bounded(rows, limit=to - after)]


def iterate_numbered(*, after: int, to: int) -> Iterator[Document]:
    """Give the documents of the numbers `after` < seq <= `to`, in order, a page in memory at a time."""
    for start in range(after, to, _PAGE_ROWS):
        for row in _fetch(_SELECT_NUMBERED, [start, min(start + _PAGE_ROWS, to)]):
            yield row.document


def _iterate_unnumbered() -> Iterator[LedgerRow]:
    last_id = 0
    while page := _fetch(_SELECT_UNNUMBERED, [last_id, _PAGE_ROWS]):
        yield from page
        if len(page) < _PAGE_ROWS:
            return
        last_id = page[-1].row_id


def _bounded(rows: Iterator[LedgerRow], *, limit: int) -> list[LedgerRow]:
    taken: list[LedgerRow] = []
    size_bytes = 0
    for row in itertools.islice(rows, limit):
        taken.append(row)
        size_bytes += len(row.document["body"])
        if size_bytes > _BATCH_BYTES:
            break
    return taken


def write_numbers(rows: Sequence[LedgerRow]) -> None:
    """Write down the numbers and hashes that the rows' documents were given.

    Raises: RuntimeError if one of them had a number already.
    """
    values = [(r.document["seq"], r.document["prevHash"], r.document["hash"], r.row_id) for r in rows]
    with connection.cursor() as cursor:
        cursor.executemany(_NUMBER, values)
        if cursor.rowcount != len(values):
            raise RuntimeError(f"{cursor.rowcount} of {len(values)} rows took their number: somebody else numbers too")


def _fetch(sql: str, parameters: list[int]) -> list[LedgerRow]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [_read(row) for row in cursor.fetchall()]


def _read(row: tuple[Any, ...]) -> LedgerRow:
    event_id, type_, actor, task_id, agent_id, skill_id, decision, reason, at, body, row_id, seq, prev_hash, hash_ = row
    document = {
        "_id": event_id,
        "seq": seq,
        "type": type_,
        "at": format_at(at),
        "actor": actor,
        "taskId": task_id or None,
        "agentId": agent_id or None,
        "skillId": skill_id or None,
        "decision": decision or None,
        "reason": reason or None,
        "body": body,
        "prevHash": prev_hash,
        "hash": hash_,
    }
    return LedgerRow(row_id=row_id, document=document)
