"""Test reports, skill audits, patches and security findings: what code can see decides."""

from pathlib import Path
from typing import Any

import pytest

from agents.answers import SkillFact
from tests.unit.answers_cast import ROOT, check, done, failed, really, refused

SUITE = {"target": "project", "suite": "unit-tests"}


def run(
    *, passed: bool = True, counts: tuple[int, int, int] | None = (3, 0, 0), code: int | None = None, **arguments: Any
) -> SkillFact:
    """Return a run of the tests as testRunner reports it."""
    output = {
        "passed": passed,
        "exitCode": (0 if passed else 1) if code is None else code,
        "stdout": "",
        "stderr": "test_sum (tests.test_totals.TestTotals.test_sum) ... FAIL\ntest_tax ... ok\n",
        "durationMs": 12,
        "summary": counts and dict(zip(("passed", "failed", "skipped"), counts, strict=True)),
    }
    return done("testRunner", {"target": "project", "command": "unit-tests"} | arguments, output)


CRASHED = failed("testRunner", {"target": "project", "command": "unit-tests"})
REFUSED = refused("testRunner", {"target": "project", "command": "unit-tests"})
GREEN, RED = run(), run(passed=False, counts=(2, 1, 0))
FAILING = {"name": "tests.test_totals.TestTotals.test_sum", "outcome": "failed", "detail": "2.67 != 2.68"}


class TestVerdict:
    def check(self, verdict: str, *calls: SkillFact, tests: Any = (), task: Any = SUITE) -> Any:
        report = {"tests": list(tests), "summary": {"passed": 9, "failed": 9, "skipped": 9}, "verdict": verdict}
        return check("qa-verification-agent", {"report": report}, input=task, calls=calls)

    @pytest.mark.parametrize(
        ("calls", "allowed"),
        [
            ([], {"ERROR"}),
            ([REFUSED], {"ERROR"}),
            ([CRASHED], {"ERROR"}),
            ([GREEN], {"PASS"}),
            ([RED], {"FAIL"}),
            ([RED, GREEN], {"PASS", "FAIL"}),
            ([GREEN, RED], {"FAIL"}),
            ([GREEN, REFUSED], {"PASS"}),
            ([run(counts=(0, 0, 0))], {"ERROR"}),
            ([run(counts=(0, 0, 4))], {"ERROR"}),
            ([run(counts=(3, 1, 0))], {"FAIL"}),  # it ended with 0 all the same
            ([run(passed=False, counts=None, code=-9)], {"ERROR"}),
            ([run(passed=False, counts=None)], {"FAIL", "ERROR"}),
            ([run(counts=None)], {"PASS"}),
            ([run(target="elsewhere")], {"ERROR"}),
            ([run(command="lint")], {"ERROR"}),
            ([run(target="./project/")], {"PASS"}),
        ],
    )
    def test_it_follows_from_the_runs(self, calls: list[SkillFact], allowed: set[str]) -> None:
        for verdict in ("PASS", "FAIL", "ERROR"):
            tests = [FAILING] if verdict == "FAIL" else []
            assert (not self.check(verdict, *calls, tests=tests).problems) == (verdict in allowed), verdict

    def test_a_check_that_is_no_test_fails_by_its_exit_code(self) -> None:
        lint = run(passed=False, counts=None, command="lint")
        task = {"target": "project", "suite": "lint"}
        assert not self.check("FAIL", lint, tests=[FAILING], task=task).problems
        assert self.check("ERROR", lint, task=task).problems

    def test_code_sets_the_counts_of_the_run_that_bears_it_out(self) -> None:
        passing = self.check("PASS", RED, run(counts=(5, 0, 2))).output["report"]
        assert passing["summary"] == {"passed": 5, "failed": 0, "skipped": 2}
        failing = self.check("FAIL", RED, run(counts=(5, 0, 2)), tests=[FAILING]).output["report"]
        assert failing["summary"] == {"passed": 2, "failed": 1, "skipped": 0}
        assert self.check("ERROR").output["report"]["summary"] == {"passed": 0, "failed": 0, "skipped": 0}

    @pytest.mark.parametrize(
        ("verdict", "calls", "tests", "word"),
        [
            ("PASS", [GREEN], [FAILING], "PASS with a test that failed"),
            ("FAIL", [RED], [], "names nothing that failed"),
            ("FAIL", [RED], [FAILING, {"name": "test_made_up", "outcome": "failed"}], "not in the runner's output"),
            ("PASS", [run(counts=(1, 0, 0))], [{"name": "test_tax", "outcome": "passed"}] * 2, "counted 1"),
        ],
    )
    def test_the_tests_are_the_runners(self, verdict, calls, tests, word) -> None:
        (problem,) = self.check(verdict, *calls, tests=tests).problems
        assert word in problem


