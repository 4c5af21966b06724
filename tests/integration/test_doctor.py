"""`manage.py doctor`: each fault is found and given a cure; where all is well it says so. It changes nothing."""

import io
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import orjson
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test import override_settings
from django.utils import timezone

from agents.models import Worker
from audit.documents import get_collection
from audit.models import Checkpoint, TreeHead
from audit.proof.keys import make_pem
from audit.sequencer import Sequencer
from orchestrator_site import preflight
from orchestrator_site.doctor import machine, stores, trail
from orchestrator_site.health import state_probe, store_probe
from orchestrator_site.webhooks.models import WebhookSubscription
from tests.integration.api_cast import world
from tests.running import free_port

__all__ = ["world"]


@pytest.fixture
def sound(world: None, audit_store: Any, settings: Any, tmp_path: Path, monkeypatch: Any) -> Any:
    """Give an installation in which nothing is wrong."""
    tmp_path.chmod(0o700)
    (tmp_path / "staticfiles.json").write_text("{}")
    settings.VAR, settings.STATIC_ROOT, settings.PORT = tmp_path, tmp_path, free_port()
    settings.MONGODB_URI += "&w=majority&journal=true"
    settings.ANTHROPIC_API_KEY = "an-anthropic-key-for-tests"
    settings.OPENAI_API_KEY = "an-openai-key-for-tests-too"
    settings.SECRET_KEY, settings.ALLOWED_HOSTS = "abcdefghijkl" * 5, ["127.0.0.1", "localhost"]
    monkeypatch.setattr(preflight, "find_holder", lambda var: "process 7 at http://127.0.0.1:3000")
    now, later = timezone.now(), timezone.now() + timedelta(minutes=1)
    Worker.objects.create(id="w", host="h", pid=1, started_at=now, beat_at=now, lease_expires_at=later)
    sequencer = Sequencer(holder="one")
    while sequencer.step():
        pass
    TreeHead.objects.update(lease_expires_at=later)
    Checkpoint.objects.update(filed_at=now)
    forget_readings()
    return settings


def forget_readings() -> None:
    state_probe._last = store_probe._last = None


