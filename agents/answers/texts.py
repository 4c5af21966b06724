"""Summaries and articles: read before they are written, no longer than ordered, measured by code."""

import re
from collections.abc import Iterator
from math import ceil
from typing import Any

from agents.answers.facts import DOCUMENT_PARSER, Facts, Output, SkillFact, tidy
from agents.schemas import cut
from agents.skills.base import SkillError
from agents.skills.workspace import resolve
from agents.types import Constraints

WORDS_A_MINUTE = 200
LEAST_COMPRESSION = 5
_SWOT = ("strengths", "weaknesses", "opportunities", "threats")
_NUMBERED = re.compile(r"^\W{0,4}1[.)]", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+\S", re.MULTILINE)
_CODE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)


def count_words(text: str) -> int:
    """Return how many words a text has; a sign that stands alone is none."""
    return sum(any(character.isalnum() for character in word) for word in text.split())


# --- summarize-content ----------------------------------------------------------------------------------------
def set_summary_metrics(output: Output, facts: Facts) -> Output:
    """Compute compression, reading time and sources; warn of a summary that is longer than a fifth of its source."""
    words, before = count_words(output["summary"]), _count_source_words(facts)
    compression = round(before / words, 2) if words else 0.0
    metrics = {"compression": compression, "readTime": ceil(words / WORDS_A_MINUTE), "sources": _count_sources(facts)}
    warnings = list(output["warnings"])
    is_unread = before == 0 and facts.input["source"]["type"] == "file"
    if before < LEAST_COMPRESSION * words and not is_unread:
        warnings.append(f"The summary has {words} words for {before} of the source; at least 5:1 was wanted.")
    return {**output, "metrics": metrics, "warnings": warnings}


def _count_sources(facts: Facts) -> int:
    if facts.input["source"]["type"] == "text":
        return 1
    return len({tidy(call.arguments.get("filePath")) for call in facts.done(DOCUMENT_PARSER)} - {""})


def _count_source_words(facts: Facts) -> int:
    source = facts.input["source"]
    if source["type"] == "text":
        return count_words(source["content"])
    last = {tidy(call.arguments.get("filePath")): call for call in facts.done(DOCUMENT_PARSER)}
    return sum(_count_parsed_words(call) for call in last.values())


def _count_parsed_words(call: SkillFact) -> int:
    """Return the words of a document; a table counts by its cells, not by the block that stands for it."""
    tables = call.result.get("tables", ())
    blocks = [block for block in call.result.get("blocks", ()) if not (tables and block["type"] == "table")]
    cells = (cell for table in tables for row in (table["headers"], *table["rows"]) for cell in row)
    return sum(count_words(block["content"]) for block in blocks) + sum(map(count_words, cells))


def check_summary(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield what is too long, in another format, or of a file that nobody tried to read."""
    words = count_words(output["summary"])
    wanted = (facts.input.get("constraints", {}).get("maxLength"), constraints.max_summary_words)
    bound = min((limit for limit in wanted if limit is not None), default=words)
    if words > bound:
        yield f"summary has {words} words; {bound} are allowed. Shorten it."
    if output["format"] != facts.input["format"]:
        yield f"format is {output['format']}; {facts.input['format']} was ordered. Write the summary in that format."
    yield from _check_format(output["summary"], facts.input["format"])
    source = facts.input["source"]
    if source["type"] == "file":
        yield from _check_was_read(source["content"], output["warnings"], facts)


def _check_format(summary: str, wanted: str) -> Iterator[str]:
    if wanted == "swot":
        missing = [heading for heading in _SWOT if heading not in summary.lower()]
        if missing:
            yield f"summary lacks {', '.join(missing)}; a swot has all four headings."
    elif wanted == "key_findings" and not _NUMBERED.search(summary):
        yield "key_findings are numbered lines, from 1."


def _check_was_read(path: str, warnings: list[str], facts: Facts) -> Iterator[str]:
    calls = [call for call in facts.of(DOCUMENT_PARSER) if tidy(call.arguments.get("filePath")) == tidy(path)]
    if not calls:
        yield f"{cut(path)} was not read in this run. Read it with documentParser."
    elif not any(call.state == "done" for call in calls) and not warnings:
        yield f"{cut(path)} could not be read. Say so in warnings, with the reason."


# --- content-generate -----------------------------------------------------------------------------------------
def set_content_metrics(output: Output, facts: Facts) -> Output:
    """Count the words and the headings."""
    content = output["content"]
    sections = len(_HEADING.findall(_CODE.sub("", content)))
    return {**output, "metrics": {"wordCount": count_words(content), "sections": sections}}


def check_content(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield what is longer than ordered, or written of a source in the workspace that nobody tried to read."""
    words, bound = output["metrics"]["wordCount"], facts.input.get("length")
    if bound is not None and words > bound:
        yield f"content has {words} words; {bound} were ordered at most. Shorten it."
    path = _find_in_workspace(facts.input["source"], facts)
    read = [tidy(call.arguments.get("filePath")) for call in facts.of(DOCUMENT_PARSER)]
    if path and not any(path == "." or name == path or name.startswith(path + "/") for name in read if name):
        yield f"Nothing of {cut(path)} was read in this run. Read it with documentParser before you write about it."


def _find_in_workspace(source: Any, facts: Facts) -> str:
    """Return the path of a file or folder that a source names, "" if it is a text."""
    try:
        path = resolve(facts.workspace, source)
        return tidy(source) if (facts.workspace / path).exists() else ""
    except (SkillError, OSError):
        return ""