class TestAudit:
    def check(self, verdict: str, *calls: SkillFact, results: Any = None, ids: Any = ("documentParser",)) -> Any:
        blank = {"passed": 7, "failures": [], "warnings": [], "riskFlags": []}
        given = [{**blank, "skillId": skill_id} for skill_id in ids] if results is None else results
        given = [{**blank, **one} for one in given]
        return check(
            "skill-audit-agent", {"verdict": verdict, "results": given}, input={"skillIds": list(ids)}, calls=calls
        )

    OWN = {"target": "skills/document_parser"}

    @pytest.mark.parametrize("target", ["skills/documentParser", "skills/document_parser", "./document-parser/tests"])
    def test_approved_takes_a_passing_run_in_the_skills_own_folder(self, target: str) -> None:
        answer = self.check("APPROVED", run(target=target))
        assert answer.output["results"][0]["passed"] == 3

    @pytest.mark.parametrize(
        ("verdict", "calls", "changes"),
        [
            ("APPROVED", [], {"warnings": ["no folder"]}),
            ("ATTENTION", [], {"warnings": ["no folder"]}),
            ("ERROR", [], {}),  # without a reason
            ("APPROVED", [run(target="skills/normalizer")], {"warnings": ["w"]}),
            ("APPROVED", [run(target="skills/documentParsers")], {"warnings": ["w"]}),
            ("APPROVED", [refused("testRunner", OWN)], {"warnings": ["w"]}),
            ("APPROVED", [run(passed=False, counts=(2, 1, 0), **OWN)], {"failures": ["test_sum"]}),
            ("ATTENTION", [run(passed=False, counts=(2, 1, 0), **OWN)], {}),  # without its failures
            ("APPROVED", [run(**OWN)], {"riskFlags": ["reads the network"]}),
            ("APPROVED", [run(counts=(0, 0, 0), **OWN)], {"failures": ["no test ran"]}),
            ("ERROR", [run(**OWN)], {}),
        ],
    )
    def test_a_verdict_that_the_runs_do_not_bear_out_is_a_problem(self, verdict, calls, changes) -> None:
        assert self.check(verdict, *calls, results=[{"skillId": "documentParser", **changes}]).problems

    @pytest.mark.parametrize(
        ("verdict", "calls", "changes"),
        [
            ("ERROR", [], {"warnings": ["no folder of that name"]}),
            ("ATTENTION", [run(**OWN)], {"riskFlags": ["reads the network"]}),
            ("ATTENTION", [run(passed=False, counts=(2, 1, 0), **OWN)], {"failures": ["test_sum"]}),
            ("ERROR", [run(counts=(0, 0, 0), **OWN)], {"failures": ["no test ran"]}),
        ],
    )
    def test_one_that_they_do_is_taken(self, verdict, calls, changes) -> None:
        assert not self.check(verdict, *calls, results=[{"skillId": "documentParser", **changes}]).problems

    def test_every_skill_is_reported_once_and_no_other(self) -> None:
        calls = [run(target="skills/a"), run(target="skills/b")]
        problems = self.check(
            "APPROVED", *calls, ids=["a", "b"], results=[{"skillId": "a"}, {"skillId": "c", "warnings": ["w"]}]
        )
        assert [word in "\n".join(problems.problems) for word in ('"b" is in results 0', '"c", which was not')] == [
            True,
            True,
        ]


