"""What is seen to once a day, by itself: archives checked on demand, checkpoints thinned out, failures told."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from audit.bundles import verify_trail
from audit.checking.verification import verify
from audit.documents import get_collection
from audit.ledger import blank
from audit.metrics import upkeep_failures
from audit.models import ArchivedSegment, Checkpoint, LedgerEvent, TreeHead
from audit.proof.keys import load_verifier
from audit.retention.archives import archive_path, list_archives
from audit.retention.archiving import archive_sealed
from audit.retention.files import rewrite_archive
from audit.retention.thinning import thin_checkpoints
from audit.retention.upkeep import Upkeep
from tests.audit_cast import NOW, wait_until
from tests.integration.retention_cast import OLD, SEGMENT, move_on, set_up, write_log

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def archived(audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path) -> Any:
    """A log of 600 events, of which two segments are archived."""
    set_up(settings, monkeypatch, tmp_path)
    write_log(600)
    assert archive_sealed(now=NOW) == 2
    move_on(at=NOW)
    return audit_store


def verify_archives() -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("verify_archives", stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_sound_archives_verify(archived: Any) -> None:
    assert verify_archives() == (0, f"OK: 2 archives hold events 1 to {2 * SEGMENT}\n")


def test_an_archive_is_checked_by_the_auditors_program(archived: Any, tmp_path: Path) -> None:
    for row in list_archives():
        command = [sys.executable, verify_trail.__file__, str(archive_path(row.file)), "--key", str(load_verifier())]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"events {row.after_seq + 1} to {row.to_seq}" in done.stdout


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def edit(path: Path) -> None:
    lines = gzip.decompress(path.read_bytes()).replace(b'"number":7}', b'"number":8}')
    path.write_bytes(gzip.compress(lines))


def erase(path: Path) -> None:
    """Take an event's actor and body out, as an erasure would."""
    rewrite_archive(path, path.with_suffix(".new"), erased={9})
    path.with_suffix(".new").replace(path)


def exchange(path: Path) -> None:
    path.write_bytes(archive_path(list_archives()[0].file).read_bytes())


def forget(path: Path) -> None:
    ArchivedSegment.objects.filter(file=path.name).delete()


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (Path.unlink, "is not there"),
        (damage, "is damaged"),
        (edit, "event 8 was edited"),
        (erase, "actor and body of event 9 were taken out, and no erasure on record says so"),
        (exchange, "does not hold events 1 to 256"),
        (forget, "event 1 and those after it are said to be archived"),
    ],
)
def test_tampering_with_an_archive_is_found(tamper: Callable[[Path], Any], says: str, archived: Any) -> None:
    tamper(archive_path(list_archives()[1].file))
    code, output = verify_archives()
    assert code == 1
    assert says in output


def test_what_is_only_said_to_be_archived_is_missed(archived: Any) -> None:
    LedgerEvent.objects.filter(seq__lte=540).delete()
    get_collection().delete_many({"seq": {"$lte": 540}})
    TreeHead.objects.update(archived_seq=540)
    assert "no archive on record holds them (missing)" in "".join(str(finding) for finding in verify().findings)


@pytest.mark.parametrize("place", ["ledger", "store"])
def test_an_erasure_that_nobody_recorded_is_found(place: str, archived: Any) -> None:
    if place == "ledger":
        blank([550])
    get_collection().update_one({"seq": 550}, {"$set": {"actor": None, "body": None, "salt": None}})
    (finding,) = verify().findings
    assert (finding.place.value, finding.problem.value, finding.first) == (place, "erased", 550)


# --- checkpoints ----------------------------------------------------------------------------------------------
def test_old_checkpoints_are_thinned_out_and_the_log_still_verifies(
    audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    set_up(settings, monkeypatch, tmp_path)
    for number in range(12):
        write_log(5, start=5 * number, at=OLD + timedelta(minutes=20 * number))
    write_log(5, start=60, at=NOW)
    assert thin_checkpoints(now=NOW) == 8
    assert list(Checkpoint.objects.order_by("size").values_list("size", flat=True)) == [15, 30, 45, 60, 65]
    assert verify().findings == []
    assert thin_checkpoints(now=NOW) == 0
    Checkpoint.objects.filter(size=65).delete()
    assert "not there any more" in verify().findings[0].detail


def test_checkpoints_that_are_not_everywhere_yet_stay(
    audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    set_up(settings, monkeypatch, tmp_path)
    for number in range(3):
        write_log(5, start=5 * number, at=OLD + timedelta(minutes=number))
    settings.AUDIT_CHECKPOINT_WEBHOOK = "https://elsewhere.example/"
    assert thin_checkpoints(now=NOW) == 0
    Checkpoint.objects.update(posted_at=NOW, filed_at=None)
    assert thin_checkpoints(now=NOW) == 0
    assert Checkpoint.objects.count() == 3


# --- by itself ------------------------------------------------------------------------------------------------
def test_it_is_seen_to_by_itself_where_the_sequencer_leads(
    audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    set_up(settings, monkeypatch, tmp_path)
    write_log(300, at=timezone.now() - timedelta(days=31))
    leading: list[bool] = []
    with Upkeep(lambda: bool(leading), first_seconds=0.02).running():
        leading_not = LedgerEvent.objects.count()
        leading.append(True)
        wait_until(lambda: TreeHead.objects.get().archived_seq == SEGMENT)
    assert leading_not == 300
    assert verify().findings == []


def test_a_failure_is_counted_and_nothing_is_lost(
    audit_store: Any, settings: Any, monkeypatch: Any, tmp_path: Path, caplog: Any
) -> None:
    set_up(settings, monkeypatch, tmp_path)
    write_log(300, at=timezone.now() - timedelta(days=31))
    settings.AUDIT_ARCHIVE_DIR = Path("/proc/archives")
    before = upkeep_failures._value.get()
    with Upkeep(lambda: True, first_seconds=0.02).running():
        wait_until(lambda: upkeep_failures._value.get() == before + 1)
    assert "does not take files" in caplog.text
    assert LedgerEvent.objects.count() == 300
