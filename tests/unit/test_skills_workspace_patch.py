"""workspacePatch: literal changes, a diff that says exactly what they do, and files that are whole at any time."""

import hashlib
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.skills.base import LimitExceeded, SkillContext, SkillError, SkillRefused
from agents.skills.workspace_patch import Change, WorkspacePatch, WorkspacePatchInput, WorkspacePatchOutput
from agents.skills.workspace_patch.diff import Draft, split_lines
from agents.skills.workspace_patch.risks import RiskFlag, find_risks

MODULE = """import json
import os


def load(path):
    try:
        return json.loads(open(path).read())
    except ValueError:
        return None
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(MODULE)
    return tmp_path


def patch(
    workspace: Path,
    *changes: dict[str, str],
    path: str = "app.py",
    read: tuple[str, ...] = ("",),
    write: tuple[str, ...] = ("",),
    **options: Any,
) -> WorkspacePatchOutput:
    context = SkillContext(workspace=workspace, task_id="t", timeout_seconds=5, read_scopes=read, write_scopes=write)
    arguments = WorkspacePatchInput.model_validate({"filePath": path, "changes": list(changes), **options})
    return WorkspacePatch().run(arguments, context)


def replace(old: str, new: str) -> dict[str, str]:
    return {"type": "replace", "oldText": old, "newText": new}


def append(text: str) -> dict[str, str]:
    return {"type": "append", "newText": text}


class TestPreview:
    def test_it_writes_nothing_unless_told(self, workspace: Path) -> None:
        output = patch(workspace, replace("return None", "return {}"))
        assert (workspace / "app.py").read_text() == MODULE
        assert (output.applied, output.sha256, output.size_bytes) == (False, None, None)
        assert "-        return None\n+        return {}\n" in output.diff
        assert (output.lines_before, output.lines_after) == (9, 9)

    def test_its_diff_is_one_that_git_applies(self, workspace: Path) -> None:
        output = patch(
            workspace,
            replace("import os\n", ""),
            replace("return None", "return {}"),
            {"type": "prepend", "newText": '"""Loads."""\n'},
            append("# end without a line end"),
        )
        subprocess.run(["git", "apply", "-"], cwd=workspace, input=output.diff.encode(), check=True)
        patched = (workspace / "app.py").read_text()
        (workspace / "app.py").write_text(MODULE)
        patch(
            workspace,
            replace("import os\n", ""),
            replace("return None", "return {}"),
            {"type": "prepend", "newText": '"""Loads."""\n'},
            append("# end without a line end"),
            dryRun=False,
        )
        assert (workspace / "app.py").read_text() == patched

    def test_it_takes_text_literally(self, workspace: Path) -> None:
        (workspace / "app.py").write_text("a.c abc \\1 $&\n")
        output = patch(workspace, replace("a.c", r"\g<0>$1"), dryRun=False)
        assert output.applied
        assert (workspace / "app.py").read_text() == "\\g<0>$1 abc \\1 $&\n"

    def test_it_says_when_nothing_changes(self, workspace: Path) -> None:
        assert patch(workspace, replace("import os\n", "import os\n")).diff == ""

    @pytest.mark.parametrize("dry_run", [True, False])
    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (replace("import sys", "x"), "old_text_not_found"),
            (replace("import", "x"), "old_text_ambiguous"),
            ({"type": "delete", "oldText": "return"}, "old_text_ambiguous"),
        ],
    )
    def test_it_refuses_text_that_is_not_there_exactly_once(
        self, workspace: Path, change: dict[str, str], code: str, *, dry_run: bool
    ) -> None:
        with pytest.raises(SkillError) as failed:
            patch(workspace, append("x"), change, dryRun=dry_run)
        assert failed.value.code == code
        assert (workspace / "app.py").read_text() == MODULE

    def test_it_sees_places_that_overlap(self, workspace: Path) -> None:
        (workspace / "app.py").write_text("aaa")
        with pytest.raises(SkillError) as failed:
            patch(workspace, replace("aa", "b"))
        assert failed.value.code == "old_text_ambiguous"


class TestWriting:
    def test_it_says_what_it_wrote(self, workspace: Path) -> None:
        output = patch(workspace, append("# done\n"), dryRun=False)
        content = (workspace / "app.py").read_bytes()
        assert content.endswith(b"# done\n")
        assert (output.applied, output.created, output.path) == (True, False, "app.py")
        assert output.sha256 == hashlib.sha256(content).hexdigest()
        assert output.size_bytes == len(content)

    def test_it_leaves_nothing_beside_the_file_and_keeps_its_mode(self, workspace: Path) -> None:
        (workspace / "app.py").chmod(0o750)
        patch(workspace, append("# done\n"), dryRun=False)
        assert os.listdir(workspace) == ["app.py"]
        assert (workspace / "app.py").stat().st_mode & 0o777 == 0o750

    def test_it_creates_a_file_by_append_only(self, workspace: Path) -> None:
        with pytest.raises(SkillError) as failed:
            patch(workspace, replace("a", "b"), path="new.py")
        assert failed.value.code == "file_not_found"
        preview = patch(workspace, append("x = 1\n"), path="new.py")
        assert preview.diff == "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+x = 1\n"
        assert not (workspace / "new.py").exists()
        assert patch(workspace, append("x = 1\n"), path="new.py", dryRun=False).created
        assert (workspace / "new.py").read_text() == "x = 1\n"

    def test_it_creates_no_folders(self, workspace: Path) -> None:
        with pytest.raises(SkillError) as failed:
            patch(workspace, append("x"), path="deep/new.py", dryRun=False)
        assert failed.value.code == "folder_not_found"

    def test_it_keeps_line_ends_and_byte_order_marks(self, workspace: Path) -> None:
        (workspace / "app.py").write_bytes(b"\xef\xbb\xbfa\r\nb\x0c\r\n")
        patch(workspace, replace("b", "c"), dryRun=False)
        assert (workspace / "app.py").read_bytes() == b"\xef\xbb\xbfa\r\nc\x0c\r\n"

    def test_a_failed_write_leaves_the_file_whole(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(SkillError) as failed:
            patch(workspace, append("x"), dryRun=False)
        assert failed.value.code == "write_failed"
        assert (workspace / "app.py").read_text() == MODULE
        assert os.listdir(workspace) == ["app.py"]

    def test_no_patch_is_lost_when_many_write_at_once(self, workspace: Path) -> None:
        threads = [
            threading.Thread(target=patch, args=(workspace, append(f"# {number}\n")), kwargs={"dryRun": False})
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = (workspace / "app.py").read_text().splitlines()
        assert sorted(lines[9:]) == sorted(f"# {number}" for number in range(20))


class TestBounds:
    def test_it_refuses_more_than_ten_thousand_characters(self, workspace: Path) -> None:
        assert patch(workspace, append("x" * 10_000)).lines_after == 10
        with pytest.raises(LimitExceeded) as reached:
            patch(workspace, append("x" * 5_000), append("x" * 5_001))
        assert reached.value.limit == "patch_characters"

    def test_it_refuses_files_that_are_not_text_or_too_large(self, workspace: Path) -> None:
        (workspace / "app.py").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SkillError) as failed:
            patch(workspace, append("x"))
        assert failed.value.code == "not_text"
        (workspace / "app.py").write_bytes(b"x" * 1_000_001)
        with pytest.raises(LimitExceeded):
            patch(workspace, append("x"))
        (workspace / "app.py").write_bytes(b"x" * 1_000_000)
        with pytest.raises(LimitExceeded):
            patch(workspace, append("x"), dryRun=False)

    def test_it_stays_in_its_folders(self, workspace: Path) -> None:
        with pytest.raises(SkillRefused) as refused:
            patch(workspace, append("x"), read=("src",))
        assert refused.value.code == "read_path"
        with pytest.raises(SkillRefused) as refused:
            patch(workspace, append("x"), write=(), dryRun=False)
        assert refused.value.code == "write_path"
        assert patch(workspace, append("x"), write=()).diff

    @pytest.mark.parametrize(
        "body",
        [
            {"changes": []},
            {"changes": [append("x")] * 101},
            {"changes": [append("x")], "dryRun": "false"},
            {"changes": [append("x")], "dryRun": 0},
            {"changes": [append("x")], "dryRun": None},
            {"changes": [append("x")], "force": True},
            {"changes": [{"type": "append"}]},
            {"changes": [{"type": "append", "newText": "x", "oldText": "y"}]},
            {"changes": [{"type": "replace", "oldText": "x"}]},
            {"changes": [{"type": "replace", "oldText": "", "newText": "x"}]},
            {"changes": [{"type": "delete", "oldText": "x", "newText": ""}]},
            {"changes": [{"type": "delete"}]},
            {"changes": [{"type": "rename", "newText": "x"}]},
            {"changes": [append("\ud800")]},
        ],
    )
    def test_it_refuses_input_of_another_shape(self, body: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            WorkspacePatchInput.model_validate({"filePath": "app.py", **body})

    def test_a_file_made_to_be_slow_to_compare_is_not(self, workspace: Path) -> None:
        """Searching for this diff takes minutes; it is read off the changes instead."""
        text = "".join(f"{number * 7919 % 110}\n" for number in range(250_000))
        (workspace / "app.py").write_text(text)
        output = patch(workspace, {"type": "prepend", "newText": "first\n"}, append("last\n"))
        assert output.diff.count("\n+") == 3
        assert output.risk_flags == []


class TestWhatTheGateIsTold:
    def resource(self, workspace: Path, **options: Any) -> Any:
        body = {"filePath": "app.py", "changes": [append("xy"), replace("a", "bc")], **options}
        return WorkspacePatch().resource(WorkspacePatchInput.model_validate(body), workspace)

    def test_a_preview_only_reads(self, workspace: Path) -> None:
        resource = self.resource(workspace)
        assert (resource.read_paths, resource.write_paths) == (("app.py",), ())
        assert resource.arguments == {"filePath": "app.py", "dryRun": True, "changeCount": 2, "patchCharacters": 5}

    def test_a_patch_reads_and_writes(self, workspace: Path) -> None:
        resource = self.resource(workspace, dryRun=False)
        assert (resource.read_paths, resource.write_paths) == (("app.py",), ("app.py",))

    def test_only_a_preview_may_be_repeated(self) -> None:
        body = {"filePath": "a", "changes": [append("x")]}
        assert WorkspacePatch().is_idempotent(WorkspacePatchInput.model_validate(body))
        assert not WorkspacePatch().is_idempotent(WorkspacePatchInput.model_validate(body | {"dryRun": False}))


class TestRisks:
    @pytest.mark.parametrize(
        ("removed", "added", "flags"),
        [
            (["import os\n"], [], [RiskFlag.REMOVING_IMPORTS]),
            (["from a import b\n"], ["from a import b, c\n"], [RiskFlag.REMOVING_IMPORTS]),
            (["import os\n"], ["    import os\n"], []),
            (["const x = require('x');\n"], [], [RiskFlag.REMOVING_IMPORTS]),
            ([], ["y = eval(x)\n"], [RiskFlag.EVAL_PATTERN]),
            ([], ["re.compile(x)\nevaluate(x)\n"], []),
            ([], ["subprocess.run(x, shell=True)\n"], [RiskFlag.EVAL_PATTERN]),
            (["eval(x)\n"], [], []),
            (["try:\n", "    x()\n", "except OSError:\n"], ["x()\n"], [RiskFlag.REMOVING_ERROR_HANDLING]),
            (["except OSError:\n"], ["except (OSError, ValueError):\n"], []),
            (["} catch (e) {\n"], [], [RiskFlag.REMOVING_ERROR_HANDLING]),
            (["x\n"] * 50, [], []),
            (["x\n"] * 51, ["y\n"] * 51, [RiskFlag.LARGE_DELETION]),
            ([" " * 200_000 + "x\n"], [" " * 200_000 + "eval\n"], []),
        ],
    )
    def test_it_flags(self, removed: list[str], added: list[str], flags: list[RiskFlag]) -> None:
        assert find_risks(removed=removed, added=added) == flags


LINES = st.lists(st.sampled_from(["a", "b", "a b", "", "c\r", "\x0c", "\u2028"]), max_size=12)


def apply_diff(before: str, diff: str) -> str:
    """Apply a unified diff the plain way, checking every line of it against the text."""
    old, new, place = split_lines(before), list[str](), 0
    lines = diff.split("\n")[2:-1] if diff else []
    for number, line in enumerate(lines):
        if line.startswith("@@"):
            start, _, length = line.split()[1][1:].partition(",")
            begin = int(start) - (0 if length == "0" else 1)
            new += old[place:begin]
            place = begin
            continue
        if line.startswith("\\"):
            continue
        ends = "" if number + 1 < len(lines) and lines[number + 1].startswith("\\") else "\n"
        if line[0] in " -":
            assert old[place] == line[1:] + ends
            place += 1
        if line[0] in " +":
            new.append(line[1:] + ends)
    return "".join(new + old[place:])


class TestProperties:
    @settings(max_examples=300)
    @given(lines=LINES, ends=st.booleans(), data=st.data())
    def test_the_diff_says_exactly_what_the_changes_do(
        self, lines: list[str], data: st.DataObject, *, ends: bool
    ) -> None:
        before = "\n".join(lines) + ("\n" if ends and lines else "")
        draft, expected = Draft(before), before
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(expected)))
            length = data.draw(st.integers(0, len(expected) - start))
            new = "\n".join(data.draw(LINES))[:8]
            draft.splice(start, length, new)
            expected = expected[:start] + new + expected[start + length :]
        assert draft.text == expected
        assert "".join(draft.lines) == expected
        assert draft.lines == split_lines(expected)
        diff = draft.render_diff(path="f", is_new=False)
        assert apply_diff(before, diff) == expected
        assert (diff == "") == (before == expected)

    @given(text=st.text(max_size=60), old=st.text(min_size=1, max_size=3), new=st.text(max_size=5))
    def test_a_replacement_is_that_of_the_one_place(self, text: str, old: str, new: str) -> None:
        from agents.skills.workspace_patch import draft_changes

        places = [at for at in range(len(text)) if text.startswith(old, at)]
        change = Change.model_validate(replace(old, new))
        if len(places) == 1:
            assert draft_changes(text, [change], "f").text == text.replace(old, new)
        else:
            with pytest.raises(SkillError):
                draft_changes(text, [change], "f")
