"""Data extraction: every file reported, none a success that was never read, counts that are counts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from agents.answers.facts import DOCUMENT_PARSER, Facts, Output, SkillFact, tidy
from agents.schemas import cut
from agents.types import Constraints

INLINE = "source"  # stands for the path of an inline source
_SHOWN = 5


def set_counts(output: Output, facts: Facts) -> Output:
    """Count the records of the results and the entities that the parser found in files reported as a success."""
    results = output["results"]
    entities = sum(_count_entities(result["path"], facts) for result in results if result["status"] == "success")
    found = sum(len(result.get("records", ())) for result in results)
    return {**output, "recordsExtracted": found, "entitiesFound": entities}


def _count_entities(path: str, facts: Facts) -> int:
    return max((len(call.result.get("entities", ())) for call in _list_parses(path, facts)), default=0)


def _list_parses(path: str, facts: Facts) -> list[SkillFact]:
    calls = facts.done(DOCUMENT_PARSER)
    if "source" in facts.input:
        return [call for call in calls if call.arguments.get("filePath") is None]
    return [call for call in calls if tidy(call.arguments.get("filePath")) == tidy(path)]


def check(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield every file that is missing, doubled or not really read, and every record with the wrong fields."""
    yield from _check_files(output, facts)
    fields = _list_fields(facts.input.get("schema"))
    for number, result in enumerate(output["results"]):
        yield from _check_result(f"results[{number}]", result, facts)
        if fields is not None:
            yield from _check_fields(f"results[{number}]", result, fields)


def _check_files(output: Output, facts: Facts) -> Iterator[str]:
    wanted = [INLINE] if "source" in facts.input else [file["path"] for file in facts.input["files"]]
    reported = Counter(tidy(result["path"]) for result in output["results"])
    for path in dict.fromkeys(wanted):
        if reported[tidy(path)] != 1:
            times = reported[tidy(path)]
            yield f"{cut(path)} is reported {times} times in results; report each file once, a failed one too."
    known = {tidy(path) for path in wanted}
    for result in output["results"]:
        if tidy(result["path"]) not in known:
            yield f"results holds {cut(result['path'])}, which is no file of the task. Leave it out."


def _check_result(place: str, result: Output, facts: Facts) -> Iterator[str]:
    if result["status"] == "error":
        if not result.get("errors"):
            yield f"{place}: status is error without a reason in errors. Give the reason."
        if result.get("records"):
            yield f"{place}: status is error with records. Leave them out, or report success and name what is missing."
    elif "source" not in facts.input and not _list_parses(result["path"], facts):
        yield f"{place}: {cut(result['path'])} was not parsed in this run. Parse it, or report the error."


def _list_fields(schema: Any) -> set[str] | None:
    """Return the names of a record's fields: of {field: type}, or of a JSON Schema of a record."""
    if not isinstance(schema, Mapping) or not schema:
        return None
    properties = schema.get("properties")
    return set(properties) if isinstance(properties, Mapping) else set(schema)


def _check_fields(place: str, result: Output, fields: set[str]) -> Iterator[str]:
    wrong = [number for number, record in enumerate(result.get("records", ())) if set(record) != fields]
    if wrong:
        shown, wanted = ", ".join(map(str, wrong[:_SHOWN])), cut(", ".join(sorted(fields)))
        yield f"{place}: records {shown} have other fields than the schema's: {wanted}. A missing value is null."
