"""Sealed segments leave the stores whole, into archives that prove themselves; nothing is lost on the way."""

import os
import resource
import subprocess
import sys
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from audit.checking.verification import verify
from audit.exceptions import ArchiveFailed
from audit.ledger import iterate_numbered
from audit.metrics import violations
from audit.models import Checkpoint, LedgerEvent, TreeHead
from audit.proof.log import find_checkpoint, prove_event
from audit.proof.merkle import root_from_inclusion
from audit.retention import archiving
from audit.retention.archives import archive_path, find_archive, hold_archives, list_archives
from audit.retention.archiving import archive_sealed
from audit.retention.files import iterate_archived
from audit.shipping import reconcile
from tests.audit_cast import NOW
from tests.integration.retention_cast import SEGMENT, move_on, set_up, write_log
from tests.integration.test_audit_commands import ROOT, database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def old_log(audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path) -> Any:
    """A store with 600 events: two whole segments, and the beginning of a third."""
    set_up(settings, monkeypatch, tmp_path)
    write_log(600)
    return audit_store


def put_back(document: dict[str, Any]) -> None:
    """Put an archived event into the ledger again; of the first, who acted and what it held was erased there."""
    texts = {name: document[key] or "" for name, key in COLUMNS.items()}
    blank = {"actor": "", "salt": ""} if document["seq"] == SEGMENT + 1 else {}
    row = LedgerEvent(at=datetime.fromisoformat(document["at"]), **texts | blank)
    with connection.cursor() as cursor:
        row.save(force_insert=True)
        body = "" if blank else document["body"]
        cursor.execute("UPDATE audit_ledgerevent SET body = %s WHERE id = %s", [body, row.pk])


COLUMNS = {
    "event_id": "_id", "seq": "seq", "type": "type", "actor": "actor", "task_id": "taskId", "agent_id": "agentId",
    "skill_id": "skillId", "decision": "decision", "reason": "reason", "trace_id": "traceId", "cause_id": "causeId",
    "writer": "writer", "writer_seq": "writerSeq", "salt": "salt", "private": "private", "hash": "hash",
}  # fmt: skip


def count_violations() -> float:
    return sum(sample.value for metric in violations.collect() for sample in metric.samples)


def test_whole_segments_leave_both_stores_and_the_log_still_holds(old_log: Any) -> None:
    before = list(iterate_numbered(after=0, to=2 * SEGMENT))
    assert archive_sealed(now=NOW) == 2
    assert LedgerEvent.objects.filter(seq__lte=2 * SEGMENT).count() == 0
    assert old_log.count_documents({"seq": {"$lte": 2 * SEGMENT}}) == 0
    assert TreeHead.objects.get().archived_seq == 2 * SEGMENT
    archived = [document for row in reversed(list_archives()) for document in iterate_archived(archive_path(row.file))]
    assert archived == before
    move_on(at=NOW)
    assert verify().findings == []
    assert verify().store_checked == 600 - 2 * SEGMENT + 2


def test_what_was_archived_is_on_record(old_log: Any) -> None:
    archive_sealed(now=NOW)
    second, first = list_archives()
    assert (first.after_seq, first.to_seq, second.to_seq) == (0, SEGMENT, 2 * SEGMENT)
    assert all(row.cleared for row in (first, second))
    events = LedgerEvent.objects.filter(type="trail.archived").order_by("id")
    assert [event.body for event in events] == [
        {"after": row.after_seq, "to": row.to_seq, "root": row.root, "file": row.file, "sha256": row.sha256}
        for row in (first, second)
    ]
    found = find_archive(SEGMENT)
    assert found is not None
    assert found.file == first.file
    assert find_archive(2 * SEGMENT + 1) is None


def test_an_archived_event_is_still_proven(old_log: Any) -> None:
    leaf = bytes.fromhex(next(iterate_numbered(after=6, to=7))["hash"])
    archive_sealed(now=NOW)
    write_log(10, start=600, at=NOW)
    checkpoint = find_checkpoint(600)
    assert checkpoint is not None
    proof = prove_event(7, size=checkpoint.size)
    assert root_from_inclusion(leaf, 6, checkpoint.size, proof) == bytes.fromhex(checkpoint.root)


@pytest.mark.parametrize("keep", ["young", "unfiled", "unshipped", "for ever"])
def test_what_is_not_sealed_stays(keep: str, old_log: Any, settings: Any) -> None:
    if keep == "young":
        Checkpoint.objects.update(at=NOW)
    elif keep == "unfiled":
        Checkpoint.objects.update(filed_at=None)
    elif keep == "unshipped":
        TreeHead.objects.update(shipped_seq=SEGMENT - 1)
    else:
        settings.AUDIT_RETENTION_DAYS = 0
    assert archive_sealed(now=NOW) == 0
    assert LedgerEvent.objects.count() == 600


@pytest.mark.parametrize("where", ["store", "ledger"])
def test_a_segment_that_differs_anywhere_stays(where: str, old_log: Any) -> None:
    if where == "store":
        old_log.update_one({"seq": 9}, {"$set": {"actor": "user:mallory"}})
    else:
        LedgerEvent.objects.filter(seq=9).update(actor="user:mallory")
    with pytest.raises(ArchiveFailed, match="differ at event 9"):
        archive_sealed(now=NOW)
    assert LedgerEvent.objects.count() == old_log.count_documents({}) == 600


def test_a_store_that_lost_an_event_is_not_archived(old_log: Any) -> None:
    old_log.delete_one({"seq": 5})
    with pytest.raises(ArchiveFailed, match="differ at event"):
        archive_sealed(now=NOW)
    assert LedgerEvent.objects.count() == 600


