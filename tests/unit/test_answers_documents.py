"""Research, extraction, summaries and articles: what was not read is not reported as read."""

from pathlib import Path
from typing import Any

import pytest

from agents.answers import SkillFact
from tests.unit.answers_cast import check, done, failed, really, refused

PAGE, OTHER = "https://arxiv.org/abs/2501.1", "https://github.com/example/tool"
FETCHED_AT = "2026-11-25T20:00:00.123Z"
ZEROS = {"compression": 0, "readTime": 0, "sources": 0}


def fetch(url: str, *, status: int = 200, size: int = 1200, final: str = "") -> SkillFact:
    output = {
        "url": url,
        "finalUrl": final or url,
        "statusCode": status,
        "contentType": "text/html",
        "content": "words",
        "sizeBytes": size,
        "sha256": "0" * 64,
        "fetchedAt": FETCHED_AT,
    }
    return done("sourceFetch", {"url": url}, output)


def page(url: str = PAGE, *, status: int = 200, size: int = 1200, at: str = FETCHED_AT) -> dict[str, Any]:
    return {"url": url, "statusCode": status, "contentSize": size, "fetchedAt": at, "summary": "It says so."}


def error(url: str = OTHER) -> dict[str, str]:
    return {"url": url, "error": "domain_not_allowed: not among the hosts"}


class TestResearch:
    def check(self, findings: list[Any], calls: list[SkillFact], **changes: Any) -> Any:
        output = {"findings": findings, "synthesis": f"It works [{PAGE}].", "confidence": "low"} | changes
        return check("market-research-agent", output, input={"query": "does it work?"}, calls=calls)

    def test_a_cited_page_that_was_fetched_is_taken(self) -> None:
        assert not self.check([page()], [fetch(PAGE)]).problems

    def test_the_time_is_the_fetchs(self) -> None:
        answer = self.check([page(at="2020-01-01T00:00:00Z")], [fetch(PAGE)])
        assert answer.output["findings"][0]["fetchedAt"] == FETCHED_AT

    @pytest.mark.parametrize(
        "url", ["https://ARXIV.org/abs/2501.1", "https://arxiv.org/abs/2501.1/", "https://arxiv.org/abs/2501.1#s2"]
    )
    def test_an_address_may_be_written_in_another_way(self, url: str) -> None:
        assert not self.check([page(url)], [fetch(PAGE)]).problems

    def test_a_redirected_page_may_be_cited_under_both_addresses(self) -> None:
        calls = [fetch(PAGE, final="https://arxiv.org/abs/2501.1v2")]
        synthesis = f"Both ({PAGE}) and (https://arxiv.org/abs/2501.1v2)."
        assert not self.check([page("https://arxiv.org/abs/2501.1v2")], calls, synthesis=synthesis).problems

    @pytest.mark.parametrize(
        ("findings", "calls", "word"),
        [
            ([page(OTHER), page()], [fetch(PAGE)], "was not fetched"),
            ([page(), page(OTHER)], [fetch(PAGE), failed("sourceFetch", {"url": OTHER})], "was not fetched"),
            ([page(status=200)], [fetch(PAGE, status=404)], "statusCode 404"),
            ([page(size=9)], [fetch(PAGE)], "contentSize 1200"),
            ([page(), error()], [fetch(PAGE), fetch(OTHER)], "it was fetched"),
            ([page(), error()], [fetch(PAGE)], "never called"),
        ],
    )
    def test_a_finding_that_no_fetch_bears_out_is_a_problem(self, findings, calls, word) -> None:
        assert word in self.check(findings, calls).problems[0]

    def test_a_refused_page_is_reported_as_such(self) -> None:
        assert not self.check([page(), error()], [fetch(PAGE), refused("sourceFetch", {"url": OTHER})]).problems

    def test_a_page_that_is_not_there_may_be_either(self) -> None:
        calls = [fetch(OTHER, status=404)]
        for finding in (page(OTHER, status=404), error()):
            assert not self.check([finding], calls, synthesis="Nothing could be read.").problems

    @pytest.mark.parametrize(
        ("synthesis", "word"),
        [
            (f"It works [{PAGE}], see also {OTHER}.", OTHER),
            ("It works (http://evil.example/?q=secret).", "evil.example"),
            ("It works, trust me.", "cites no page"),
        ],
    )
    def test_the_synthesis_cites_what_was_fetched(self, synthesis: str, word: str) -> None:
        (problem,) = self.check([page()], [fetch(PAGE)], synthesis=synthesis).problems
        assert word in problem

    @pytest.mark.parametrize("tail", [").", "].", ",", "?", "**", ")", "'"])
    def test_a_sentence_may_go_on_behind_an_address(self, tail: str) -> None:
        assert not self.check([page()], [fetch(PAGE)], synthesis=f"See {PAGE}{tail}").problems

    def test_high_confidence_takes_two_pages_that_are_there(self) -> None:
        two = [fetch(PAGE), fetch(OTHER)]
        assert not self.check([page(), page(OTHER)], two, confidence="high").problems
        assert "1 fetched" in self.check([page(), page()], two, confidence="high").problems[0]
        gone = [fetch(PAGE), fetch(OTHER, status=404)]
        assert "1 fetched" in self.check([page(), page(OTHER, status=404)], gone, confidence="high").problems[0]

    def test_every_page_that_was_asked_for_is_reported(self) -> None:
        output = {"findings": [page()], "synthesis": f"So [{PAGE}].", "confidence": "low"}
        answer = check("market-research-agent", output, input={"urls": [PAGE, OTHER]}, calls=[fetch(PAGE)])
        assert answer.problems == (f'"{OTHER}" was asked for and is in no finding. Report what it says, or its error.',)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("due,who\n2026-04-01,ap@north.example\n2026-04-02,me@south.example\n")
    (tmp_path / "long.md").write_text("# Title\n\n" + "word " * 100 + "\n\n| a | b |\n|---|---|\n| one two | three |\n")
    return tmp_path


