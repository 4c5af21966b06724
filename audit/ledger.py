"""The write-ahead ledger: events are written in the transaction of the change that they tell of."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from audit.canonical import canonical_bytes
from audit.events import Event
from audit.ids import collect_ids
from audit.wire import Document, format_at
from audit.writers import forget_writer, take_numbers

MAX_BODY_BYTES: Final = 4_000_000  # a document of the store may hold 16 MB
_MAX_LENGTHS = (64, 64, 200, 64, 64, 64, 8, 64, 64, 64)

_INSERT = """
    INSERT INTO audit_ledgerevent
        (event_id, type, actor, task_id, agent_id, skill_id, decision, reason, trace_id, cause_id, at, body,
         writer, writer_seq, salt, private, hash)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '', '', '')
"""
_COLUMNS = """event_id, type, actor, task_id, agent_id, skill_id, decision, reason, trace_id, cause_id, at, body, id,
    seq, writer, writer_seq, salt, private, hash"""
_FIND_OLDEST = "SELECT id, LENGTH(body) FROM audit_ledgerevent WHERE seq IS NULL ORDER BY id LIMIT %s"
_SELECT_ROWS = f"SELECT {_COLUMNS} FROM audit_ledgerevent WHERE id IN ({{}}) ORDER BY id"  # noqa: S608
_SELECT_NUMBERED = f"""
    SELECT {_COLUMNS} FROM audit_ledgerevent WHERE seq > %s AND seq <= %s ORDER BY seq
"""  # noqa: S608
_NUMBER = """
    UPDATE audit_ledgerevent
    SET seq = given.column2, salt = given.column3, private = given.column4, hash = given.column5
    FROM (VALUES {}) AS given WHERE audit_ledgerevent.id = given.column1 AND audit_ledgerevent.seq IS NULL
"""
_BLANK = "UPDATE audit_ledgerevent SET salt = '', actor = '', body = '' WHERE seq = %s"
_SEARCH = """
    SELECT id, seq, actor, body FROM audit_ledgerevent
    WHERE id > %s AND (actor = %s OR body LIKE %s OR body LIKE %s) ORDER BY id LIMIT %s