# --- a crash at every point -----------------------------------------------------------------------------------
_RUN = """
import django, itertools, os, sys
django.setup()
from datetime import datetime
from audit.retention import archiving, segments
segments.SEGMENT_EVENTS = int(sys.argv[3])
step, calls = getattr(archiving, sys.argv[1]), itertools.count(1)
setattr(archiving, sys.argv[1], lambda *a, **k: os._exit(9) if next(calls) == int(sys.argv[2]) else step(*a, **k))
archiving.archive_sealed(now=datetime.fromisoformat(sys.argv[4]))
"""


def run_and_die(step: str, call: int, *, mongodb: str, settings: Any, folder: Path) -> int:
    """Archive in a process of its own, which ends without a word when it comes to a step for the `call`th time."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings",
        "STATE_DATABASE_URL": database_url(),
        "DATABASE_URL": mongodb.replace("/?", f"/{settings.MONGODB_DATABASE}?"),
        "ORCHESTRATOR_VAR": str(folder),
        "AUDIT_RETENTION_DAYS": "30",
        "AUDIT_SIGNING_KEY_FILE": str(settings.AUDIT_KEY_FILE),
    }
    command = [sys.executable, "-c", _RUN, step, str(call), str(SEGMENT), NOW.isoformat()]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("check_archive", 1),  # written, not read back
        ("remove_from_ledger", 1),  # read back
        ("clear_store", 2),  # out of the ledger
        ("write_transaction", 2),  # out of the store, which is not on record
        ("refuse_unlike", 2),  # one segment is through
    ],
)
def test_a_killed_run_is_finished_by_the_next(
    step: str, call: int, old_log: Any, mongodb: str, settings: Any, tmp_path: Path
) -> None:
    before = list(iterate_numbered(after=0, to=2 * SEGMENT))
    cried = count_violations()
    assert run_and_die(step, call, mongodb=mongodb, settings=settings, folder=tmp_path) == 9
    head = TreeHead.objects.get()
    assert verify().findings == []
    assert reconcile(head_seq=head.seq, shipped_seq=head.shipped_seq)[0] == head.shipped_seq
    assert archive_sealed(now=NOW) + head.archived_seq // SEGMENT == 2
    archived = [document for row in reversed(list_archives()) for document in iterate_archived(archive_path(row.file))]
    assert archived == before
    assert old_log.count_documents({"seq": {"$lte": 2 * SEGMENT}}) == 0
    assert sorted(path.name for path in settings.AUDIT_ARCHIVE_DIR.iterdir() if path.name != ".lock") == sorted(
        row.file for row in list_archives()
    )
    assert verify().findings == []
    assert count_violations() == cried


def test_a_store_that_still_holds_what_was_archived_is_no_fault(old_log: Any, monkeypatch: Any) -> None:
    def die() -> None:
        if list_archives():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archiving, "clear_store", die)
        with pytest.raises(KeyboardInterrupt):
            archive_sealed(now=NOW)
    assert old_log.count_documents({}) == 600
    assert LedgerEvent.objects.filter(seq__isnull=False).count() == 600 - SEGMENT
    cried = count_violations()
    move_on(at=NOW)
    assert verify().findings == []
    assert count_violations() == cried
    assert old_log.count_documents({}) == 601
    assert archive_sealed(now=NOW) == 1
    assert old_log.count_documents({"seq": {"$lte": 2 * SEGMENT}}) == 0


# --- a folder that takes nothing ------------------------------------------------------------------------------
def test_nothing_is_removed_if_the_folder_cannot_be_written(old_log: Any, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.AUDIT_ARCHIVE_DIR = tmp_path / "file" / "archives"
    with pytest.raises(CommandError, match="does not take files"):
        call_command("archive_audit", stdout=StringIO())
    assert LedgerEvent.objects.count() == old_log.count_documents({}) == 600


def test_nothing_is_removed_if_the_folder_is_full(old_log: Any, settings: Any) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    settings.AUDIT_ARCHIVE_DIR.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    try:
        from audit.retention.archives import write_whole

        with pytest.raises(ArchiveFailed, match="does not take files"), write_whole(archive_path("x")) as path:
            path.write_bytes(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(settings.AUDIT_ARCHIVE_DIR.iterdir()) == []


def test_a_dry_run_only_counts(old_log: Any) -> None:
    out = StringIO()
    call_command("archive_audit", "--dry-run", stdout=out)
    assert f"{2 * SEGMENT} events would be archived" in out.getvalue()
    assert list_archives() == []


def test_who_turns_the_ledgers_mark_back_destroys_no_archive(old_log: Any) -> None:
    """Whoever has every right on the database has none on the folder: its files are not the database's to remove."""
    archive_sealed(now=NOW)
    kept = {path: path.read_bytes() for path in archive_path("").glob("events-*")}
    TreeHead.objects.update(archived_seq=0)
    with pytest.raises(ArchiveFailed, match="does not hold"):
        archive_sealed(now=NOW)
    assert {path: path.read_bytes() for path in archive_path("").glob("events-*")} == kept


def test_what_a_crash_left_of_an_archive_goes_with_what_was_erased_meanwhile(old_log: Any) -> None:
    archive_sealed(now=NOW)
    row = list_archives()[0]
    path = archive_path(row.file)
    for document in iterate_archived(path):  # back to before the transaction that takes the rows out
        put_back(document)
    row.delete()
    TreeHead.objects.update(archived_seq=row.after_seq)
    with hold_archives():
        assert not path.exists()