TOTALS = "invoicing/totals.py"
OLD, NEW = "return Decimal(str(round(float(amount), 2)))", 'return amount.quantize(Decimal("0.01"))'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "invoicing").mkdir()
    (tmp_path / TOTALS).write_text((ROOT / "examples" / "project" / TOTALS).read_text())
    return tmp_path


def patch(workspace: Path, *, old: str = OLD, new: str = NEW, write: bool = False, path: str = TOTALS) -> SkillFact:
    changes = [{"type": "replace", "oldText": old, "newText": new}]
    return really("workspacePatch", {"filePath": path, "changes": changes, "dryRun": not write}, workspace)


class TestPatches:
    def check(self, changes: list[Any], *calls: SkillFact, passes: bool = False, **rest: Any) -> Any:
        summary = {"filesChanged": 9, "linesChanged": 9, "testsPass": passes}
        output = {"changes": changes, "summary": summary, "requiresApproval": False} | rest
        return check("build-refactor-agent", output, input={"type": "refactor", "scope": "invoicing"}, calls=calls)

    def change(self, call: SkillFact | None = None, *, file: str = TOTALS) -> dict[str, str]:
        return {"file": file, "diff": call.result["diff"] if call else "", "rationale": "Rounds exactly."}

    def test_a_preview_still_requires_approval(self, workspace: Path) -> None:
        preview = patch(workspace)
        output = self.check([self.change(preview)], preview).output
        assert output["requiresApproval"] is True
        assert output["summary"] == {"filesChanged": 1, "linesChanged": 2, "testsPass": False}

    def test_a_write_with_passing_tests_behind_it_is_done(self, workspace: Path) -> None:
        calls = [GREEN, patch(workspace), patch(workspace, write=True), GREEN]
        output = self.check([self.change(calls[2])], *calls, passes=True).output
        assert output["requiresApproval"] is False
        assert output["summary"]["testsPass"] is True

    def test_an_empty_diff_is_put_in(self, workspace: Path) -> None:
        calls = [patch(workspace), patch(workspace, new="return amount")]
        assert self.check([self.change()], *calls).output["changes"][0]["diff"] == calls[1].result["diff"]
        calls = [patch(workspace, new="return amount"), patch(workspace, write=True), GREEN]
        assert self.check([self.change()], *calls).output["changes"][0]["diff"] == calls[1].result["diff"]

    def test_a_refused_write_leaves_a_proposal(self, workspace: Path) -> None:
        preview = patch(workspace)
        asked = refused("workspacePatch", {**preview.arguments, "dryRun": False})
        assert self.check([self.change(preview)], GREEN, preview, asked).output["requiresApproval"] is True

    def test_a_diff_that_the_skill_did_not_make_is_a_problem(self, workspace: Path) -> None:
        preview = patch(workspace)
        forged = {**self.change(preview), "diff": preview.result["diff"].replace("0.01", "0.02")}
        assert "has another diff" in self.check([forged], preview).problems[0]
        assert "was not given" in self.check([self.change(preview, file="other.py")], preview).problems[0]
        assert (
            "was not given"
            in self.check([self.change(preview)], failed("workspacePatch", preview.arguments)).problems[0]
        )

    def test_spaces_at_the_ends_of_lines_may_be_lost(self, workspace: Path) -> None:
        preview = patch(workspace)
        diff = "\n".join(line.rstrip() for line in preview.result["diff"].split("\n")).strip("\n")
        assert not self.check([{**self.change(preview), "diff": diff}], preview).problems

    def test_a_write_cannot_be_kept_quiet(self, workspace: Path) -> None:
        calls = [patch(workspace, write=True), GREEN]
        assert "was written and is in no change" in self.check([], *calls).problems[0]

    def test_an_undone_write_is_a_proposal_again(self, workspace: Path) -> None:
        calls = [patch(workspace, write=True), RED, patch(workspace, old=NEW, new=OLD, write=True), GREEN]
        assert self.check([self.change(calls[0])], *calls, passes=True).output["requiresApproval"] is True
        assert not self.check([], *calls, passes=True).problems

    def test_failing_tests_behind_a_write_call_for_its_undoing(self, workspace: Path) -> None:
        calls = [patch(workspace, write=True), RED]
        problems = self.check([self.change(calls[0])], *calls).problems
        assert problems == (
            "The tests fail after the last write. Undo it with the reverse changes, and report it as not applied.",
        )
        asked = refused("workspacePatch", {"filePath": TOTALS, "changes": [], "dryRun": False})
        assert not self.check([self.change(calls[0])], *calls, asked).problems

    @pytest.mark.parametrize(
        ("after", "holds"),
        [
            ([], False),
            ([GREEN], True),
            ([RED], False),
            ([RED, GREEN], True),
            ([REFUSED], False),
            ([GREEN, CRASHED], False),
        ],
    )
    def test_passing_tests_are_those_behind_the_last_write(self, after, holds: bool, workspace: Path) -> None:
        calls = [GREEN, patch(workspace, write=True), *after]
        problems = self.check([self.change(calls[1])], *calls, passes=True).problems
        assert any("testsPass is true" in problem for problem in problems) != holds

    def test_a_call_that_was_refused_for_its_arguments_is_no_run(self, workspace: Path) -> None:
        odd = refused("testRunner", {"target": 7, "command": ["unit-tests"]})
        calls = [patch(workspace, write=True), GREEN, odd]
        assert "testsPass is true" in self.check([self.change(calls[0])], *calls, passes=True).problems[0]

    def test_one_green_command_does_not_hide_a_red_one(self, workspace: Path) -> None:
        calls = [patch(workspace, write=True), RED, run(counts=None, command="lint")]
        assert "testsPass is true" in self.check([self.change(calls[0])], *calls, passes=True).problems[0]

    def test_files_and_characters_of_a_task_are_bounded(self, workspace: Path) -> None:
        calls = []
        for number in range(21):
            (workspace / f"{number}.py").write_text(OLD)
            calls.append(patch(workspace, path=f"{number}.py"))
        changes = [self.change(call, file=f"{number}.py") for number, call in enumerate(calls)]
        assert not self.check(changes[:20], *calls).problems
        assert "21 files are changed; 20 are allowed" in self.check(changes, *calls).problems[0]
        long = SkillFact(
            skill_id="workspacePatch",
            arguments={**calls[0].arguments, "changes": [{"type": "append", "newText": "x" * 10_001}]},
            state="done",
            output=calls[0].output,
        )
        assert "10,001 characters; 10,000 are allowed" in self.check(changes[:1], long).problems[0]


