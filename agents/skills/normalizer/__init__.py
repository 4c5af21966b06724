"""normalizer: bring records to one form, losing nothing. What cannot be parsed is kept as it is and flagged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue, StrictBool

from agents.skills.base import Capability, SkillContext, SkillError, SkillModel
from agents.skills.normalizer.fields import normalise_value
from agents.skills.normalizer.findings import Finding
from agents.skills.normalizer.specs import FieldSpec
from toolgate.types import Resource

MAX_RECORDS = 10_000
MAX_FIELDS = 200

Record = dict[str, JsonValue]
FieldName = Annotated[str, Field(min_length=1, max_length=200)]


class NormalizerInput(SkillModel):
    """What to normalise, and into what."""

    data: Record | Annotated[list[Record], Field(max_length=MAX_RECORDS)] = Field(
        description="One record, or a list of at most 10,000 records."
    )
    schema_: Annotated[dict[FieldName, FieldSpec], Field(max_length=MAX_FIELDS)] = Field(
        alias="schema",
        description='Each field\'s type, for example {"paidOn": {"type": "date"}}. Fields not named stay as they are.',
    )
    strict: StrictBool = Field(default=False, description="Fail the task if any field cannot be normalised.")


class Note(SkillModel):
    """One field that could not be normalised, or one that had to be changed."""

    record: int = Field(description="Which record, counted from 0.")
    field: str
    code: str
    message: str
    value: JsonValue = Field(description="The value as it came in.")


class NormalizerOutput(SkillModel):
    """The records in their one form, with everything that was noticed."""

    normalized: Record | list[Record]
    errors: list[Note] = Field(description="Values that could not be normalised: kept as they were.")
    warnings: list[Note] = Field(description="Each coercion.")


class Normalizer:
    """Bring dates, amounts, numbers, texts, e-mail addresses and booleans each to one form."""

    id: ClassVar[str] = "normalizer"
    version: ClassVar[str] = "1.0.0"
    summary: ClassVar[str] = "Bring the fields of records to one form: dates, amounts, numbers, e-mail, booleans."
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    input_model: ClassVar[type[SkillModel]] = NormalizerInput
    output_model: ClassVar[type[SkillModel]] = NormalizerOutput
    inline: ClassVar[bool] = True

    def is_idempotent(self, arguments: NormalizerInput) -> bool:
        """Say that it touches nothing."""
        return True

    def brings_outside_text(self, arguments: NormalizerInput) -> bool:
        """Say no: its output is made of its arguments alone."""
        return False

    def resource(self, arguments: NormalizerInput, workspace: Path) -> Resource:
        """Return that it touches nothing."""
        return Resource(arguments={"strict": arguments.strict})

    def run(self, arguments: NormalizerInput, context: SkillContext) -> NormalizerOutput:
        """Normalise every record. Raises: SkillError `strict_errors` in strict mode."""
        is_list = isinstance(arguments.data, list)
        records = arguments.data if isinstance(arguments.data, list) else [arguments.data]
        errors: list[Note] = []
        warnings: list[Note] = []
        done = []
        for number, record in enumerate(records):
            normalised = dict(record)
            for note, is_error in _normalise_record(normalised, arguments.schema_, number=number):
                (errors if is_error else warnings).append(note)
            done.append(normalised)
        if errors and arguments.strict:
            raise SkillError("strict_errors", _describe_errors(errors))
        return NormalizerOutput.model_construct(
            normalized=done if is_list else done[0], errors=errors, warnings=warnings
        )


def _normalise_record(
    record: Record, schema: dict[FieldName, FieldSpec], *, number: int
) -> Iterator[tuple[Note, bool]]:
    """Normalise a record in place; yield a note for each finding, and whether it is an error."""
    for name, spec in schema.items():
        original = record.get(name)
        value, findings = normalise_value(original, spec)
        if findings and findings[-1].is_error:
            findings = findings[-1:]  # the value stays as it was, so nothing else was done to it
        elif name in record:
            record[name] = value
        for finding in findings:
            yield _note(finding, record=number, field=name, value=original), finding.is_error


def _note(finding: Finding, *, record: int, field: str, value: JsonValue) -> Note:
    return Note.model_construct(record=record, field=field, code=finding.code, message=finding.message, value=value)


def _describe_errors(errors: list[Note]) -> str:
    first = errors[0]
    return (
        f"{len(errors)} values could not be normalised and strict was asked for, so nothing was kept. "
        f"The first: record {first.record}, field {first.field!r}: {first.message} "
        "Correct the values, or run without strict to get them flagged."
    )