"""
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
    writer, numbers = take_numbers(len(rows))
    try:
        _insert([(*row, writer, number) for row, number in zip(rows, numbers, strict=True)])
    except BaseException:
        forget_writer()  # whoever catches this may commit the transaction all the same
        raise


def _insert(rows: Sequence[tuple[Any, ...]]) -> None:
    with connection.cursor() as cursor:
        if len(rows) == 1:
            cursor.execute(_INSERT, rows[0])
        else:
            cursor.executemany(_INSERT, rows)


def _row(event: Event) -> tuple[Any, ...]:
    texts = (
        event.id, str(event.type), event.actor,
        event.task_id, event.agent_id, event.skill_id, str(event.decision), str(event.reason),
        event.trace_id, event.cause_id,
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
    """A row of the ledger with the document that it becomes; `seq`, salt and hashes are set once it is numbered."""

    row_id: int
    document: Document


def read_unnumbered(*, limit: int) -> list[LedgerRow]:
    """Return the oldest rows without a number: at most `limit`, fewer when their bodies are large.

    Each writer's rows come in the order of its own numbers: which rows it is to be is seen in one statement. What is
    committed while they are read waits for the next call, also where its id is lower; else a later row of a writer
    could be taken and an earlier one be left.
    """
    with connection.cursor() as cursor:
        cursor.execute(_FIND_OLDEST, [limit])
        found = cursor.fetchall()
    sizes = itertools.accumulate(size_bytes for _, size_bytes in found)
    ids = [id_ for (id_, size_bytes), total in zip(found, sizes, strict=True) if total - size_bytes <= _BATCH_BYTES]
    return _fetch(_SELECT_ROWS.format(", ".join(["%s"] * len(ids))), ids) if ids else []


def read_numbered(*, after: int, to: int) -> list[Document]:
    """Return the documents after number `after`, in order, at most up to `to`, fewer when their bodies are large."""
    rows = (LedgerRow(row_id=0, document=document) for document in iterate_numbered(after=after, to=to))
    return [row.document for row in _bounded(rows, limit=to - after)]


def iterate_numbered(*, after: int, to: int) -> Iterator[Document]:
    """Give the documents of the numbers `after` < seq <= `to`, in order, a page in memory at a time."""
    for start in range(after, to, _PAGE_ROWS):
        for row in _fetch(_SELECT_NUMBERED, [start, min(start + _PAGE_ROWS, to)]):
            yield row.document


def _bounded(rows: Iterator[LedgerRow], *, limit: int) -> list[LedgerRow]:
    taken: list[LedgerRow] = []
    size_bytes = 0
    for row in itertools.islice(rows, limit):
        taken.append(row)
        size_bytes += len(row.document["body"] or "")
        if size_bytes > _BATCH_BYTES:
            break
    return taken


def write_numbers(rows: Sequence[LedgerRow]) -> None:
    """Write down the numbers and hashes that the rows' documents were given.

    Raises: RuntimeError if one of them had a number already.
    """
    keys = ("seq", "salt", "private", "hash")
    values = [value for row in rows for value in (row.row_id, *(row.document[key] for key in keys))]
    with connection.cursor() as cursor:
        cursor.execute(_NUMBER.format(", ".join(["(%s, %s, %s, %s, %s)"] * len(rows))), values)
        if cursor.rowcount != len(rows):
            raise RuntimeError(f"{cursor.rowcount} of {len(rows)} rows took their number: somebody else numbers too")


def remove(*, after: int, to: int) -> None:
    """Take the rows of a whole segment out, in its transaction.

    Raises: RuntimeError if they are not all there.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_ledgerevent WHERE seq > %s AND seq <= %s", [after, to])
        if cursor.rowcount != to - after:
            raise RuntimeError(f"{cursor.rowcount} rows of {to - after} are there: somebody else removes too")


def search(name: str) -> Iterator[tuple[int | None, str, str]]:
    """Give number (None if it has none yet), actor and body of each row that may name the user `name`."""
    last_id, may_name = 0, [f"user:{name}", f'%"{name}"%', f'%"user:{name}"%']
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_SEARCH, [last_id, *may_name, _PAGE_ROWS])
            page = cursor.fetchall()
        yield from (row[1:] for row in page)
        if len(page) < _PAGE_ROWS:
            return
        last_id = page[-1][0]


def blank(seqs: Sequence[int]) -> None:
    """Erase the private part of numbered rows: salt, actor and body; inside a transaction."""
    with connection.cursor() as cursor:
        cursor.executemany(_BLANK, [[seq] for seq in seqs])


def _fetch(sql: str, parameters: Sequence[int]) -> list[LedgerRow]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [_read(row) for row in cursor.fetchall()]


def _read(row: tuple[Any, ...]) -> LedgerRow:
    (
        event_id, type_, actor, task_id, agent_id, skill_id, decision, reason, trace_id, cause_id, at, body, row_id,
        seq, writer, writer_seq, salt, private, hash_,
    ) = row  # fmt: skip
    document = {
        "_id": event_id,
        "seq": seq,
        "type": type_,
        "at": format_at(at),
        "actor": actor or None,
        "taskId": task_id or None,
        "agentId": agent_id or None,
        "skillId": skill_id or None,
        "decision": decision or None,
        "reason": reason or None,
        "traceId": trace_id or None,
        "causeId": cause_id or None,
        "writer": writer or None,
        "writerSeq": writer_seq,
        "body": body or None,
        "salt": salt or None,
        "private": private,
        "hash": hash_,
    }
    document["ids"] = collect_ids(document)
    return LedgerRow(row_id=row_id, document=document)
