"""testRunner: a project's commands, on a copy, with their results read."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agents.skills import test_runner as skill_module
from agents.skills.base import LimitExceeded, SkillContext, SkillError, SkillRefused
from agents.skills.test_runner import OMISSION, TestRunner, TestRunnerInput, TestRunnerOutput, copying
from agents.skills.test_runner.mapping import find_program
from agents.skills.test_runner.summary import read_summary

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(workspace: Path, target: str = "project", command: str = "unit-tests", **options: Any) -> TestRunnerOutput:
    context = SkillContext(
        workspace=workspace, task_id="t", timeout_seconds=20, read_scopes=options.pop("read_scopes", ("",))
    )
    arguments = TestRunnerInput.model_validate({"target": target, "command": command, **options})
    return TestRunner().run(arguments, context)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path


def map_command(workspace: Path, code: str) -> None:
    """Make `unit-tests` run a Python program."""
    (workspace / "project" / "program.py").write_text(code)
    (workspace / "project" / "testrunner.toml").write_text('[commands]\nunit-tests = ["python3", "program.py"]\n')


def code_of(workspace: Path, **arguments: Any) -> str:
    with pytest.raises(SkillError) as failed:
        run(workspace, **arguments)
    return failed.value.code


class TestExample:
    def test_it_runs_the_tests(self) -> None:
        output = run(EXAMPLES)
        assert output.passed, output.stderr
        assert output.summary is not None
        assert (output.summary.passed, output.summary.failed, output.summary.skipped) == (4, 0, 1)
        assert "test_gross_is_net_and_tax" in output.stderr
        assert not list((EXAMPLES / "project").rglob("__pycache__")), "the run left something in the workspace"

    @pytest.mark.parametrize("command", ["lint", "build-verify"])
    def test_it_runs_its_other_commands(self, command: str) -> None:
        output = run(EXAMPLES, command=command)
        assert (output.passed, output.exit_code, output.summary) == (True, 0, None)


class TestRuns:
    def test_it_reports_a_failure(self, workspace: Path) -> None:
        map_command(workspace, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
        output = run(workspace)
        assert (output.passed, output.exit_code, output.stdout, output.stderr) == (False, 3, "out\n", "err\n")

    def test_it_reports_the_signal_that_ended_a_command(self, workspace: Path) -> None:
        map_command(workspace, "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
        assert run(workspace).exit_code == -15

    def test_it_never_changes_the_workspace(self, workspace: Path) -> None:
        map_command(workspace, "open('made', 'w').write('x'); open('program.py', 'w').write('')")
        before = (workspace / "project" / "program.py").read_text()
        assert run(workspace).passed
        assert sorted(path.name for path in (workspace / "project").iterdir()) == ["program.py", "testrunner.toml"]
        assert (workspace / "project" / "program.py").read_text() == before

    def test_it_keeps_the_end_of_long_output(self, workspace: Path) -> None:
        map_command(workspace, "for n in range(200_000): print(f'line {n}')")
        output = run(workspace)
        assert output.stdout.startswith(OMISSION)
        assert output.stdout.endswith("line 199999\n")
        assert len(output.stdout) <= 256 * 1024 + len(OMISSION)

    def test_its_output_can_be_stored(self, workspace: Path) -> None:
        map_command(workspace, r"import sys; sys.stdout.buffer.write(b'a\0b\xff\xed\xa0\x80')")
        assert run(workspace).stdout == "a\ufffdb\ufffd\ufffd\ufffd\ufffd"

    def test_it_stops_at_its_time(self, workspace: Path) -> None:
        map_command(workspace, "import time; time.sleep(60)")
        with pytest.raises(LimitExceeded) as reached:
            run(workspace, timeoutMs=500)
        assert reached.value.limit == "time"

    def test_it_runs_a_program_of_the_target(self, workspace: Path) -> None:
        script = workspace / "project" / "check.sh"
        script.write_text('#!/bin/sh\necho "$0 $1"; pwd\n')
        script.chmod(0o755)
        (workspace / "project" / "testrunner.toml").write_text('[commands]\nlint = ["./check.sh", "a b; exit 9"]\n')
        output = run(workspace, command="lint")
        assert (output.exit_code, output.stdout.splitlines()[0].endswith("check.sh a b; exit 9")) == (0, True)

    def test_its_environment_holds_no_secrets(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "canary")
        map_command(workspace, "import os; print(sorted(os.environ))")
        assert run(workspace).stdout == "['HOME', 'LANG', 'LOGNAME', 'PATH', 'TMPDIR', 'USER']\n"


class TestRefusals:
    def test_it_refuses_without_a_mapping(self, workspace: Path) -> None:
        assert code_of(workspace) == "mapping_missing"

    def test_it_refuses_names_that_are_not_mapped(self, workspace: Path) -> None:
        map_command(workspace, "")
        assert code_of(workspace, command="lint") == "command_not_configured"

    @pytest.mark.parametrize(
        "text",
        [
            "not toml",
            "commands = 5",
            "[commands]\nlint = 'ruff check'",
            "[commands]\nlint = []",
            "[commands]\nlint = [1]",
            "[commands]\nlint = ['']",
            "[commands]\nlint = ['a']\n[other]\nx = 1",
            "\xff",
            "a = " + "[" * 5_000,
        ],
    )
    def test_it_refuses_a_mapping_that_is_wrong(self, workspace: Path, text: str) -> None:
        (workspace / "project" / "testrunner.toml").write_bytes(text.encode("latin-1"))
        assert code_of(workspace, command="lint") == "mapping_invalid"

    def test_it_refuses_programs_that_are_not_there(self, workspace: Path) -> None:
        for word, code in (("no-such-program", "command_not_found"), ("./none", "command_not_started")):
            (workspace / "project" / "testrunner.toml").write_text(f'[commands]\nlint = ["{word}"]\n')
            assert code_of(workspace, command="lint") == code

    def test_it_refuses_where_it_cannot_lock_in(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        map_command(workspace, "")
        monkeypatch.setattr(skill_module, "sandbox_status", lambda: (False, "No Landlock."))
        assert code_of(workspace) == "sandbox_unavailable"

    def test_it_refuses_targets_outside_of_its_folders(self, workspace: Path) -> None:
        map_command(workspace, "")
        for target, scopes in (("../x", ("",)), ("/etc", ("",)), ("project", ("artifacts",)), ("project", ())):
            with pytest.raises(SkillRefused) as refused:
                run(workspace, target=target, read_scopes=scopes)
            assert refused.value.code == "read_path"
        assert code_of(workspace, target="none") == "folder_not_found"

    @pytest.mark.parametrize(
        "body",
        [
            {"target": "p"},
            {"target": "p", "command": "rm -rf /"},
            {"target": "p", "command": "unit-tests; id"},
            {"target": "p", "command": "unit-tests", "timeoutMs": "1000"},
            {"target": "p", "command": "unit-tests", "timeoutMs": 99},
            {"target": "p", "command": "unit-tests", "timeoutMs": 600_001},
            {"target": "p", "command": "unit-tests", "timeoutMs": True},
            {"target": "p", "command": "unit-tests", "env": {}},
        ],
    )
    def test_it_refuses_input_of_another_shape(self, body: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            TestRunnerInput.model_validate(body)


class TestCopy:
    def test_it_copies_links_as_links_and_leaves_out_special_files(self, workspace: Path, tmp_path: Path) -> None:
        import os

        source = workspace / "project"
        (source / "deep").mkdir()
        (source / "deep" / "a").write_text("a")
        (source / "inside").symlink_to("deep/a")
        (source / "outside").symlink_to("/etc/passwd")
        (source / "folder-link").symlink_to("/etc")
        (source / ".git").mkdir()
        os.mkfifo(source / "pipe")
        copying.copy_folder(workspace, "project", tmp_path / "copy")
        copied = sorted(path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*"))
        assert [name for name in copied if not name.startswith("folder-link/")] == [
            "deep", "deep/a", "folder-link", "inside", "outside",
        ]  # fmt: skip
        assert os.readlink(tmp_path / "copy" / "outside") == "/etc/passwd"

    def test_it_has_bounds(self, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in "abc":
            (workspace / "project" / name).write_text("x" * 10)
        for bound, limit in (("MAX_FILES", "files"), ("MAX_BYTES", "bytes")):
            with monkeypatch.context() as patched:
                patched.setattr(copying, bound, 2)
                with pytest.raises(LimitExceeded) as reached:
                    copying.copy_folder(workspace, "project", tmp_path / limit)
            assert reached.value.limit == limit
        (workspace / "project" / "/".join("d" * 52)).mkdir(parents=True)
        with pytest.raises(LimitExceeded) as reached:
            copying.copy_folder(workspace, "project", tmp_path / "depth")
        assert reached.value.limit == "depth"


class TestSummary:
    @pytest.mark.parametrize(
        ("stdout", "stderr", "counts"),
        [
            ("", "Ran 5 tests in 0.001s\n\nOK\n", (5, 0, 0)),
            ("", "Ran 1 test in 0.001s\n\nOK (skipped=1)\n", (0, 0, 1)),
            ("", "Ran 9 tests in 1.2s\n\nFAILED (failures=2, errors=1, skipped=1, expected failures=1)\n", (5, 3, 1)),
            ("", "Ran 2 tests in 1.2s\n\nFAILED (unexpected successes=1)\n", (1, 1, 0)),
            ("", "Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", (0, 0, 0)),
            ("=== 3 passed in 0.12s ===\n", "", (3, 0, 0)),
            ("== 1 failed, 2 passed, 4 skipped, 1 warning in 61.20s (0:01:01) ==\n", "", (2, 1, 4)),
            ("1 failed, 2 passed, 1 error in 0.1s\n", "", (2, 2, 0)),
            ("2 xfailed, 1 xpassed in 0.1s\n", "", (3, 0, 0)),
        ],
    )
    def test_it_reads_counts(self, stdout: str, stderr: str, counts: tuple[int, int, int]) -> None:
        summary = read_summary(stdout=stdout, stderr=stderr)
        assert summary is not None
        assert (summary.passed, summary.failed, summary.skipped) == counts

    @pytest.mark.parametrize("text", ["", "all good\n", "Ran 5 tests in 1s\nbut then crashed", "3 passed"])
    def test_it_invents_none(self, text: str) -> None:
        assert read_summary(stdout=text, stderr=text) is None


def test_python3_is_the_running_interpreter() -> None:
    assert find_program("python3", Path("/nowhere")) == sys.executable
