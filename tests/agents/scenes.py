"""One small conversation for each agent of the fleet: what it is asked, what its model says, what must come of it."""

from dataclasses import dataclass, field
from typing import Any, Final

SkillCall = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A task, and a model's lines: its calls turn by turn, then its answer."""

    agent: str
    input: dict[str, Any]
    turns: tuple[tuple[SkillCall, ...], ...] = ()
    answer: dict[str, Any]
    holds: dict[str, Any] = field(default_factory=dict)  # of the result, by JSON Pointer: what code found out itself


def parse(path: str, format_: str = "markdown") -> SkillCall:
    """Return the call that reads a file."""
    return "documentParser", {"filePath": path, "format": format_}


def run_tests(target: str, command: str = "unit-tests") -> SkillCall:
    """Return the call that runs a target's tests."""
    return "testRunner", {"target": target, "command": command}


def patch(*, dry_run: bool) -> SkillCall:
    """Return the call that rounds an invoice by decimals."""
    return "workspacePatch", {"filePath": TOTALS, "changes": ROUNDING, "dryRun": dry_run}


def normalise(records: list[dict[str, Any]]) -> SkillCall:
    """Return the call that brings records to one form."""
    return "normalizer", {"data": records, "schema": FIELDS}


NOTES: Final = "examples/meeting-notes.md"
PROJECT: Final = "examples/project"
TOTALS: Final = f"{PROJECT}/invoicing/totals.py"
OLD: Final = "return Decimal(str(round(float(amount), 2)))"
ROUNDING: Final = [
    {"type": "replace", "oldText": OLD, "newText": 'return amount.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)'},
    {"type": "replace", "oldText": "import Decimal", "newText": "import ROUND_HALF_UP, Decimal"},
]
FIELDS: Final = {"due": {"type": "date"}, "amount": {"type": "currency"}}
RAW: Final = [{"due": "2026-04-01", "amount": "£1,204.00"}, {"due": "4/3/2026", "amount": "$0.00"}]
CLEAN: Final = [
    {"due": "2026-04-01", "amount": {"amount": "1204.00", "currency": "GBP"}},
    {"due": "2026-04-03", "amount": {"amount": "0.00", "currency": "USD"}},
]
SUMMARY: Final = {
    "summary": "1. Two of five deliveries were late.\n2. The credit note for INV-2026-0388 is open.",
    "format": "key_findings",
    "metrics": {"compression": 0, "readTime": 0, "sources": 0},
    "warnings": [],
}
ARTICLE: Final = {
    "content": "# Supplier review\n\nTwo deliveries were late.\n\n## Next\n\nThe minutes are sent.",
    "metrics": {"wordCount": 0, "sections": 0},
}
PAGE: Final = b"<!doctype html><title>Bearings</title><p>Prices of bearings rose by 4 % in March.</p>"


def research(url: str, other: str) -> Scene:
    """Return the scene of a page that is fetched and one whose host no rule names."""
    page = {"url": url, "statusCode": 200, "contentSize": len(PAGE), "fetchedAt": "2026-11-25T00:00:00Z"}
    return Scene(
        agent="market-research-agent",
        input={"urls": [url, other]},
        turns=((("sourceFetch", {"url": url}), ("sourceFetch", {"url": other})),),
        answer={
            "findings": [page | {"summary": "Prices rose."}, {"url": other, "error": "domain_not_allowed: refused."}],
            "synthesis": f"Prices of bearings rose by 4 % [{url}].",
            "confidence": "low",
        },
        holds={"/findings/0/statusCode": 200},
    )


SCENES: Final = (
    Scene(
        agent="summarization-agent",
        input={"source": {"type": "file", "content": NOTES}, "format": "key_findings"},
        turns=((parse(NOTES),),),
        answer=SUMMARY,
        holds={"/metrics/sources": 1, "/metrics/readTime": 1},
    ),
    Scene(
        agent="data-extraction-agent",
        input={"files": [{"path": "examples/stock.json", "format": "json"}], "schema": FIELDS},
        turns=((parse("examples/stock.json", "json"),), (normalise(RAW),)),
        answer={
            "results": [{"path": "examples/stock.json", "status": "success", "records": CLEAN, "errors": []}],
            "recordsExtracted": 0,
            "entitiesFound": 0,
        },
        holds={"/recordsExtracted": 2},
    ),
    Scene(
        agent="normalization-agent",
        input={"input": RAW, "schema": FIELDS},
        turns=((normalise(RAW),),),
        answer={
            "normalized": [],
            "errors": [],
            "metrics": {"inputRecords": 0, "outputRecords": 0, "errorRate": 0},
        },
        holds={"/normalized/1/due": "2026-04-03", "/metrics/outputRecords": 2, "/errors": []},
    ),
    Scene(
        agent="content-agent",
        input={"type": "blog_post", "source": NOTES, "length": 60},
        turns=((parse(NOTES),),),
        answer=ARTICLE,
        holds={"/metrics/wordCount": 11, "/metrics/sections": 2},
    ),
    Scene(
        agent="qa-verification-agent",
        input={"target": PROJECT, "suite": "unit-tests"},
        turns=((run_tests(PROJECT),),),
        answer={"report": {"tests": [], "summary": {"passed": 0, "failed": 0, "skipped": 0}, "verdict": "PASS"}},
        holds={"/report/summary": {"passed": 4, "failed": 0, "skipped": 1}},
    ),
    Scene(
        agent="skill-audit-agent",
        input={"skillIds": ["documentParser"], "depth": "full"},
        turns=((run_tests("skills/document_parser"), parse("skills/document_parser/README.md")),),
        answer={
            "verdict": "APPROVED",
            "results": [
                {"skillId": "documentParser", "passed": 0, "failures": [], "warnings": [], "riskFlags": []},
            ],
        },
        holds={"/results/0/passed": 4},
    ),
    Scene(
        agent="system-monitor-agent",
        input={"type": "health", "agents": ["content-agent", "system-monitor-agent"]},
        answer={"metrics": {"agentHealth": {}}, "alerts": []},
        holds={"/metrics/agentHealth/content-agent": {"status": "idle", "tasksCompleted": 0, "errorRate": 0.0}},
    ),
    Scene(
        agent="security-agent",
        input={"type": "scan", "scope": PROJECT},
        turns=((parse(TOTALS),),),
        answer={
            "findings": [
                {
                    "id": "SEC-001",
                    "severity": "low",
                    "cwe": "CWE-682",
                    "location": {"file": TOTALS, "line": 1, "text": "return Decimal(str(round("},
                    "remediation": "Amounts pass through a binary float: quantize the decimal itself.",
                },
            ],
            "summary": {"total": 0, "critical": 0},
        },
        holds={"/findings/0/location/line": 20, "/summary": {"total": 1, "critical": 0}},
    ),
    Scene(
        agent="build-refactor-agent",
        input={"type": "refactor", "scope": f"{TOTALS}: round the decimal itself"},
        turns=((run_tests(PROJECT),), (patch(dry_run=True),), (patch(dry_run=False),), (run_tests(PROJECT),)),
        answer={
            "changes": [{"file": TOTALS, "diff": "", "rationale": "Half a cent is rounded up; the tests pass."}],
            "summary": {"filesChanged": 0, "linesChanged": 0, "testsPass": True},
            "requiresApproval": True,
        },
        holds={"/summary/filesChanged": 1, "/summary/linesChanged": 4, "/requiresApproval": False},
    ),
)
