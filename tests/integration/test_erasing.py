"""A person's data goes, everywhere the trail keeps it; every proof still holds, and nothing brings it back."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import CharField, TextField

from agents.models import Task
from audit.checking.verification import verify
from audit.documents import TranscriptDocument, get_collection
from audit.exceptions import EventsUnderWay, StoreUnavailable
from audit.ledger import iterate_numbered, record
from audit.models import ArchivedSegment, Erasure, LedgerEvent, TranscriptEntry
from audit.proof.leaves import is_erased, is_whole
from audit.proof.log import latest_checkpoint, prove_event
from audit.proof.merkle import root_from_inclusion
from audit.retention import settling
from audit.retention.archives import archive_path, digest_file
from audit.retention.archiving import archive_sealed
from audit.retention.erasing import find_traces, names
from audit.retention.erasures import write_ranges
from audit.retention.files import iterate_archived
from audit.transactions import write_transaction
from audit.transcripts import Entry, record_entries
from orchestrator_site.bootstrap import create_user
from orchestrator_site.erasing import erase_person
from orchestrator_site.exceptions import TokenInvalid
from orchestrator_site.roles import Role
from orchestrator_site.tokens import issue_token, verify_token
from tests.audit_cast import NOW, make_event
from tests.integration.retention_cast import OLD, SEGMENT, move_on, set_up, write_log
from toolgate.models import Grant

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "olga-person"


@pytest.fixture
def log(audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path) -> Any:
    """A log in which Olga acts, is named, and submitted a task; its first segment is archived."""
    set_up(settings, monkeypatch, tmp_path)
    settings.VAR = tmp_path
    for name, role in ((NAME, Role.APPROVER), ("admin", Role.ADMIN)):
        create_user(name, password="correct-horse-battery", roles=[role], now=OLD)
    write_log(102 - LedgerEvent.objects.count())
    write_log(3, start=100, actor=f"user:{NAME}", body={"note": "hers"})  # 103 to 105
    write_log(SEGMENT - 105)
    write_log(2, start=300, body={"approvalId": "a1", "submittedBy": NAME})  # 257, 258
    write_log(1, start=302, body={"votes": [{"by": f"user:{NAME}"}]})  # 259
    write_log(50, start=303)
    Task.objects.create(
        id="t-hers", agent_id="normalization-agent", state="succeeded", input={}, created_at=OLD, submitted_by=NAME
    )
    with write_transaction():
        record_entries(Entry(task_id="t-hers", kind="prompt", body={"text": "what she asked"}, at=OLD))
        record_entries(Entry(task_id="t-other", kind="prompt", body={"text": "what he asked"}, at=OLD))
    move_on()
    assert archive_sealed(now=NOW) == 1
    move_on(at=NOW)
    return audit_store


def erase(**changes: Any) -> Any:
    erased = erase_person(NAME, **({"reason": "asked for it", "author": "admin", "now": NOW} | changes))
    move_on(at=NOW)
    return erased


def everything(store: Any) -> str:
    """Return all that is kept: every row, every document, every line of the archives."""
    rows = [
        row
        for model in apps.get_models()
        for row in model._default_manager.values_list(
            *[field.name for field in model._meta.local_fields if isinstance(field, CharField | TextField)]
        )
    ]
    archives = [list(iterate_archived(archive_path(row.file))) for row in ArchivedSegment.objects.all()]
    return repr([rows, list(store.find({})), list(get_collection(TranscriptDocument).find({})), archives])


def test_a_person_is_gone_from_everywhere_and_the_log_still_holds(log: Any) -> None:
    Grant.objects.create(
        id="g", approval_id="a1", agent_id="x", skill_id="y", rules={}, granted_by=[NAME, "admin"],
        created_at=OLD, expires_at=OLD,
    )  # fmt: skip
    assert NAME in everything(log)
    assert "what she asked" in everything(log)
    erased = erase()
    left = everything(log)
    assert NAME not in left
    assert "hers" not in left.replace("t-hers", "")
    assert "what she asked" not in left
    assert "what he asked" in left
    assert erased.events == 2 + 3 + 3
    assert verify().findings == []


def test_only_what_names_the_person_is_erased(log: Any) -> None:
    before = {document["seq"]: document for document in iterate_numbered(after=SEGMENT, to=309)}
    erase()
    after = {document["seq"]: document for document in iterate_numbered(after=SEGMENT, to=309)}
    assert {seq for seq, document in after.items() if is_erased(document)} == {257, 258, 259}
    assert all(document == before[seq] for seq, document in after.items() if not is_erased(document))
    assert list(log.find({"seq": {"$lte": 309}}).sort("seq", 1)) == list(after.values())
    (row,) = ArchivedSegment.objects.all()
    archived = list(iterate_archived(archive_path(row.file)))
    assert [document["seq"] for document in archived if is_erased(document)] == [1, 2, 103, 104, 105]
    assert row.sha256 == digest_file(archive_path(row.file))


def test_an_erased_event_is_still_proven(log: Any) -> None:
    erase()
    document = next(iterate_numbered(after=256, to=257))
    assert is_erased(document)
    assert is_whole(document)
    checkpoint = latest_checkpoint()
    assert checkpoint is not None
    proof = prove_event(257, size=checkpoint.size)
    root = root_from_inclusion(bytes.fromhex(document["hash"]), 256, checkpoint.size, proof)
    assert root == bytes.fromhex(checkpoint.root)


def test_the_record_does_not_say_who_it_was(log: Any) -> None:
    erased = erase()
    event = LedgerEvent.objects.get(type="person.erased")
    assert event.actor == "user:admin"
    (row,) = ArchivedSegment.objects.all()
    assert event.body == {
        "subject": erased.subject, "reason": "asked for it", "events": 8, "archives": [row.file], "transcripts": 1,
        "ranges": ["1-2", "103-105", "257-259"],
    }  # fmt: skip


def test_the_user_may_enter_no_more(log: Any) -> None:
    user = get_user_model().objects.get(username=NAME)
    token, text = issue_token("olga's own", owner=user, scopes=["tasks:read"], created_by=f"user:{NAME}", now=NOW)
    move_on(at=NOW)
    erased = erase()
    user.refresh_from_db()
    assert (user.username, user.is_active, user.has_usable_password()) == (erased.subject, False, False)
    assert not user.groups.exists()
    with pytest.raises(TokenInvalid):
        verify_token(text, now=NOW)
    token.refresh_from_db()
    assert (token.name, token.created_by) == (erased.subject, f"user:{erased.subject}")
    assert Task.objects.get(id="t-hers").submitted_by == erased.subject


def test_nothing_brings_it_back(log: Any, settings: Any, tmp_path: Path) -> None:
    erase()
    log.delete_many({"seq": {"$gte": 257, "$lte": 260}})  # a copy that is lost is sent again, from the ledger
    move_on(at=NOW)
    call_command("rebuild_audit", stdout=StringIO())
    assert NAME not in everything(log)
    assert log.count_documents({"seq": {"$gte": 257, "$lte": 260}}) == 4
    assert not any(NAME in path.read_text() for path in tmp_path.glob("audit-removed-*"))


@pytest.mark.parametrize("step", ["blank_in_store", "drop_transcripts", "blank_in_archive", "digest_file"])
def test_an_erasure_that_is_cut_off_is_finished_by_the_next_run(step: str, log: Any, monkeypatch: Any) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(settling, step, die)
        with pytest.raises(KeyboardInterrupt):
            erase()
    assert Erasure.objects.get().settled is False
    assert verify().findings == []
    move_on(at=NOW)
    assert verify().findings == []
    archive_sealed(now=NOW)
    assert NAME not in everything(log)
    assert Erasure.objects.get().settled is True
    assert verify().findings == []


def test_a_rebuild_finishes_an_erasure_and_keeps_no_copy(log: Any, monkeypatch: Any, tmp_path: Path) -> None:
    def away(*_: Any) -> None:
        raise StoreUnavailable("the audit store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(settling, "blank_in_store", away)
        with pytest.raises(CommandError, match="follow by themselves"):
            call_command("erase_person", NAME, "--reason", "asked for it")
    call_command("rebuild_audit", stdout=StringIO())
    assert NAME not in everything(log)
    assert list(tmp_path.glob("audit-removed-*")) == []


def test_events_on_their_way_are_waited_for(log: Any) -> None:
    with write_transaction():
        record(make_event(actor=f"user:{NAME}"))
    with pytest.raises(EventsUnderWay):
        erase_person(NAME, reason="asked for it", author="admin", now=NOW)
    assert not Erasure.objects.exists()
    move_on(at=NOW)
    assert erase().events == 9


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([NAME, "--reason", f"{NAME.upper()} asked"], "must not name"),
        (["admin", "--reason", "x"], "themselves"),
        (["nobody-here", "--reason", "x"], "nothing here is of a person"),
        ([NAME, "--reason", "x", "--user", NAME], "No role of .* gives users:write"),
    ],
)
def test_what_is_refused_erases_nothing(arguments: list[str], why: str, log: Any) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("erase_person", *arguments)
    assert not Erasure.objects.exists()
    assert NAME in everything(log)


def test_tasks_under_way_keep_the_name(log: Any) -> None:
    Task.objects.filter(id="t-hers").update(state="running")
    with pytest.raises(CommandError, match="under way"):
        call_command("erase_person", NAME, "--reason", "x")


def test_a_dry_run_only_tells(log: Any) -> None:
    out = StringIO()
    call_command("erase_person", NAME, "--reason", "x", "--dry-run", stdout=out)
    assert "of 8 events, some of them in events-000000000001-000000000256" in out.getvalue()
    assert "1 tasks, would be erased" in out.getvalue()
    assert NAME in everything(log)
    assert TranscriptEntry.objects.count() == 2
    assert find_traces(NAME).count == 8


def test_sqlite_keeps_nothing_in_its_free_pages(log: Any) -> None:
    erase()
    connection.close()
    path = Path(connection.settings_dict["NAME"])
    for file in (path, path.with_name(f"{path.name}-wal")):
        assert not file.exists() or NAME.encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("actor", "body", "named"),
    [
        (f"user:{NAME}", {}, True),
        (f"user:{NAME}2", {}, False),
        ("agent:x", {"user": NAME}, True),
        ("agent:x", {"grantedBy": ["x", NAME]}, True),
        ("agent:x", {"a": {"b": [f"user:{NAME}"]}}, True),
        ("agent:x", {"skill": NAME}, False),  # a word that happens to be a name
        ("agent:x", {"note": f"{NAME} said so"}, False),
        ("agent:x", None, False),
    ],
)
def test_who_an_event_names(actor: str, body: Any, named: bool) -> None:
    assert names(actor, body, NAME) is named


def test_numbers_are_written_as_ranges() -> None:
    assert write_ranges([1, 3, 4, 5, 9]) == ["1", "3-5", "9"]
    assert write_ranges([]) == []
