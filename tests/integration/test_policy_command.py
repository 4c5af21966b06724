"""`manage.py policy`: rules out to a file, in from one, looked over, and held against history."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import LedgerEvent
from tests.integration.console_cast import world
from tests.running import RunningServer
from toolgate.editing.files import read_file, write_json, write_toml
from toolgate.models import PolicyVersion, WhatIf
from toolgate.policy import policy_digest, read_policy

__all__ = ["world"]
pytestmark = [pytest.mark.usefixtures("world"), pytest.mark.django_db(transaction=True)]

RULE = {"id": "extra", "agent": "qa-verification-agent", "skill": "sourceFetch", "effect": "deny"}
NOBODYS = {"id": "lost", "agent": "nobody", "skill": "sourceFetch", "effect": "deny"}


def run(*arguments: Any, user: str = "ada") -> str:
    out = io.StringIO()
    who = [] if arguments[0] == "lint" else ["--user", user]
    call_command("policy", *map(str, arguments), *who, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def failing(*arguments: Any, **options: Any) -> str:
    with pytest.raises(CommandError) as caught:
        run(*arguments, **options)
    return str(caught.value)


def rules_of(number: int) -> list[dict[str, Any]]:
    return list(PolicyVersion.objects.get(number=number).rules)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The rules in force and one more, as a file."""
    path = tmp_path / "policy.toml"
    path.write_text(write_toml(read_policy([*rules_of(1), RULE])))
    return path


def test_an_export_is_the_version_and_is_audited(tmp_path: Path) -> None:
    digest = PolicyVersion.objects.get().digest
    assert policy_digest(read_file(run("export").encode())) == digest
    assert policy_digest(read_file(run("export", "--format", "json").encode())) == digest
    path = tmp_path / "out.toml"
    assert run("export", "--version", 1, "--output", path, user="vera") == ""
    assert path.read_text().startswith("# Policy version 1, published ")
    assert f"# Digest {digest}\n" in path.read_text()
    assert "\n# --- market-research-agent ---\n" in path.read_text()
    events = LedgerEvent.objects.filter(type="policy.exported").order_by("id")
    assert [(one.actor, one.body) for one in events] == [
        ("user:ada", {"number": 1}), ("user:ada", {"number": 1}), ("user:vera", {"number": 1}),
    ]  # fmt: skip
    assert "There is no policy version 9" in failing("export", "--version", 9)


def test_an_import_shows_what_it_changes_and_publishes(file: Path) -> None:
    shown = run("import", file, "--reason", "from git", "--base", 1)
    assert "+ extra: qa-verification-agent may not call sourceFetch." in shown
    assert "Policy version 2 is in force." in shown
    version = PolicyVersion.objects.get(number=2)
    assert (version.author, version.reason, len(version.rules)) == ("ada", "from git", len(rules_of(1)) + 1)
    assert "Nothing was published." in run("import", file, "--reason", "from git")
    assert PolicyVersion.objects.count() == 2


def test_a_dry_run_publishes_nothing(file: Path) -> None:
    shown = run("import", file, "--reason", "x", "--dry-run")
    assert "+ extra" in shown
    assert "becomes version 2" in shown
    assert PolicyVersion.objects.count() == 1


def test_an_import_on_an_older_version_is_refused_with_both_differences(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    tight = [
        {**rule, "limits": {"callsPerTask": 3}} if rule["id"] == "market-research-fetch" else rule
        for rule in rules_of(1)
    ]
    other.write_text(write_json(read_policy(tight)))
    run("import", other, "--reason", "first", "--base", 1)
    out = io.StringIO()
    with pytest.raises(CommandError, match="version 2 is in force now"):
        call_command("policy", "import", str(file), "--reason", "x", "--base", "1", "--user", "ada", stdout=out)
    assert "+ extra" in out.getvalue()
    assert "~ market-research-fetch" in out.getvalue()
    assert "    Calls a task: 20 → 3" in out.getvalue()
    assert PolicyVersion.objects.count() == 2


def test_rules_with_an_error_in_them_are_not_imported(file: Path) -> None:
    file.write_text(write_toml(read_policy([*rules_of(1), NOBODYS])))
    assert "1 of the findings is an error" in failing("import", file, "--reason", "x")
    assert "1 of the findings is an error" in failing("lint", file)
    assert PolicyVersion.objects.count() == 1


def test_what_is_no_policy_is_told_by_line(file: Path) -> None:
    file.write_text('[[rules]]\nid = "x"\n')
    assert "rules.0.agent: Field required" in failing("import", file, "--reason", "x")
    assert "rules.0.agent: Field required" in failing("lint", file)
    assert "No such file" in failing("lint", file.with_name("none"))
    assert "give a reason" in failing("import", _written(file), "--reason", " ")


def _written(file: Path) -> Path:
    file.write_text(write_toml(read_policy([RULE])))
    return file


@pytest.mark.parametrize("user", ["vera", "olga", "mallory", "nobody"])
def test_only_who_may_change_the_policy_imports(file: Path, user: str) -> None:
    assert "policy:write" in failing("import", file, "--reason", "x", user=user)
    assert PolicyVersion.objects.count() == 1
    if user in {"mallory", "nobody"}:
        assert "policy:read" in failing("export", user=user)


def test_lint_says_that_nothing_is_odd_or_what_is(file: Path) -> None:
    assert "note:" in run("lint", file) or "Nothing is odd" in run("lint", file)
    assert "error: " not in run("lint", file)


def test_a_what_if_is_run_to_its_end_and_told(file: Path) -> None:
    told = run("whatif", file, "--since", 7, user="vera")
    assert "Beside version 1: 0 calls replayed, 0 turned" in told
    report = json.loads(run("whatif", file, "--json"))
    assert report["coverage"]["recorded"] == 0
    assert [one.asked_by for one in WhatIf.objects.order_by("created_at")] == ["vera", "ada"]


def test_the_exit_code_tells_a_build_machine(tmp_path: Path) -> None:
    file, server = tmp_path / "policy.toml", RunningServer(tmp_path / "var")
    server.manage("prepare")
    file.write_text(write_toml(read_policy([RULE])))
    assert "error: " not in server.manage("policy", "lint", str(file))
    file.write_text(write_toml(read_policy([NOBODYS])))
    with pytest.raises(AssertionError, match="is an error: mend the file first"):  # it exits with 1
        server.manage("policy", "lint", str(file))
