"""The audit store's documents, and the connections to it.

What adds and reads has one, and a role of the store that may do no more is enough for it. What makes indexes, changes
and removes, which is to archive, to erase and to rebuild, asks for the *privileged* one: another login where
DATABASE_ARCHIVE_URL names it.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import mongoengine
from django.conf import settings
from mongoengine.connection import ConnectionFailure, get_db
from pymongo import IndexModel, WriteConcern, timeout
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure, PyMongoError

from audit.exceptions import StoreUnavailable

logger = logging.getLogger(__name__)

ALIAS: Final = "audit"
_SELECTION_TIMEOUT_MS: Final = 1_000  # how fast a dead store is noticed
_SOCKET_TIMEOUT_MS: Final = 10_000
READ_SECONDS: Final = 1.5
PATIENT: Final = None  # for work that may take long: only a store that is gone, or silent for 10 s, ends it
# What is counted as shipped must have reached the journal of most members; the embedded server, which ignores
# this, is started with --sync-on-commit instead.
_DURABLE: Final = WriteConcern(w="majority", j=True)
DUPLICATE: Final = 11000
_FORBIDDEN: Final = 13
_SAID: Final = {
    _FORBIDDEN: "the audit store does not let its user do that: it needs the right to find and to insert",
    18: "the audit store refused the login",
    64: "most members of the audit store do not acknowledge what is written",
    14031: "the audit store's disk is full",
}


class AuditEvent(mongoengine.Document):  # type: ignore[misc]
    """One numbered event. `_id` is the event's id, `body` its canonical JSON text, `at` ISO 8601 UTC text.

    Once a person's data is erased, `actor`, `body` and `salt` are null.

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
    trace_id = mongoengine.StringField(db_field="traceId")
    cause_id = mongoengine.StringField(db_field="causeId")
    writer = mongoengine.StringField()
    writer_seq = mongoengine.IntField(db_field="writerSeq")
    body = mongoengine.StringField()
    salt = mongoengine.StringField()
    private = mongoengine.StringField()
    hash = mongoengine.StringField()
    ids = mongoengine.ListField(mongoengine.StringField())  # what a search by id finds it by; see `collect_ids`

    meta = {
        "db_alias": ALIAS,
        "collection": "audit_log",  # "audit_events" held the events of before the tree; it is left alone
        "auto_create_index": False,
        "strict": False,  # a document that was tampered with must still be readable
        "indexes": [
            {"fields": ["seq"], "unique": True, "cls": False},
            {"fields": ["task_id", "seq"], "cls": False},
            {"fields": ["agent_id", "seq"], "cls": False},
            {"fields": ["type", "seq"], "cls": False},
            {"fields": ["decision", "seq"], "cls": False},
            {"fields": ["skill_id", "seq"], "cls": False},
            {"fields": ["actor", "seq"], "cls": False},
            {"fields": ["ids", "seq"], "cls": False},
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
    """A connection of this process, opened anew when the store's address changes."""

    def __init__(self, alias: str, find: Callable[[], str]) -> None:
        self._alias = alias
        self._find = find
        self._lock = threading.Lock()
        self._uri = ""

    def get_collection(self, kind: Kind) -> Collection[dict[str, Any]]:
        uri = self._find()
        with self._lock:
            if uri != self._uri:  # the embedded server came back on another port
                self._close()
                _connect(uri, alias=self._alias)
                self._uri = uri
            collection: Collection[dict[str, Any]] = get_db(self._alias)[kind._get_collection_name()]
        return collection.with_options(write_concern=_DURABLE)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        mongoengine.disconnect(self._alias)
        if self._alias == ALIAS:
            AuditEvent._collection = TranscriptDocument._collection = None
        self._uri = ""


def _connect(uri: str, *, alias: str) -> None:
    mongoengine.connect(
        settings.MONGODB_DATABASE,
        host=uri,
        alias=alias,
        serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
        connectTimeoutMS=_SELECTION_TIMEOUT_MS,
        socketTimeoutMS=_SOCKET_TIMEOUT_MS,
        uuidRepresentation="standard",
        # What was tampered with must still be readable, whatever bytes and dates it holds.
        unicode_decode_error_handler="replace",
        datetime_conversion="DATETIME_AUTO",
        appname=f"orchestrator-{alias}",
    )


_everyday = _Connection(ALIAS, find_uri)
_privileged = _Connection(f"{ALIAS}-privileged", lambda: str(settings.MONGODB_ARCHIVE_URI))


def get_collection(kind: Kind = AuditEvent, *, privileged: bool = False) -> Collection[dict[str, Any]]:
    """Return the collection of one kind, connected lazily; writes to it are durable before they are acknowledged.

    `privileged` is for changing, removing and indexing; the same login serves both where only one is named.

    Raises: StoreUnavailable if no address is known.
    """
    return (_privileged if privileged and settings.MONGODB_ARCHIVE_URI else _everyday).get_collection(kind)


def disconnect() -> None:
    """Close the connections; the next use opens them again."""
    _everyday.close()
    _privileged.close()


@contextmanager
def open_store(
    kind: Kind = AuditEvent, *, seconds: float | None = READ_SECONDS, privileged: bool = False
) -> Iterator[Collection[dict[str, Any]]]:
    """Give the collection of one kind, for work that is given up after `seconds`: a store may hang without being gone.

    Raises: StoreUnavailable for whatever the driver raises inside.
    """
    try:
        with nullcontext() if seconds is None else timeout(seconds):
            yield get_collection(kind, privileged=privileged)
    except (PyMongoError, ConnectionFailure) as error:
        raise StoreUnavailable(describe(error)) from error


def describe(error: Exception) -> str:
    """Say in a short sentence why the store failed, without its address or password."""
    if isinstance(error, NotPrimaryError):
        return "the audit store has no member that takes writes"
    if isinstance(error, AutoReconnect):
        return "the audit store does not answer"
    code, name = _find_code(error)
    return _SAID.get(code, f"the audit store failed ({name or type(error).__name__})")


def _find_code(error: Exception) -> tuple[int, str]:
    """Return the server's code and its name; of a bulk, of the first error that is no duplicate."""
    details = (error.details if isinstance(error, OperationFailure) else None) or {}
    errors = [*details.get("writeErrors", []), *details.get("writeConcernErrors", [])] or [details]
    first: dict[str, Any] = next((one for one in errors if one.get("code") != DUPLICATE), {})
    return int(first.get("code") or 0), str(first.get("codeName", ""))


def ensure_indexes() -> None:
    """Make the indexes that are missing; where no login here may, they are left to another process.

    Raises: StoreUnavailable.
    """
    for kind in (AuditEvent, TranscriptDocument):
        with open_store(kind, seconds=PATIENT) as collection:
            try:
                missing = _find_missing_indexes(kind, collection)
                if missing:
                    get_collection(kind, privileged=True).create_indexes(missing)
            except OperationFailure as error:
                if error.code != _FORBIDDEN:
                    raise
                logger.warning(
                    "the audit store's indexes are left to manage.py prepare with DATABASE_ARCHIVE_URL",
                    extra={"action": "store.unprepared"},
                )


def list_missing_indexes() -> list[str]:
    """Return the names of the indexes that should be there and are not.

    Raises: StoreUnavailable.
    """
    missing: list[str] = []
    for kind in (AuditEvent, TranscriptDocument):
        with open_store(kind) as collection:
            missing += [str(model.document["name"]) for model in _find_missing_indexes(kind, collection)]
    return missing


def _find_missing_indexes(kind: Kind, collection: Collection[dict[str, Any]]) -> list[IndexModel]:
    present = collection.index_information()
    wanted = [_to_model(**spec) for spec in kind._meta["index_specs"]]
    return [model for model in wanted if model.document["name"] not in present]


def _to_model(*, fields: Sequence[tuple[str, int]], cls: bool = False, **options: Any) -> IndexModel:
    """Return an index as mongoengine declares it; `cls` is mongoengine's own."""
    return IndexModel(list(fields), **options)
