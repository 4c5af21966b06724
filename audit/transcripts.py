"""The transcript's outbox: what was said in an agent's run, written in the transaction of the step that it tells of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from django.db import connection, transaction

from audit import bell
from audit.ids import new_id
from audit.wire import Document, format_at

MAX_BODY_BYTES: Final = 1_000_000  # of a body's JSON text
_CUTS: Final = (100_000, 20_000, 4_000, 500)  # how much of each text is kept in a body that is too large
_MAX_DEPTH: Final = 100
_BATCH_ROWS: Final = 200
_BATCH_BYTES: Final = 1_000_000  # what one step of shipping may keep events waiting for
_PAGE_ROWS: Final = 25

_INSERT = """
    INSERT INTO audit_transcriptentry (entry_id, task_id, at, kind, body, shipped) VALUES (%s, %s, %s, %s, %s, %s)
"""
_COLUMNS = "id, entry_id, task_id, at, kind, body"
_SELECT_UNSHIPPED = f"""
    SELECT {_COLUMNS} FROM audit_transcriptentry WHERE shipped = %s AND id > %s ORDER BY id LIMIT %s
"""  # noqa: S608
_SELECT_WINDOW = f"""
    SELECT {_COLUMNS} FROM audit_transcriptentry WHERE id > %s ORDER BY id LIMIT %s
"""  # noqa: S608


class Kind(StrEnum):
    """What a moment is."""

    PROMPT = "prompt"  # what the model was told at the start
    REPLY = "reply"  # what it said, with its tool calls
    CALL = "call"  # what the gate decided about one of them
    RESULT = "result"  # what the model was told came of it
    VERDICT = "verdict"  # its answer was sent back: what is wrong with it
    ERROR = "error"  # a call of the model that went wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One moment of a run; its `body` is redacted before it comes here."""

    task_id: str
    kind: str
    body: Mapping[str, Any]
    at: datetime  # aware, UTC
    id: str = field(default_factory=new_id)


def record_entries(*entries: Entry) -> None:
    """Add entries to the outbox, in order, to be committed or rolled back with the step that they tell of.

    A body over 1 MB of JSON is cut, and says so. What JSON cannot hold becomes text.

    Raises: RuntimeError outside a transaction; ValueError for an unknown kind, or a time without its zone.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("record_entries() outside a transaction: write an entry together with its step")
    rows = [_row(entry) for entry in entries]
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)
    transaction.on_commit(bell.recorded.ring)


def _row(entry: Entry) -> tuple[Any, ...]:
    if entry.at.tzinfo is None:
        raise ValueError(f"{entry.kind}: `at` has no time zone")
    at = connection.ops.adapt_datetimefield_value(entry.at)
    return (entry.id, entry.task_id, at, Kind(entry.kind).value, _write_body(entry.body), False)


def _write_body(body: Mapping[str, Any]) -> str:
    whole = text = _dump(body)
    for limit in _CUTS:
        if len(text) <= MAX_BODY_BYTES:
            return text.decode()
        text = _dump(_cut(body, limit=limit) | {"cutFromBytes": len(whole)})
    if len(text) > MAX_BODY_BYTES:  # too many parts, however short each is
        start = whole[: MAX_BODY_BYTES // 4].decode(errors="ignore")
        text = _dump({"cut": f"{start}… [cut]", "cutFromBytes": len(whole)})
    return text.decode()


def _cut(value: Any, *, limit: int) -> Any:
    match value:
        case str() if len(value) > limit:
            return f"{value[:limit]}… [cut: {len(value):,} characters in all]"
        case Mapping():
            return {str(key)[:200]: _cut(inner, limit=limit) for key, inner in value.items()}
        case list() | tuple():
            return [_cut(inner, limit=limit) for inner in value]
    return value


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_plain(value))


def _plain(value: Any, depth: int = 0) -> Any:
    """Return what orjson can write: no integer beyond 64 bits, no lone surrogate, no endless depth."""
    if depth > _MAX_DEPTH:
        return f"{ascii(value)[:500]}… [cut: nested too deeply]"
    match value:
        case Mapping():
            return {_plain(str(key)): _plain(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, depth + 1) for inner in value]
        case bool() | float() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else str(value)
    return str(value).encode(errors="replace").decode()


# --- what the sequencer reads and settles ---------------------------------------------------------------------
def read_unshipped() -> list[Document]:
    """Return the oldest entries that are not known to be in the store: 200 at most, fewer when they are large."""
    return _read_bounded(_SELECT_UNSHIPPED, False)


def read_window(*, after: int) -> list[Document]:
    """Return the entries with the next higher `n`, shipped or not: 200 at most, fewer when they are large."""
    return _read_bounded(_SELECT_WINDOW, after=after)


def _read_bounded(sql: str, *parameters: bool, after: int = 0) -> list[Document]:
    """Read in pages, so that large bodies are counted before they are all in memory."""
    taken: list[Document] = []
    size = 0
    for document in _iterate(sql, *parameters, after=after):
        taken.append(document)
        size += document["size"]
        if len(taken) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            break
    return taken


def _iterate(sql: str, *parameters: bool, after: int) -> Iterator[Document]:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(sql, [*parameters, after, _PAGE_ROWS])
            page = [_read(row) for row in cursor.fetchall()]
        yield from page
        if len(page) < _PAGE_ROWS:
            return
        after = page[-1]["n"]


def _read(row: tuple[Any, ...]) -> Document:
    n, entry_id, task_id, at, kind, body = row
    return {
        "_id": entry_id,
        "n": n,
        "taskId": task_id,
        "at": format_at(at),
        "kind": kind,
        "body": body,
        "size": len(body.encode()),
    }


def mark(numbers: Sequence[int], *, shipped: bool) -> None:
    """Write down whether entries are in the store; to be called inside a transaction."""
    if not numbers:
        return
    places = ", ".join(["%s"] * len(numbers))
    with connection.cursor() as cursor:
        sql = f"UPDATE audit_transcriptentry SET shipped = %s WHERE id IN ({places})"  # noqa: S608
        cursor.execute(sql, [shipped, *numbers])


def count_shipped() -> int:
    """Return how many entries are counted as shipped, from the indexes alone: the rows are large."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT COUNT(*) FROM audit_transcriptentry)"
            " - (SELECT COUNT(*) FROM audit_transcriptentry WHERE shipped = %s)",
            [False],
        )
        return int(cursor.fetchone()[0])


def list_ids(*, after: int, limit: int) -> dict[int, str]:
    """Return the ids of the entries with the next higher `n`, by `n`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, entry_id FROM audit_transcriptentry WHERE id > %s ORDER BY id LIMIT %s", [after, limit]
        )
        return dict(cursor.fetchall())
