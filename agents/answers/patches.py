"""Changes to code: only diffs that the skill made, nothing called written that was not, tests after the last write."""

from collections.abc import Iterator
from typing import Any

from agents.answers.facts import TEST_RUNNER, WORKSPACE_PATCH, Facts, Output, SkillFact, tidy
from agents.answers.verdicts import PASS, judge
from agents.schemas import cut
from agents.types import Constraints


def set_summary(output: Output, facts: Facts) -> Output:
    """Put in diffs that were left empty, count files and lines, and say whether a change is still only proposed."""
    changes = [_set_diff(change, facts) for change in output["changes"]]
    standing = _list_standing(facts)
    is_proposed = any(not _is_among(change, standing) for change in changes)
    counts = {
        "filesChanged": len({tidy(change["file"]) for change in changes}),
        "linesChanged": sum(len(side) for change in changes for side in _read_diff(change["diff"])),
    }
    return {**output, "changes": changes, "summary": {**output["summary"], **counts}, "requiresApproval": is_proposed}


def _set_diff(change: Output, facts: Facts) -> Output:
    if change["diff"].strip():
        return change
    mine = [call for call in facts.done(WORKSPACE_PATCH) if _is_of(call, change["file"])]
    best = [call for call in mine if call in _list_standing(facts)] or mine
    return {**change, "diff": best[-1].result["diff"]} if best else change


def check(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield changes that the skill never made, writes kept quiet, bounds passed, and tests that did not pass."""
    changes = output["changes"]
    for number, change in enumerate(changes):
        yield from _check_change(f"changes[{number}]", change, facts, constraints)
    for call in _list_standing(facts):
        if not any(_is_among(change, [call]) for change in changes):
            yield f"{cut(_path_of(call))} was written and is in no change. Report that diff, or undo it."
    files, bound = output["summary"]["filesChanged"], constraints.max_files_per_task
    if bound is not None and files > bound:
        yield f"{files} files are changed; {bound} are allowed in a task. Leave the others to another task."
    yield from _check_tests(output["summary"]["testsPass"], facts)


def _check_change(place: str, change: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    made = [call for call in facts.done(WORKSPACE_PATCH) if _is_among(change, [call])]
    if not made:
        known = any(_is_of(call, change["file"]) for call in facts.done(WORKSPACE_PATCH))
        what = "has another diff in this run" if known else "was not given to workspacePatch in this run"
        yield f"{place}: {cut(change['file'])} {what}. Preview it, and leave diff empty to have its last diff put in."
        return
    characters, bound = _count_characters(made[-1]), constraints.max_patch_characters
    if bound is not None and characters > bound:
        yield f"{place}: the patch has {characters:,} characters; {bound:,} are allowed. Make a smaller one."


def _check_tests(claims_pass: bool, facts: Facts) -> Iterator[str]:
    calls = list(facts.calls)
    writes = [number for number, call in enumerate(calls) if _is_written(call)]
    after = calls[writes[-1] + 1 :] if writes else calls
    runs = {
        (tidy(run.arguments.get("target")), str(run.arguments.get("command"))): run
        for run in after
        if run.skill_id == TEST_RUNNER
    }
    have_passed = bool(runs) and all(PASS in judge(run) for run in runs.values())
    if claims_pass and not have_passed:
        yield "testsPass is true, but not every run after the last write passed, or there was none. Run the tests."
    has_failed = any(run.state == "done" and PASS not in judge(run) for run in runs.values())
    tried_undo = any(_asked_to_write(call) for call in after)
    if has_failed and _list_standing(facts) and not tried_undo:
        yield "The tests fail after the last write. Undo it with the reverse changes, and report it as not applied."


# --- what the calls did ---------------------------------------------------------------------------------------
def _list_standing(facts: Facts) -> list[SkillFact]:
    """Return the writes that were not undone by a later one."""
    standing: list[SkillFact] = []
    for call in facts.done(WORKSPACE_PATCH):
        if not _is_written(call):
            continue
        undone = next((other for other in reversed(standing) if _is_undone(other, by=call)), None)
        if undone is None:
            standing.append(call)
        else:
            standing.remove(undone)
    return standing


def _is_written(call: SkillFact) -> bool:
    return call.skill_id == WORKSPACE_PATCH and call.state == "done" and call.result.get("applied") is True


def _asked_to_write(call: SkillFact) -> bool:
    return call.skill_id == WORKSPACE_PATCH and call.arguments.get("dryRun") is False


def _is_undone(call: SkillFact, *, by: SkillFact) -> bool:
    removed, added = _read_diff(by.result["diff"])
    return _path_of(call) == _path_of(by) and _read_diff(call.result["diff"]) == (added, removed)


def _path_of(call: SkillFact) -> str:
    return tidy(call.result.get("path") or call.arguments.get("filePath"))


def _is_of(call: SkillFact, file: str) -> bool:
    return tidy(file) in (_path_of(call), tidy(call.arguments.get("filePath")))


def _is_among(change: Output, calls: list[SkillFact]) -> bool:
    return any(_is_of(call, change["file"]) and _lines(call.result["diff"]) == _lines(change["diff"]) for call in calls)


def _lines(diff: str) -> list[str]:
    return [line.rstrip() for line in diff.strip("\n").split("\n")]


def _read_diff(diff: str) -> tuple[list[str], list[str]]:
    """Return the lines that a unified diff removes and adds, without its head."""
    lines = diff.split("\n")
    body = lines[next((number for number, line in enumerate(lines) if line.startswith("@@")), len(lines)) :]
    return [line[1:] for line in body if line.startswith("-")], [line[1:] for line in body if line.startswith("+")]


def _count_characters(call: SkillFact) -> int:
    changes: list[dict[str, Any]] = list(call.arguments.get("changes", ()))
    return sum(len(change.get("oldText") or "") + len(change.get("newText") or "") for change in changes)