def look(*options: str) -> tuple[dict[str, tuple[str, str, str]], int]:
    """Return the findings that are not well, by id, and the exit code."""
    out = io.StringIO()
    code = 0
    try:
        call_command("doctor", "--json", *options, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    wire = orjson.loads(out.getvalue())
    assert code == {"ok": 0, "warning": 1, "problem": 2}[wire["status"]]
    found = {one["id"]: (one["level"], one["what"], one["cure"]) for one in wire["findings"] if one["level"] != "ok"}
    assert all(cure for _, _, cure in found.values())
    return found, code


def test_nothing_is_wrong_with_what_is_sound(sound: Any) -> None:
    assert look() == ({}, 0)
    out = io.StringIO()
    call_command("doctor", stdout=out)
    assert "0 warnings, 0 problems" in out.getvalue()


# --- one fault at a time --------------------------------------------------------------------------------------
Break = Callable[[pytest.MonkeyPatch, Callable[..., object]], object]


def set_to(name: str, value: Any) -> Break:
    return lambda patch, use: use(**{name: value})


def replace(module: Any, name: str, value: Any) -> Break:
    return lambda patch, use: patch.setattr(module, name, value)


def change(model: Any, **values: Any) -> Break:
    return lambda patch, use: model.objects.update(**values)


def open_folder(patch: pytest.MonkeyPatch, use: Callable[..., object]) -> None:
    folder = settings.VAR / "open"
    folder.mkdir()
    folder.chmod(0o755)
    use(VAR=folder)


def open_key(patch: pytest.MonkeyPatch, use: Callable[..., object]) -> None:
    use(AUDIT_KEY_FILE=shutil.copy(settings.AUDIT_KEY_FILE, settings.VAR / "key.pem"))
    settings.AUDIT_KEY_FILE.chmod(0o644)


def another_key(patch: pytest.MonkeyPatch, use: Callable[..., object]) -> None:
    use(AUDIT_KEY_FILE=settings.VAR / "other.pem")
    make_pem(settings.AUDIT_KEY_FILE)


def pause_webhook(patch: pytest.MonkeyPatch, use: Callable[..., object]) -> None:
    about: dict[str, Any] = {"kinds": [], "agents": [], "since": AGO, "created_at": AGO, "created_by": "ada"}
    WebhookSubscription.objects.create(id="w", name="a", url="https://a.example", is_active=False, **about)


def no_admin(patch: pytest.MonkeyPatch, use: Callable[..., object]) -> None:
    User.objects.filter(username="ada").update(is_active=False)


def drop_index(patch: pytest.MonkeyPatch, use: Callable[..., object]) -> None:
    get_collection().drop_index("taskId_1_seq_1")


AGO = datetime(2026, 1, 1, tzinfo=UTC)
DISK = SimpleNamespace(disk_usage=lambda place: SimpleNamespace(free=100_000_000))
AWAY = "mongodb://127.0.0.1:1/?w=majority&journal=true"
FAULTS: dict[str, tuple[Break, dict[str, str]]] = {
    "secret key": (
        set_to("SECRET_KEY", "short-and-guessed"),
        {"orchestrator.E001": "problem", "security.W009": "warning"},
    ),
    "open folder": (open_folder, {"orchestrator.W001": "warning"}),
    "plain http": (
        set_to("ALLOWED_HOSTS", ["console.example"]),
        {"security.W012": "warning", "orchestrator.W023": "warning"},
    ),
    "redis": (
        set_to("REDIS_URL", "redis://127.0.0.1:1/0"),
        {
            "orchestrator.E003": "problem",
            "redis": "problem",
            "orchestrator.W020": "warning",
            "orchestrator.W021": "warning",
        },
    ),
    "disk": (replace(machine, "shutil", DISK), {"disk.state": "problem"}),
    "no server": (replace(preflight, "find_holder", lambda var: ""), {"port": "warning"}),
    "static files": (set_to("STATIC_ROOT", Path("/nowhere")), {"static": "problem"}),
    "sandbox": (replace(machine, "sandbox_status", lambda: (False, "no Landlock")), {"sandbox": "warning"}),
    "migrations": (replace(stores, "find_unapplied", lambda: {("audit", "0009")}), {"state.migrated": "problem"}),
    "clock": (replace(stores, "database_now", lambda: AGO), {"clock": "problem"}),
    "admin": (no_admin, {"admin": "problem"}),
    "store": (set_to("MONGODB_URI", AWAY), {"audit.reachable": "problem"}),
    "store's role": (replace(stores, "check_store_takes_events", lambda: "it may not"), {"audit.role": "problem"}),
    "sequencer": (change(TreeHead, lease_expires_at=AGO), {"trail.sequencer": "warning"}),
    "shipping": (change(TreeHead, store_fault="its disk is full"), {"trail.lag": "warning"}),
    "checkpoints": (change(Checkpoint, filed_at=None, at=AGO), {"trail.checkpoints": "problem"}),
    "other key": (another_key, {"key": "problem"}),
    "open key": (open_key, {"key.place": "problem"}),
    "webhook": (pause_webhook, {"webhooks.paused": "warning"}),
    "workers": (change(Worker, lease_expires_at=AGO), {"workers": "warning"}),
    "prices": (set_to("MODEL_TIERS", {"cheap": "openai:unheard-of"}), {"models.price": "problem"}),
    "indexes": (drop_index, {"audit.indexes": "warning"}),  # the last: it cannot be taken back
}


def test_each_fault_is_found_and_nothing_else(sound: Any) -> None:
    found, codes = {}, {}
    for name, (break_it, _) in FAULTS.items():
        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack, transaction.atomic():
            break_it(patch, lambda **values: stack.enter_context(override_settings(**values)))
            forget_readings()
            look_at, codes[name] = look()
            transaction.set_rollback(True)
        found[name] = {id_: level for id_, (level, _, _) in look_at.items() if id_ != "state.rest"}
    assert found == {name: wanted for name, (_, wanted) in FAULTS.items()}
    assert codes == {name: 2 if "problem" in wanted.values() else 1 for name, (_, wanted) in FAULTS.items()}


# --- what is gone ---------------------------------------------------------------------------------------------
def test_keys_that_are_missing_and_a_lost_signing_key_are_told_apart(sound: Any) -> None:
    sound.OPENAI_API_KEY = sound.ANTHROPIC_API_KEY = ""
    sound.AUDIT_KEY_FILE.unlink()
    found, _ = look()
    assert found["models.keys"][0] == "warning"
    assert "no new one is made" in found["key"][1]
    assert not sound.AUDIT_KEY_FILE.exists()


def test_without_its_database_it_says_what_it_could_not_look_at(sound: Any) -> None:
    def fail() -> Any:
        raise OperationalError("gone")

    forget_readings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "cursor", fail)
        found, code = look()
    assert (code, set(found)) == (2, {"state.reachable", "state.rest"})
    assert "does not answer" in found["state.reachable"][1]


