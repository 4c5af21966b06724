"""The everyday login adds and reads, and that is all it ever asks for; what changes or removes has one of its own.

The embedded server refuses by action, for a whole database; it does not tell one collection from another.
"""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import mongoengine
import orjson
import pytest
from django.core.management import CommandError, call_command
from pymongo import MongoClient, monitoring
from pymongo.errors import OperationFailure

from audit import documents
from audit.checking.verification import verify
from audit.exceptions import StoreUnavailable
from audit.exploring.filters import Filters
from audit.exploring.search import list_events
from audit.models import LedgerEvent
from audit.retention.archiving import archive_sealed
from audit.transactions import write_transaction
from audit.transcripts import Entry, record_entries
from orchestrator_site.bootstrap import create_user
from orchestrator_site.erasing import erase_person
from orchestrator_site.roles import Role
from tests import servers
from tests.audit_cast import NOW
from tests.integration.retention_cast import OLD, SEGMENT, move_on, set_up, write_log

pytestmark = pytest.mark.django_db(transaction=True)

ROLES = Path(__file__).resolve().parents[2] / "docs" / "mongodb-roles.json"
READS = {"find", "getMore", "count", "aggregate", "listIndexes"}
SESSION = {"endSessions", "saslStart", "saslContinue", "hello", "ping"}


class Heard(monitoring.CommandListener):
    """The names of the commands that a connection sent."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.add(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, str]]:
    """Give the addresses of a server with the two roles of the documentation, one for each login."""
    with servers.run_mongodb() as server:
        with MongoClient[Any]("127.0.0.1", server.port, directConnection=True) as client:
            for role in orjson.loads(ROLES.read_bytes()):
                client.admin.command(role)
                name = role["createRole"]
                client.admin.command("createUser", name, pwd="secret", roles=[{"role": name, "db": "admin"}])
        server.stop()
        server._start_server(auth=True)
        where = f"127.0.0.1:{server.port}/?authSource=admin&directConnection=true"
        yield f"mongodb://orchestratorApp:secret@{where}", f"mongodb://orchestratorArchive:secret@{where}"


@pytest.fixture
def heard(guarded: tuple[str, str], settings: Any, monkeypatch: Any, tmp_path: Path) -> Iterator[dict[str, Heard]]:
    """Use both logins, and hear what each sends; by the alias of its connection."""
    set_up(settings, monkeypatch, tmp_path)
    settings.VAR = tmp_path
    settings.MONGODB_URI, settings.MONGODB_ARCHIVE_URI = guarded
    ears = {"audit": Heard(), "audit-privileged": Heard()}
    connect = mongoengine.connect

    def connect_heard(*names: Any, alias: str, **options: Any) -> Any:
        return connect(*names, alias=alias, event_listeners=[ears[alias]], **options)

    monkeypatch.setattr(mongoengine, "connect", connect_heard)
    documents.disconnect()
    yield ears
    settings.MONGODB_ARCHIVE_URI = guarded[1]
    for kind in (documents.AuditEvent, documents.TranscriptDocument):
        documents.get_collection(kind, privileged=True).delete_many({})
    documents.disconnect()


def test_everyday_work_only_adds_and_reads(heard: dict[str, Heard], tmp_path: Path) -> None:
    with write_transaction():
        record_entries(Entry(task_id="t-1", kind="prompt", body={"text": "what she asked"}, at=OLD))
    write_log(300, actor="user:olga-person")
    assert list_events(Filters(), limit=5).events[0]["seq"] == 300
    assert verify().findings == []
    call_command("archive_audit", stdout=StringIO())
    call_command("rebuild_audit", stdout=StringIO())
    create_user("admin", password="correct-horse-battery", roles=[Role.ADMIN], now=OLD)
    move_on(at=NOW)
    erase_person("olga-person", reason="asked for it", author="admin", now=NOW)
    assert verify().findings == []
    assert heard["audit"].names - SESSION <= READS | {"insert"}
    assert {"insert", "find"} <= heard["audit"].names
    assert {"createIndexes", "delete", "update"} <= heard["audit-privileged"].names


@pytest.mark.parametrize(
    "act",
    [
        lambda collection: collection.update_many({}, {"$set": {"actor": None}}),
        lambda collection: collection.replace_one({"seq": 1}, {"seq": 1}),
        lambda collection: collection.delete_many({}),
        lambda collection: collection.create_index("actor"),
        lambda collection: collection.drop_index("seq_1"),
        lambda collection: collection.drop(),
        lambda collection: collection.rename("elsewhere"),
        lambda collection: list(collection.aggregate([{"$out": "audit_log"}])),
        lambda collection: collection.find_one_and_delete({}),
    ],
)
def test_the_everyday_login_can_take_nothing_back(act: Any, heard: dict[str, Heard]) -> None:
    write_log(3)
    before = list(documents.get_collection().find({}))
    with pytest.raises(OperationFailure):
        act(documents.get_collection())
    assert list(documents.get_collection().find({})) == before


def test_without_the_second_login_nothing_is_archived(heard: dict[str, Heard], settings: Any) -> None:
    write_log(300)
    settings.MONGODB_ARCHIVE_URI = ""
    with pytest.raises(StoreUnavailable, match="does not let its user"):
        archive_sealed(now=NOW)
    assert LedgerEvent.objects.count() == documents.get_collection().count_documents({}) == 300
    assert SEGMENT < 300


def test_prepare_fails_where_nobody_else_could_make_the_indexes(
    heard: dict[str, Heard], settings: Any, caplog: Any
) -> None:
    away = f"mongodb://127.0.0.1:{servers.find_free_port()}/?directConnection=true"
    settings.MONGODB_URI = settings.MONGODB_ARCHIVE_URI = away
    with pytest.raises(CommandError, match="run it again once it answers"):
        call_command("prepare")
    settings.MONGODB_ARCHIVE_URI = ""
    call_command("prepare")
    assert "the audit store was not prepared" in caplog.text


def test_missing_indexes_are_said_to_be_somebody_elses_to_make(
    heard: dict[str, Heard], guarded: tuple[str, str], settings: Any, monkeypatch: Any, caplog: Any
) -> None:
    documents.ensure_indexes()
    specs = [*documents.AuditEvent._meta["index_specs"], {"fields": [("writer", 1)]}]
    monkeypatch.setitem(documents.AuditEvent._meta, "index_specs", specs)
    settings.MONGODB_ARCHIVE_URI = ""
    documents.ensure_indexes()
    assert "manage.py prepare with DATABASE_ARCHIVE_URL" in caplog.text
    settings.MONGODB_ARCHIVE_URI = guarded[1]
    documents.ensure_indexes()
    assert "writer_1" in documents.get_collection().index_information()
