"""The system checks: each finding by its id, and none for the embedded defaults."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from orchestrator_site.checks import TAG


@pytest.fixture
def sound(settings: Any, tmp_path: Path) -> Any:
    tmp_path.chmod(0o700)
    settings.VAR = tmp_path
    settings.SECRET_KEY = "k" * 50
    settings.MONGODB_URI = ""
    settings.REDIS_URL = ""
    settings.OPENAI_API_KEY = settings.ANTHROPIC_API_KEY = ""
    settings.REDACT_PATTERNS = []
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
    settings.SECRET_KEY_IS_GIVEN, settings.AUDIT_SIGNING_KEY = True, "given"
    settings.AUDIT_KEY_FILE = tmp_path / "audit-signing.pem"
    return settings


def found() -> set[str | None]:
    findings = run_checks(tags=[TAG])
    assert all(finding.hint for finding in findings)
    return {finding.id for finding in findings}


def test_it_finds_nothing_in_the_defaults(sound: Any) -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [
        ("SECRET_KEY", "short-and-guessed", "orchestrator.E001"),
        ("VAR", Path("/proc/none"), "orchestrator.E002"),
        ("REDIS_URL", "redis://127.0.0.1/0", "orchestrator.E003"),
        ("MONGODB_URI", "postgres://127.0.0.1/x", "orchestrator.E004"),
        ("MONGODB_URI", "mongodb://127.0.0.1/x?w=1", "orchestrator.W003"),
        ("ALLOWED_HOSTS", ["*"], "orchestrator.E005"),
        ("MODEL_TIERS", {"cheap": "gpt-6-luna"}, "orchestrator.E006"),
        ("MODEL_TIERS", {"cheap": "mistral:large"}, "orchestrator.E006"),
        ("MODEL_TIERS", {"cheap": "openai:"}, "orchestrator.E006"),
        ("MODEL_FALLBACKS", {"cheap": "claude"}, "orchestrator.E006"),
        ("OPENAI_API", "completions", "orchestrator.E007"),
        ("REDACT_PATTERNS", [r"CUST-\d+", "(?=x)"], "orchestrator.E010"),
        ("OPENAI_API_KEY", "short", "orchestrator.W010"),
        ("REQUIRE_MFA", ["admin", "root"], "orchestrator.E014"),
        ("OIDC_ROLES", {"staff": "root"}, "orchestrator.E015"),
        ("OIDC_ISSUER", "https://id.example.com", "orchestrator.E016"),
        ("HTTPS_ONLY", True, "orchestrator.W022"),
        ("ALLOWED_HOSTS", ["orchestrator.example.com"], "orchestrator.W023"),
    ],
)
def test_it_finds_what_is_wrong(sound: Any, name: str, value: object, finding: str) -> None:
    setattr(sound, name, value)
    assert found() == {finding}


def test_it_finds_a_provider_that_is_reached_in_the_clear(sound: Any) -> None:
    sound.OIDC_CLIENT_ID, sound.OIDC_CLIENT_SECRET = "console", "a-secret-between-two-servers"
    sound.OIDC_ISSUER = "http://id.example.com"
    assert found() == {"orchestrator.E017"}
    sound.OIDC_ISSUER = "https://id.example.com"
    assert found() == set()


def test_it_accepts_the_name_of_a_container(sound: Any) -> None:
    sound.ALLOWED_HOSTS = ["orchestrator", "localhost", "127.0.0.1"]
    assert found() == set()


def test_it_accepts_a_durable_audit_store(sound: Any) -> None:
    sound.MONGODB_URI = "mongodb://a:long-enough@host/x?w=majority&journal=true"
    assert found() == set()


def test_it_warns_of_an_open_folder(sound: Any) -> None:
    sound.VAR.chmod(0o755)
    assert found() == {"orchestrator.W001"}


def test_it_warns_of_postgresql_alone(sound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sound.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    assert found() == {"orchestrator.W002"}


def test_it_accepts_a_local_model_without_a_fallback(sound: Any) -> None:
    sound.MODEL_TIERS = {"cheap": "openai:llama3.2:8b"}
    sound.MODEL_FALLBACKS = {"cheap": ""}
    sound.OPENAI_API = "chat"
    assert found() == set()


@pytest.mark.parametrize(
    ("name", "value", "finding"),
    [("SECRET_KEY_IS_GIVEN", False, "orchestrator.W020"), ("AUDIT_SIGNING_KEY", "", "orchestrator.W021")],
)
def test_it_warns_of_keys_that_others_do_not_have(
    sound: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: object, finding: str
) -> None:
    setattr(sound, name, value)
    sound.AUDIT_KEY_FILE.touch()
    assert found() == set()  # one process needs no more than its own
    monkeypatch.setitem(sound.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    sound.REDIS_URL = "redis://127.0.0.1/0"
    assert found() == {finding}