KEY = "sk_live_51Hxyz1234567890abcd"
SETTINGS = f"""import os

API_KEY = "{KEY}"
PASSWORD = os.getenv("DB_PASSWORD", "correct-horse-battery")
HASHERS = ["MD5PasswordHasher"]
DEBUG = os.getenv("DEBUG")
"""


class TestFindings:
    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Path:
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "settings.py").write_text(SETTINGS)
        (tmp_path / "other.py").write_text("x = 1\n")
        (tmp_path / "link.py").symlink_to("/etc/passwd")
        return tmp_path

    def find(self, file: str = "app/settings.py", line: int = 3, **changes: Any) -> dict[str, Any]:
        location = {"file": file, "line": line} | ({"text": changes.pop("text")} if "text" in changes else {})
        finding = {"id": "SEC-1", "severity": "critical", "cwe": "CWE-798", "remediation": "Read API_KEY from a file."}
        return {**finding, "location": location, **changes}

    def check(self, workspace: Path, *findings: Any, scope: str = "app", read: str = "app/settings.py") -> Any:
        calls = [really("documentParser", {"filePath": read, "format": "markdown"}, workspace)]
        output = {"findings": list(findings), "summary": {"total": 99, "critical": 99}}
        task = {"type": "secrets", "scope": scope}
        return check("security-agent", output, input=task, calls=calls, workspace=workspace)

    def test_code_counts(self, workspace: Path) -> None:
        low = self.find(line=5, id="SEC-2", severity="low", cwe="CWE-327", remediation="Replace MD5PasswordHasher.")
        answer = self.check(workspace, self.find(), low)
        assert answer.output["summary"] == {"total": 2, "critical": 1}
        assert self.check(workspace).output["summary"] == {"total": 0, "critical": 0}

    @pytest.mark.parametrize(
        ("finding", "word"),
        [
            ({"line": 7}, "has 6 lines and no line 7"),
            ({"file": "app/none.py"}, "no readable file"),
            ({"file": "app"}, "no readable file"),
            ({"file": "other.py", "line": 1}, "outside the task's scope"),
            ({"file": "../../etc/passwd"}, "outside the task's scope"),
            ({"file": "app/../other.py", "line": 1}, "outside the task's scope"),
            ({"file": "link.py"}, "outside the task's scope"),
        ],
    )
    def test_a_place_that_is_not_there_is_a_problem(self, finding, word: str, workspace: Path) -> None:
        assert word in self.check(workspace, self.find(**finding)).problems[0]

    def test_a_link_out_of_the_workspace_is_never_followed(self, workspace: Path) -> None:
        assert "outside" in self.check(workspace, self.find(file="link.py", line=1), scope=".").problems[0]

    def test_a_scope_outside_holds_nothing(self, workspace: Path) -> None:
        assert "outside" in self.check(workspace, self.find(), scope="../").problems[0]

    def test_a_file_that_was_not_read_has_no_findings(self, workspace: Path) -> None:
        problem = self.check(workspace, self.find(), read="other.py").problems[0]
        assert "was not read in this run" in problem

    def test_code_finds_the_line_by_its_text(self, workspace: Path) -> None:
        answer = self.check(workspace, self.find(line=1, text="API_KEY  ="))
        assert answer.output["findings"][0]["location"]["line"] == 3

    @pytest.mark.parametrize("text", ["nowhere", "PASSWORD = os.environ", "os.getenv("])
    def test_a_text_that_names_no_one_line_is_a_problem(self, text: str, workspace: Path) -> None:
        assert "stands neither on line 1" in self.check(workspace, self.find(line=1, text=text)).problems[0]

    @pytest.mark.parametrize(
        ("line", "changes"),
        [
            (3, {"remediation": f"Revoke {KEY} now."}),
            (3, {"remediation": "Revoke 51Hxyz1234567890abcd now."}),
            (3, {"id": f"SEC-{KEY}"}),
            (3, {"text": f'API_KEY = "{KEY}"'}),
            (3, {"remediation": f"Revoke {KEY} now.", "cwe": "CWE-1188"}),
            (4, {"remediation": "Change correct-horse-battery."}),
        ],
    )
    def test_a_secret_is_never_printed(self, line: int, changes, workspace: Path) -> None:
        answer = self.check(workspace, self.find(line=line, **changes))
        assert answer.problems == (
            "findings[0] prints a secret. Name what holds it, and at most its first four characters.",
        )
        assert KEY not in "".join(answer.problems)

    def test_another_findings_secret_is_none_to_print_either(self, workspace: Path) -> None:
        other = self.find(line=5, id="SEC-2", cwe="CWE-327", remediation=f"As with {KEY}.")
        assert self.check(workspace, self.find(), other).problems[0].startswith("findings[1] prints")

    @pytest.mark.parametrize(
        "remediation", ["Read sk_l… from a file.", "Give DB_PASSWORD no default.", "Use os.environ."]
    )
    def test_a_name_is_no_secret(self, remediation: str, workspace: Path) -> None:
        assert not self.check(workspace, self.find(line=4, remediation=remediation)).problems

    def test_ids_are_unique(self, workspace: Path) -> None:
        assert "stands at 2 findings" in self.check(workspace, self.find(), self.find()).problems[0]