class TestExtraction:
    def check(self, results: list[Any], calls: list[SkillFact], **task: Any) -> Any:
        files = {"files": [{"path": "a.csv", "format": "csv"}, {"path": "b.pdf", "format": "pdf"}]}
        output = {"results": results, "recordsExtracted": 99, "entitiesFound": 99}
        return check("data-extraction-agent", output, input=task or files, calls=calls)

    def parse(self, workspace: Path) -> SkillFact:
        return really("documentParser", {"filePath": "a.csv", "format": "csv"}, workspace)

    BAD = {"path": "b.pdf", "status": "error", "errors": ["file_not_found"]}
    GOOD = {"path": "a.csv", "status": "success", "records": [{"due": "2026-04-01"}, {"due": None}]}

    def test_code_counts_records_and_entities(self, workspace: Path) -> None:
        output = self.check([self.GOOD, self.BAD], [self.parse(workspace)]).output
        assert (output["recordsExtracted"], output["entitiesFound"]) == (2, 4)

    def test_a_path_may_take_a_detour(self, workspace: Path) -> None:
        assert not self.check([{**self.GOOD, "path": "./a.csv"}, self.BAD], [self.parse(workspace)]).problems

    @pytest.mark.parametrize(
        ("results", "word"),
        [
            ([GOOD], '"b.pdf" is reported 0 times'),
            ([GOOD, BAD, BAD], '"b.pdf" is reported 2 times'),
            ([GOOD, BAD, {**BAD, "path": "c.csv"}], "is no file of the task"),
            ([GOOD, {**BAD, "status": "success"}], "was not parsed"),
            ([GOOD, {**BAD, "errors": []}], "without a reason"),
            ([GOOD, {**BAD, "records": [{}]}], "with records"),
        ],
    )
    def test_a_file_is_reported_once_and_as_it_went(self, results, word, workspace: Path) -> None:
        calls = [self.parse(workspace), failed("documentParser", {"filePath": "b.pdf", "format": "pdf"})]
        (problem,) = self.check(results, calls).problems
        assert word in problem

    @pytest.mark.parametrize(
        "schema", [{"due": {"type": "date"}, "who": "email"}, {"type": "object", "properties": {"due": {}, "who": {}}}]
    )
    def test_records_have_exactly_the_schemas_fields(self, schema, workspace: Path) -> None:
        task = {"files": [{"path": "a.csv", "format": "csv"}], "schema": schema}
        whole = {**self.GOOD, "records": [{"due": None, "who": "x"}]}
        assert not self.check([whole], [self.parse(workspace)], **task).problems
        for record in ({"due": 1}, {"due": 1, "who": 1, "more": 1}):
            answer = self.check(
                [{**self.GOOD, "records": [{"due": 1, "who": 2}, record]}], [self.parse(workspace)], **task
            )
            assert "records 1 have other fields" in answer.problems[0]

    def test_an_inline_source_needs_no_call(self) -> None:
        task = {"source": {"format": "csv", "content": "a\n1\n"}}
        result = {"path": "source", "status": "success", "records": [{"a": "1"}]}
        assert not self.check([result], [], **task).problems
        assert self.check([{**result, "path": "a.csv"}], [], **task).problems


