"""The settings of a production environment, as a process reads them: nothing to find, and every secret from a file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

# Each secret, with what it is read by: a setting's name, or a piece of Python.
SECRETS = {
    "SECRET_KEY": "SECRET_KEY",
    "SECRET_KEY_FALLBACKS": "SECRET_KEY_FALLBACKS[0]",
    "AUDIT_SIGNING_KEY": "AUDIT_SIGNING_KEY",
    "OPENAI_API_KEY": "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY": "ANTHROPIC_API_KEY",
    "OIDC_CLIENT_SECRET": "OIDC_CLIENT_SECRET",
    "POSTGRES_PASSWORD": "DATABASES['default']['PASSWORD']",
    "MONGO_PASSWORD": "MONGODB_URI",
    "MONGO_ARCHIVE_PASSWORD": "MONGODB_ARCHIVE_URI",
    "REDIS_PASSWORD": "REDIS_URL",
}
ADDRESSES = {  # may hold a password themselves
    "STATE_DATABASE_URL": ("postgres://orchestrator:hidden@postgres:5432/orchestrator", "DATABASES['default']['HOST']"),
    "DATABASE_URL": ("mongodb://orchestrator:hidden@mongo/orchestrator?w=majority&journal=true", "MONGODB_URI"),
    "DATABASE_ARCHIVE_URL": ("mongodb://archive:hidden@mongo/orchestrator", "MONGODB_ARCHIVE_URI"),
    "REDIS_URL": ("redis://:hidden@redis:6379/0", "REDIS_URL"),
    "AUDIT_CHECKPOINT_WEBHOOK": ("https://witness.example.com/hidden", "AUDIT_CHECKPOINT_WEBHOOK"),
}
ELSEWHERE = {"OTEL_EXPORTER_OTLP_HEADERS": "tests/integration/test_traces.py sends them"}
PLAIN = {
    "STATE_DATABASE_URL": "postgres://orchestrator@postgres:5432/orchestrator",
    "DATABASE_URL": "mongodb://orchestrator@mongo:27017/orchestrator?authSource=orchestrator&w=majority&journal=true",
    "DATABASE_ARCHIVE_URL": "mongodb://orchestrator_archive@mongo:27017/orchestrator?authSource=orchestrator",
    "REDIS_URL": "redis://redis:6379/0",
}
READ = """
import json, sys
from orchestrator_site import settings
print(json.dumps({text: str(eval("settings." + text)) for text in json.loads(sys.argv[1])}))
"""
DOORS = {
    "HTTPS_ONLY": "1",
    "ALLOWED_HOSTS": "orchestrator.example.com",
    "FORWARDED_ALLOW_IPS": "10.0.0.7",
    "CONSOLE_URL": "https://orchestrator.example.com",
}


def run(var: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {
        "PATH": os.environ["PATH"],
        "ORCHESTRATOR_VAR": str(var),
        "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings",
    }
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=given | environment, capture_output=True, text=True, check=False
    )


def write_secrets(folder: Path, values: dict[str, str]) -> dict[str, str]:
    """Write each value to a file, and return the variables that name them."""
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")
    return {f"{name}_FILE": str(folder / name) for name in values}


def read_settings(var: Path, expressions: list[str], **environment: str) -> dict[str, str]:
    done = run(var, "-c", READ, json.dumps(expressions), **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_secret_may_come_from_a_file(tmp_path: Path) -> None:
    values = {name: f"from-a-file-{number}-{'x' * 40}" for number, name in enumerate(SECRETS)}
    found = read_settings(tmp_path, list(SECRETS.values()), **PLAIN, **write_secrets(tmp_path, values))
    assert [name for name, where in SECRETS.items() if values[name] not in found[where]] == []


def test_every_address_may_come_from_a_file(tmp_path: Path) -> None:
    files = write_secrets(tmp_path, {name: address for name, (address, _) in ADDRESSES.items()})
    found = read_settings(tmp_path, [where for _, where in ADDRESSES.values()], **files)
    assert found["DATABASES['default']['HOST']"] == "postgres"
    for address, where in ADDRESSES.values():
        assert where.startswith("DATABASES") or found[where] == address


def test_no_secret_that_the_code_reads_is_missing_above() -> None:
    reads = re.compile(r"(read_\w+|environ\.get)\(\s*\"([A-Z_]*(?:KEY|SECRET|PASSWORD|TOKEN|HEADERS)[A-Z_]*)\"")
    completed = re.compile(r"completed_by=\"([A-Z_]+)\"")
    sources = [
        path.read_text() for app in ("orchestrator_site", "agents", "audit") for path in (ROOT / app).rglob("*.py")
    ]
    found = {match for text in sources for match in reads.findall(text)}
    assert {reader for reader, _ in found} == {"read_text"}
    names = {name for _, name in found} | {name for text in sources for name in completed.findall(text)}
    assert names - set(SECRETS) - set(ELSEWHERE) == set()


def test_a_file_that_is_not_there_is_one_line_and_names_the_variable(tmp_path: Path) -> None:
    done = run(tmp_path, "manage.py", "check", OPENAI_API_KEY_FILE=str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "OPENAI_API_KEY_FILE names" in done.stderr


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """The environment that the manifests give: addresses in the open, secrets in files, and the doors."""
    values = {name: f"{name.lower()}-{os.urandom(32).hex()}" for name in SECRETS if name != "SECRET_KEY_FALLBACKS"}
    (tmp_path / "var").mkdir(mode=0o700)
    return PLAIN | DOORS | write_secrets(tmp_path, values)


def test_the_check_for_deployment_finds_nothing_in_production(production: dict[str, str], tmp_path: Path) -> None:
    command = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    done = run(tmp_path / "var", *command, **production)
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (3 silenced).\n"), done.stderr


@pytest.mark.parametrize(
    ("left_out", "findings"),
    [
        (["HTTPS_ONLY"], {"security.W004", "security.W012", "security.W016"}),
        (
            ["FORWARDED_ALLOW_IPS", "CONSOLE_URL", "SECRET_KEY_FILE", "AUDIT_SIGNING_KEY_FILE"],
            {f"orchestrator.W02{number}" for number in range(4)},
        ),
    ],
)
def test_what_is_left_out_of_production_is_found(
    production: dict[str, str], tmp_path: Path, left_out: list[str], findings: set[str]
) -> None:
    given = {name: value for name, value in production.items() if name not in left_out}
    (tmp_path / "var" / "keys").mkdir(mode=0o700)
    (tmp_path / "var" / "keys" / "audit-signing.pem").touch()
    done = run(tmp_path / "var", "manage.py", "check", "--deploy", "--fail-level", "WARNING", **given)
    assert done.returncode == 1
    assert set(re.findall(r"\((\w+\.[A-Z]\d+)\)", done.stderr)) == findings


def test_the_doctor_says_the_same_of_the_settings(production: dict[str, str], tmp_path: Path) -> None:
    del production["FORWARDED_ALLOW_IPS"]
    told = json.loads(run(tmp_path / "var", "manage.py", "doctor", "--json", **production).stdout)
    found = {finding["id"] for finding in told["findings"]}
    assert {id_ for id_ in found if id_.startswith(("security", "orchestrator", "settings"))} == {"orchestrator.W022"}