def test_a_database_that_goes_away_meanwhile_is_a_finding(sound: Any, monkeypatch: Any) -> None:
    def fail() -> Any:
        raise DatabaseError("gone")

    monkeypatch.setattr(trail, "get_ledger_status", fail)
    assert set(look()[0]) == {"state.failed"}


def test_what_nobody_foresaw_is_a_problem_and_the_rest_is_looked_at(sound: Any, monkeypatch: Any) -> None:
    def fail(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine, "_judge_disk", fail)
    monkeypatch.setattr(trail, "_judge_place", fail)
    no_admin(monkeypatch, fail)
    found, code = look()
    assert (set(found), code) == ({"doctor.failed", "admin"}, 2)
    assert "PermissionError" in found["doctor.failed"][1]


def test_a_store_that_lost_what_it_took_is_not_well(sound: Any) -> None:
    get_collection().delete_many({})
    found, code = look()
    assert (set(found), code) == ({"audit.role"}, 2)
    assert "manage.py rebuild_audit" in found["audit.role"][1]


def test_a_taken_port_is_found_only_where_it_is_not_our_own(sound: Any, monkeypatch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        sound.PORT = other.getsockname()[1]
        assert look()[0] == {}
        monkeypatch.setattr(preflight, "find_holder", lambda var: "")
        found, _ = look()
    assert found["port"][0] == "problem"
    assert "cannot be used" in found["port"][1]


def test_who_holds_the_folder_is_told(tmp_path: Path) -> None:
    assert preflight.find_holder(tmp_path) == ""
    preflight.prepare_folder(tmp_path)
    lock = preflight.lock_folder(tmp_path)
    os.pwrite(lock, b"process 1", 0)
    assert preflight.find_holder(tmp_path) == "process 1"
    os.close(lock)
    assert preflight.find_holder(tmp_path) == ""


def test_vendors_are_asked_only_when_wished(sound: Any, monkeypatch: Any) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def answer(address: str, *, headers: dict[str, str], timeout: float) -> Any:
        asked.append((address, headers))
        return SimpleNamespace(status_code=401 if "anthropic" in address else 200)

    monkeypatch.setattr(httpx2, "get", answer)
    sound.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    assert look()[0] == {}
    assert not asked
    found, _ = look("--call-providers")
    assert list(found) == ["models.anthropic.answers"]
    assert [address for address, _ in asked] == ["http://127.0.0.1:9/v1/models", "https://api.anthropic.com/v1/models"]
    assert sound.OPENAI_API_KEY not in str(found)


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (429, True), (307, False), (404, False), (503, False)])
def test_a_vendor_s_address_that_is_wrong_is_found(sound: Any, monkeypatch: Any, status: int, is_well: bool) -> None:
    monkeypatch.setattr(httpx2, "get", lambda address, **given: SimpleNamespace(status_code=status))
    found, _ = look("--call-providers")
    assert set(found) == (set() if is_well else {"models.openai.answers", "models.anthropic.answers"})


def test_it_makes_nothing(sound: Any) -> None:
    before = sorted(sound.VAR.rglob("*"))
    look()
    assert sorted(sound.VAR.rglob("*")) == before