class TestSummary:
    def check(self, summary: str, *, source: dict[str, str], calls: list[SkillFact], **changes: Any) -> Any:
        metrics = {"compression": 50, "readTime": 99, "sources": 9}
        output = {"summary": summary, "format": "executive_summary", "metrics": metrics, "warnings": []} | changes
        task = {"source": source, "format": "executive_summary", "constraints": {"maxLength": 50}}
        return check("summarization-agent", output, input=task | changes.pop("task", {}), calls=calls)

    def of_text(self, summary: str, **changes: Any) -> Any:
        return self.check(summary, source={"type": "text", "content": "word " * 100}, calls=[], **changes)

    def test_code_sets_the_metrics(self) -> None:
        output = self.of_text("one two three four").output
        assert output["metrics"] == {"compression": 25.0, "readTime": 1, "sources": 1}
        assert output["warnings"] == []

    @pytest.mark.parametrize(("words", "warned"), [(20, False), (21, True), (50, True)])
    def test_more_than_a_fifth_gets_a_warning(self, words: int, warned: bool) -> None:
        output = self.of_text("word " * words, warnings=["Left out the appendix."]).output
        assert any("5:1" in warning for warning in output["warnings"]) == warned
        assert output["warnings"][0] == "Left out the appendix."

    def test_reading_time_is_two_hundred_words_a_minute(self) -> None:
        source = {"type": "text", "content": "word " * 5_000}
        for words, minutes in ((200, 1), (201, 2), (1_000, 5)):
            output = {"summary": "word " * words, "format": "executive_summary", "metrics": ZEROS, "warnings": []}
            answer = check("summarization-agent", output, input={"source": source, "format": "executive_summary"})
            assert answer.output is not None
            assert answer.output["metrics"]["readTime"] == minutes

    def test_it_is_as_short_as_ordered(self) -> None:
        assert "51 words; 50 are allowed" in self.of_text("word " * 51).problems[0]

    def test_no_summary_passes_the_agents_own_bound(self) -> None:
        output = {"summary": "w " * 2_001, "format": "swot", "metrics": ZEROS}
        task = {"source": {"type": "text", "content": "w " * 20_000}, "format": "swot"}
        problems = check("summarization-agent", output | {"warnings": []}, input=task).problems
        assert "2000 are allowed" in problems[0]
        assert "strengths, weaknesses, opportunities, threats" in problems[1]

    def test_it_has_the_format_that_was_ordered(self) -> None:
        assert "executive_summary was ordered" in self.of_text("Short.", format="swot").problems[0]

    def test_key_findings_are_numbered(self) -> None:
        output = {"format": "key_findings", "metrics": ZEROS, "warnings": []}
        task = {"source": {"type": "text", "content": "word " * 100}, "format": "key_findings"}
        assert not check(
            "summarization-agent", output | {"summary": "**1.** Sales rose.\n2. Costs fell."}, input=task
        ).problems
        assert check("summarization-agent", output | {"summary": "Sales rose."}, input=task).problems

    def test_a_file_is_measured_as_it_was_parsed(self, workspace: Path) -> None:
        source = {"type": "file", "content": "long.md"}
        calls = [really("documentParser", {"filePath": "long.md", "format": "markdown"}, workspace)] * 2
        output = self.check("word " * 5, source=source, calls=calls).output
        assert output["metrics"] == {"compression": 21.2, "readTime": 1, "sources": 1}  # title, 100, five in the table

    def test_a_file_that_was_not_read_is_not_summarised(self) -> None:
        source = {"type": "file", "content": "long.md"}
        attempt = refused("documentParser", {"filePath": "long.md", "format": "markdown"})
        assert "was not read" in self.check("Sales rose.", source=source, calls=[]).problems[0]
        assert "Say so in warnings" in self.check("Sales rose.", source=source, calls=[attempt]).problems[0]
        told = self.check("It could not be read.", source=source, calls=[attempt], warnings=["read_path"])
        assert told.output["warnings"] == ["read_path"]


class TestContent:
    TEXT = "# Tool\n\nIt does **one** thing.\n\n```sh\n# not a heading\nrun it\n```\n\n## Use\n\nRun it.\n"

    def check(self, *, workspace: Path, source: str, calls: list[SkillFact], **task: Any) -> Any:
        output = {"content": self.TEXT, "metrics": {"wordCount": 1, "sections": 99}}
        given = {"type": "readme", "source": source} | task
        return check("content-agent", output, input=given, calls=calls, workspace=workspace)

    def test_code_counts_words_and_headings(self, workspace: Path) -> None:
        output = self.check(workspace=workspace, source="A tool that does one thing.", calls=[]).output
        assert output["metrics"] == {"wordCount": 14, "sections": 2}

    def test_it_is_as_short_as_ordered(self, workspace: Path) -> None:
        assert not self.check(workspace=workspace, source="It.", calls=[], length=14).problems
        assert "13 were ordered" in self.check(workspace=workspace, source="It.", calls=[], length=13).problems[0]

    @pytest.mark.parametrize("source", ["long.md", "./long.md", "."])
    def test_a_source_in_the_workspace_is_read_first(self, source: str, workspace: Path) -> None:
        read = really("documentParser", {"filePath": "long.md", "format": "markdown"}, workspace)
        assert "was read in this run" in self.check(workspace=workspace, source=source, calls=[]).problems[0]
        assert not self.check(workspace=workspace, source=source, calls=[read]).problems

    @pytest.mark.parametrize("source", ["../../etc/passwd", "/etc/passwd", "Line one.\nLine two.", "x" * 5_000])
    def test_a_text_that_is_no_path_inside_is_a_text(self, source: str, workspace: Path) -> None:
        assert not self.check(workspace=workspace, source=source, calls=[]).problems
