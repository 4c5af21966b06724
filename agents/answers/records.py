"""Normalised records: the normalizer's own, all of them, in their order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from agents.answers.facts import NORMALIZER, Facts, Hopeless, Output, SkillFact
from agents.schemas import cut
from agents.types import Constraints

MAX_ERROR_RATE = 0.01  # from here on the task does not succeed
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Consecutive records of the input that one call normalised."""

    start: int
    end: int
    call: SkillFact


def set_records(output: Output, facts: Facts) -> Output:
    """Put in what the normalizer returned, its errors before the model's own, and the figures."""
    records, slices = _as_list(facts.input["input"]), _list_slices(facts)
    normalized = [record for part in slices for record in _as_list(part.call.result["normalized"])]
    errors = [{**note, "record": note["record"] + part.start} for part in slices for note in part.call.result["errors"]]
    flagged = {(note["record"], note["field"]) for note in errors}
    errors += [note for note in output["errors"] if (note["record"], note["field"]) not in flagged]
    bad = len({note["record"] for note in errors})
    metrics = {
        "inputRecords": len(records),
        "outputRecords": len(normalized),
        "errorRate": round(bad / len(records), 6) if records else 0.0,
    }
    return {**output, "normalized": normalized, "errors": errors, "metrics": metrics}


def check(output: Output, facts: Facts, constraints: Constraints) -> Iterator[str]:
    """Yield what was dropped, normalised by another schema, or flagged where there is no record.

    Raises: Hopeless where all is there and too much of it could not be normalised.
    """
    metrics, slices = output["metrics"], _list_slices(facts)
    total = metrics["inputRecords"]
    wrong = [
        part for part in slices if _list_types(part.call.arguments.get("schema")) != _list_types(facts.input["schema"])
    ]
    outside = [note for note in output["errors"] if note["record"] >= total]
    reached = slices[-1].end if slices else 0
    if metrics["outputRecords"] != total or reached != total:
        yield f"{reached} of {total} records went through normalizer. Call it with those from {reached} on."
    for part in wrong:
        yield f"Records {part.start} to {part.end - 1} went through normalizer with another schema. Use the task's."
    for note in outside[:_SHOWN]:
        yield f"errors names record {note['record']}; the last one is {total - 1}, counted from 0."
    if not wrong and not outside and reached == total and metrics["errorRate"] >= MAX_ERROR_RATE:
        raise Hopeless(_describe_errors(output))


def _describe_errors(output: Output) -> str:
    shown = "; ".join(
        f"record {note['record']}, {cut(note['field'], 40)}: {cut(note['message'], 80)}"
        for note in output["errors"][:_SHOWN]
    )
    rate, total = output["metrics"]["errorRate"], output["metrics"]["inputRecords"]
    return f"{rate:.1%} of {total} records have errors; a normalisation succeeds below 1 %. The first: {shown}."


# --- what the calls cover -------------------------------------------------------------------------------------
def _list_slices(facts: Facts) -> list[Slice]:
    """Return the calls that cover the input from its start without a gap; of calls for the same records the last."""
    records, slices = _write(facts.input["input"]), list[Slice]()
    for call in facts.done(NORMALIZER):
        data = _write(call.arguments.get("data"))
        start = slices[-1].end if slices else 0
        if data == records:
            slices = [Slice(start=0, end=len(records), call=call)]
        elif data and data == records[start : start + len(data)]:
            slices.append(Slice(start=start, end=start + len(data), call=call))
        else:
            slices = [_take_over(part, data, call, records) for part in slices]
    return slices


def _take_over(part: Slice, data: list[bytes], call: SkillFact, records: list[bytes]) -> Slice:
    is_same = data == records[part.start : part.end]
    return Slice(start=part.start, end=part.end, call=call) if is_same else part


def _write(value: Any) -> list[bytes]:
    """Return each record's JSON: for Python true, 1 and 1.0 are equal."""
    return [orjson.dumps(record, option=orjson.OPT_SORT_KEYS) for record in _as_list(value)]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _list_types(schema: Any) -> dict[str, Any]:
    """Return each field's specification without what is only a default."""
    if not isinstance(schema, Mapping):
        return {}
    return {name: _write_spec(spec) for name, spec in schema.items()}


def _write_spec(spec: Any) -> Any:
    if not isinstance(spec, Mapping):
        return {"type": spec}
    defaults = {"required": False, "currency": "USD"}
    return {name: value for name, value in spec.items() if value is not None and defaults.get(name) != value}
