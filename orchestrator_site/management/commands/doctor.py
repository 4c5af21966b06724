"""`manage.py doctor`: look the set-up over and say what to mend. Exit code: 0 well, 1 warnings, 2 problems."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, override

from django.template.defaultfilters import pluralize

from orchestrator_site.doctor.examining import examine
from orchestrator_site.doctor.findings import Finding, Level, exit_code, findings_to_wire, worst_of
from orchestrator_site.terminal.printing import Cell, Item, Table, Tone, Toned
from orchestrator_site.terminal.verbs import Answer, AnswerCommand

_TONES: Final[dict[Level, Tone]] = {Level.OK: "good", Level.WARNING: "warn", Level.PROBLEM: "bad"}


class Command(AnswerCommand):
    """Each finding is a line: how it is, its id, what was found; below it, what to do."""

    help = "Look the set-up over and say what to mend; changes nothing. Exit code: 0 well, 1 warnings, 2 problems."
    requires_system_checks: list[str] = []  # they are among what is looked at
    refused = 2

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the findings as JSON")
        parser.add_argument("--call-providers", action="store_true", help="also ask each vendor for its list of models")

    @override
    def answer(self, options: dict[str, Any]) -> Answer:
        findings = list(examine(asks_providers=options["call_providers"]))
        code = exit_code(worst_of(findings))
        return Answer(wire=findings_to_wire(findings), lines=_describe(findings), exit_code=code)


def _describe(findings: list[Finding]) -> Iterator[Item]:
    rows: list[Sequence[Cell]] = []
    for finding in findings:
        rows.append((Toned(finding.level.value, _TONES[finding.level]), finding.id, finding.what))
        if finding.cure:
            rows.append(("", "", f"→ {finding.cure}"))
    yield Table((), rows)
    counts = Counter(finding.level for finding in findings)
    warnings, problems = counts[Level.WARNING], counts[Level.PROBLEM]
    yield f"{warnings} warning{pluralize(warnings)}, {problems} problem{pluralize(problems)}, {counts[Level.OK]} ok"
