"""Verdicts on tests: what a report may say follows from the runs that really ended."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agents.answers.facts import TEST_RUNNER, Facts, Output, SkillFact, tidy
from agents.schemas import cut
from agents.types import Constraints

PASS, FAIL, ERROR = "PASS", "FAIL", "ERROR"
TEST_SUITES = frozenset({"unit-tests", "integration-tests", "e2e-tests"})
NO_COUNTS = {"passed": 0, "failed": 0, "skipped": 0}
_WORD = re.compile(r"\w+")


def judge(run: SkillFact) -> frozenset[str]:
    """Return the verdicts that a run bears out; more than one where its output leaves it open."""
    result, counts = run.result, run.result.get("summary")
    if run.state != "done" or result.get("exitCode", 0) < 0:
        return frozenset({ERROR})
    if counts is not None and counts["failed"]:
        return frozenset({FAIL})
    if counts is not None and not counts["passed"]:
        return frozenset({ERROR})  # no test ran
    if result["passed"]:
        return frozenset({PASS})
    is_open = counts is None and run.arguments.get("command") in TEST_SUITES  # a crash before any count, perhaps
    return frozenset({FAIL, ERROR}) if is_open else frozenset({FAIL})


# --- qa-verification ------------------------------------------------------------------------------------------
def set_report_counts(output: Output, facts: Facts) -> Output:
    """Put in the counts of the run that bears the verdict out; zeros if none does."""
    report = output["report"]
    bearing = [run for run in _list_runs(facts) if run.state == "done" and report["verdict"] in judge(run)]
    counts = bearing[-1].result.get("summary") if bearing else None
    return {**output, "report": {**report, "summary": dict(counts or NO_COUNTS)}}


def check_report(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield a verdict that no run of this target and suite bears out, and tests that the output does not name."""
    report, runs = output["report"], _list_runs(facts)
    borne = _list_borne(runs)
    verdict, outcomes = report["verdict"], [test["outcome"] for test in report["tests"]]
    if verdict not in borne:
        yield f"verdict is {verdict}, but {_describe_runs(runs)}: the verdict is {' or '.join(sorted(borne))}."
    if verdict == PASS and {"failed", "error"} & set(outcomes):
        yield "verdict is PASS with a test that failed. Report each test as the runner did."
    if verdict == FAIL and not {"failed", "error"} & set(outcomes):
        yield "verdict is FAIL and tests names nothing that failed. Name it, with the line of output that shows why."
    if outcomes.count("passed") > report["summary"]["passed"] > 0:
        yield f"tests lists {outcomes.count('passed')} as passed; the runner counted {report['summary']['passed']}."
    if verdict != ERROR:
        yield from _check_names(report["tests"], "".join(map(_read_output, runs)))


def _list_runs(facts: Facts) -> list[SkillFact]:
    wanted = facts.input["suite"], tidy(facts.input["target"])
    return [
        run
        for run in facts.of(TEST_RUNNER)
        if (run.arguments.get("command"), tidy(run.arguments.get("target"))) == wanted
    ]


def _list_borne(runs: list[SkillFact]) -> set[str]:
    """Return the verdicts that are left: the last finished run's, and FAIL if any run failed."""
    finished = [run for run in runs if run.state == "done"]
    if not finished:
        return {ERROR}
    has_failed = any(FAIL in judge(run) for run in finished)
    return set(judge(finished[-1])) | ({FAIL} if has_failed else set())


def _describe_runs(runs: list[SkillFact]) -> str:
    if not runs:
        return "testRunner was not called for this target and suite in this run (call it)"
    last = next((run for run in reversed(runs) if run.state == "done"), None)
    if last is None:
        return f"the call of testRunner was {runs[-1].state}"
    counts = last.result.get("summary") or "no counts"
    return f"the last run ended with exit code {last.result.get('exitCode')} and {counts}"


def _read_output(run: SkillFact) -> str:
    return f"{run.result.get('stdout', '')}\n{run.result.get('stderr', '')}\n"


def _check_names(tests: list[Mapping[str, Any]], printed: str) -> Iterator[str]:
    for number, test in enumerate(tests):
        words = _WORD.findall(test["name"].partition("[")[0])
        if test["name"] not in printed and not (words and words[-1] in printed):
            yield f"report.tests[{number}]: {cut(test['name'])} is not in the runner's output. Name tests as it does."


# --- skill-audit ----------------------------------------------------------------------------------------------
def set_passed(output: Output, facts: Facts) -> Output:
    """Put in how many tests of each skill passed in its last run."""
    return {**output, "results": [{**one, "passed": _count_passed(one["skillId"], facts)} for one in output["results"]]}


def _count_passed(skill_id: str, facts: Facts) -> int:
    run = _find_run_of(skill_id, facts)
    counts = run.result.get("summary") if run else None
    return counts["passed"] if counts else 0


def check_audit(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield skills that are missing or made up, and a verdict that the runs of the skills do not bear out."""
    wanted, reported = facts.input["skillIds"], [one["skillId"] for one in output["results"]]
    for skill_id in wanted:
        if reported.count(skill_id) != 1:
            yield f"{cut(skill_id)} is in results {reported.count(skill_id)} times; report each skill once."
    yield from (f"results holds {cut(name)}, which was not asked for." for name in reported if name not in wanted)
    for number, one in enumerate(output["results"]):
        yield from _check_audited(f"results[{number}]", one, facts)
    yield from _check_audit_verdict(output, facts)


def _check_audited(place: str, one: Output, facts: Facts) -> Iterator[str]:
    run = _find_run_of(one["skillId"], facts)
    if run is None and not one["warnings"]:
        yield f"{place}: no test run of {cut(one['skillId'])} ended. Run its tests, or give the reason as a warning."
    if run is not None and PASS not in judge(run) and not one["failures"]:
        yield f"{place}: the last test run of {cut(one['skillId'])} did not pass. Name what failed in failures."


def _check_audit_verdict(output: Output, facts: Facts) -> Iterator[str]:
    verdict = output["verdict"]
    runs = {skill_id: _find_run_of(skill_id, facts) for skill_id in facts.input["skillIds"]}
    without = [skill_id for skill_id, run in runs.items() if run is None]
    if without and verdict != ERROR:
        yield f"verdict is {verdict}, but no test run ended for {cut(', '.join(without))}. Run them, or it is ERROR."
    elif not without and verdict == ERROR and not any(ERROR in judge(run) for run in runs.values() if run):
        yield "verdict is ERROR, but a run ended for every skill: it is APPROVED or ATTENTION."
    elif verdict == "APPROVED":
        failed = [skill_id for skill_id, run in runs.items() if run and PASS not in judge(run)]
        flagged = [one["skillId"] for one in output["results"] if one["failures"] or one["riskFlags"]]
        if failed or flagged:
            names = cut(", ".join(dict.fromkeys([*failed, *flagged])))
            yield f"verdict is APPROVED, but {names} did not pass or has a flag: it is ATTENTION."


def _find_run_of(skill_id: str, facts: Facts) -> SkillFact | None:
    """Return the last finished run in a folder that is named after the skill."""
    runs = [
        run
        for run in facts.done(TEST_RUNNER)
        if _bare(skill_id) in map(_bare, tidy(run.arguments.get("target")).split("/"))
    ]
    return runs[-1] if runs else None


def _bare(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
