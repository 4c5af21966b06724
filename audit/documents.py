"""The audit store's documents, and the one connection to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import mongoengine
from django.conf import settings
from mongoengine.connection import ConnectionFailure
from pymongo import WriteConcern, timeout
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from audit.exceptions import StoreUnavailable

ALIAS: Final = "audit"
_SELECTION_TIMEOUT_MS: Final = 1_000  # how fast a dead store is noticed
_SOCKET_TIMEOUT_MS: Final = 10_000
READ_SECONDS: Final = 1.5
PATIENT: Final = None  # for work that may take long: only a store that is gone, or silent for 10 s, ends it
# What is counted as shipped must have reached the journal of most members; the embedded server, which ignores
# this, is started with --sync-on-commit instead.
_DURABLE: Final = WriteConcern(w="majority", j=True)
_UNAUTHORISED: Final = (13, 18)


class AuditEvent(mongoengine.Document):  # type: ignore[misc]
    """One numbered event. `_id` is the event's id, `body` its canonical JSON text, `at` ISO 8601 UTC text.

    `seq` has an index of its own because the embedded server answers ranges over `_id` by reading everything.
    """

    event_id = mongoengine.StringField(primary_key=True)
    seq = mongoengine.IntField(required=True)
    type = mongoengine.StringField(required=True)
    at = mongoengine.StringField(required=True)
    actor = mongoengine.StringField()
    task_id = mongoengine.StringField(db_field="taskId")
    agent_id = mongoengine.StringField(db_field="agentId")
    skill_id = mongoengine.StringField(db_field="skillId")
    decision = mongoengine.StringField()
    reason = mongoengine.StringField()
    body = mongoengine.StringField()
    prev_hash = mongoengine.StringField(db_field="prevHash")
    hash = mongoengine.StringField()

    meta = {
        "db_alias": ALIAS,
        "collection": "audit_events",
        "auto_create_index": False,
        "strict": False,  # a document that was tampered with must still be readable
        "indexes": [
            {"fields": ["seq"], "unique": True, "cls": False},
            {"fields": ["task_id", "seq"], "cls": False},
            {"fields": ["agent_id", "seq"], "cls": False},
            {"fields": ["type", "seq"], "cls": False},
            {"fields": ["decision", "seq"], "cls": False},
        ],
    }


class TranscriptDocument(mongoengine.Document):  # type: ignore[misc]
    """One moment of an agent's run. `_id` is the entry's id, `n` its place, `body` JSON text of `size` characters."""

    entry_id = mongoengine.StringField(primary_key=True)
    n = mongoengine.IntField(required=True)
    task_id = mongoengine.StringField(db_field="taskId", required=True)
    at = mongoengine.StringField(required=True)
    kind = mongoengine.StringField(required=True)
    body = mongoengine.StringField()
    size = mongoengine.IntField()

    meta = {
        "db_alias": ALIAS,
        "collection": "transcripts",
        "auto_create_index": False,
        "strict": False,
        "indexes": [
            {"fields": ["n"], "cls": False},
            {"fields": ["task_id", "n"], "cls": False},
        ],
    }


Kind = type[AuditEvent] | type[TranscriptDocument]


def find_uri() -> str:
    """Return the store's address: the setting, else what the embedded server wrote when it started.

    Raises: StoreUnavailable if there is neither.
    """
    if settings.MONGODB_URI:
        return str(settings.MONGODB_URI)
    try:
        return str(settings.MONGODB_URI_FILE.read_text().strip())
    except OSError as error:
        raise StoreUnavailable("the embedded audit store has not written its address yet") from error


class _Connection:
    """The connection of this process, opened anew when the store's address changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uri = ""

    def get_collection(self, kind: Kind) -> Collection[dict[str, Any]]:
        uri = find_uri()
        with self._lock:
            if uri != self._uri:  # the embedded server came back on another port
                self._close()
                _connect(uri)
                self._uri = uri
            collection: Collection[dict[str, Any]] = kind._get_collection()
        return collection.with_options(write_concern=_DURABLE)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        mongoengine.disconnect(ALIAS)
        AuditEvent._collection = TranscriptDocument._collection = None
        self._uri = ""


def _connect(uri: str) -> None:
    mongoengine.connect(
        settings.MONGODB_DATABASE,
        host=uri,
        alias=ALIAS,
        serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
        connectTimeoutMS=_SELECTION_TIMEOUT_MS,
        socketTimeoutMS=_SOCKET_TIMEOUT_MS,
        uuidRepresentation="standard",
        appname="orchestrator-audit",
    )


_connection = _Connection()


def get_collection(kind: Kind = AuditEvent) -> Collection[dict[str, Any]]:
    """Return the collection of one kind, connected lazily; writes to it are durable before they are acknowledged.

    Raises: StoreUnavailable if no address is known.
    """
    return _connection.get_collection(kind)


def disconnect() -> None:
    """Close the connection; the next use opens it again."""
    _connection.close()


@contextmanager
def open_store(
    kind: Kind = AuditEvent, *, seconds: float | None = READ_SECONDS
) -> Iterator[Collection[dict[str, Any]]]:
    """Give the collection of one kind, for work that is given up after `seconds`: a store may hang without being gone.

    Raises: StoreUnavailable for whatever the driver raises inside.
    """
    try:
        with nullcontext() if seconds is None else timeout(seconds):
            yield get_collection(kind)
    except (PyMongoError, ConnectionFailure) as error:
        raise StoreUnavailable(describe(error)) from error


def describe(error: Exception) -> str:
    """Say in a short sentence why the store failed, without its address or password."""
    if isinstance(error, OperationFailure) and error.code in _UNAUTHORISED:
        return "the audit store refused the login"
    if isinstance(error, AutoReconnect):
        return "the audit store does not answer"
    return f"the audit store failed ({type(error).__name__})"


def ensure_indexes() -> None:
    """Make the indexes that are missing.

    Raises: StoreUnavailable.
    """
    with open_store(seconds=PATIENT):
        AuditEvent.ensure_indexes()
        TranscriptDocument.ensure_indexes()
