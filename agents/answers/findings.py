"""Security findings: each points at a line that exists, inside the task's scope, and none prints a secret."""

import re
from collections import Counter
from collections.abc import Iterator

from agents.answers.facts import DOCUMENT_PARSER, Facts, Output, tidy
from agents.schemas import cut
from agents.skills.base import SkillError
from agents.skills.workspace import is_within, read_file, resolve
from agents.types import Constraints

MAX_BYTES = 10_000_000  # as the parser reads
# Weaknesses that are secrets by definition: what is quoted on such a line is one, unless it is the secret's name.
SECRET_CWES = frozenset(
    {"CWE-256", "CWE-259", "CWE-260", "CWE-312", "CWE-321", "CWE-522", "CWE-540", "CWE-547", "CWE-798"}
)
_QUOTED = re.compile(r"\"([^\"\s]{8,})\"(?!\s*[:\]])|'([^'\s]{8,})'(?!\s*[:\]])|`([^`\s]{8,})`")
_NAME = re.compile(r"[A-Za-z_-]*(?:pass|secret|token|key|auth|cred)[A-Za-z_-]*", re.IGNORECASE)
_RUN = re.compile(r"[A-Za-z0-9]{12,}")
_MANY_DIGITS = 4  # names such as MD5PasswordHasher hold fewer


def set_places(output: Output, facts: Facts) -> Output:
    """Put in the line on which a finding's text stands, where it is the only one, and the counts."""
    cache: dict[str, list[str]] = {}
    findings = [
        _set_line(finding, _read_lines(finding["location"]["file"], facts, cache)) for finding in output["findings"]
    ]
    critical = sum(finding["severity"] == "critical" for finding in findings)
    return {**output, "findings": findings, "summary": {"total": len(findings), "critical": critical}}


def _set_line(finding: Output, lines: list[str]) -> Output:
    location = finding["location"]
    text = " ".join(location.get("text", "").split())
    places = [number for number, line in enumerate(lines, start=1) if text and text in " ".join(line.split())]
    if len(places) != 1 or location["line"] in places:
        return finding
    return {**finding, "location": {**location, "line": places[0]}}


def _read_lines(path: str, facts: Facts, cache: dict[str, list[str]]) -> list[str]:
    """Return a file's lines, none if it cannot be read."""
    if path not in cache:
        try:
            content = read_file(facts.workspace, resolve(facts.workspace, path), max_bytes=MAX_BYTES)
            cache[path] = content.decode("utf-8", "replace").split("\n")
            if not cache[path][-1]:
                cache[path].pop()  # behind the last line end there is no line
        except (SkillError, OSError):
            cache[path] = []
    return cache[path]


def check(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield findings that point at nothing, lie outside the scope, were not read, share an id or print a secret."""
    cache: dict[str, list[str]] = {}
    for number, finding in enumerate(output["findings"]):
        yield from _check_place(f"findings[{number}]", finding["location"], facts, cache)
    yield from _check_ids(output)
    secrets = {secret for finding in output["findings"] for secret in _find_secrets(finding, facts, cache)}
    for number, finding in enumerate(output["findings"]):
        if any(secret in text for secret in secrets for text in _list_texts(finding)):
            yield f"findings[{number}] prints a secret. Name what holds it, and at most its first four characters."


def _check_ids(output: Output) -> Iterator[str]:
    for name, count in Counter(finding["id"] for finding in output["findings"]).items():
        if count > 1:
            yield f"The id {cut(name)} stands at {count} findings. Give each its own."


def _check_place(place: str, location: Output, facts: Facts, cache: dict[str, list[str]]) -> Iterator[str]:
    file, line = location["file"], location["line"]
    lines = _read_lines(file, facts, cache)
    if not _is_in_scope(file, facts):
        yield f"{place}: {cut(file)} is outside the task's scope {cut(facts.input['scope'])}. Leave the finding out."
    elif not lines:
        yield f"{place}: there is no readable file {cut(file)} in the workspace. Correct the path, or leave it out."
    elif line > len(lines):
        yield f"{place}: {cut(file)} has {len(lines)} lines and no line {line}. Correct it, or give location.text."
    elif not any(tidy(call.arguments.get("filePath")) == tidy(file) for call in facts.done(DOCUMENT_PARSER)):
        yield f"{place}: {cut(file)} was not read in this run. Read it with documentParser, or leave the finding out."
    elif "text" in location and " ".join(location["text"].split()) not in " ".join(lines[line - 1].split()):
        yield f"{place}: location.text stands neither on line {line} of {cut(file)} nor on one other line alone."


def _is_in_scope(file: str, facts: Facts) -> bool:
    try:
        scope = resolve(facts.workspace, facts.input["scope"])
        return is_within(resolve(facts.workspace, file), (scope,))
    except SkillError:
        return False


# --- secrets --------------------------------------------------------------------------------------------------
def _find_secrets(finding: Output, facts: Facts, cache: dict[str, list[str]]) -> Iterator[str]:
    """Yield what looks like a secret on a finding's line; where the weakness is a secret, all that is quoted there."""
    lines, number = _read_lines(finding["location"]["file"], facts, cache), finding["location"]["line"]
    line = lines[number - 1] if number <= len(lines) else ""
    yield from (run for run in _RUN.findall(line) if _is_random(run))
    if finding["cwe"] in SECRET_CWES:
        quoted = (text for groups in _QUOTED.findall(line) for text in groups if text)
        yield from (text for text in quoted if not _NAME.fullmatch(text))


def _is_random(run: str) -> bool:
    digits = sum(character.isdigit() for character in run)
    return 0 < digits < len(run) and (digits >= _MANY_DIGITS or run.isupper())


def _list_texts(finding: Output) -> Iterator[str]:
    yield finding["id"]
    yield finding["remediation"]
    yield finding["location"].get("text", "")
