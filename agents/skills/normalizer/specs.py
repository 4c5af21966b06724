"""What a schema may say about one field."""

from functools import lru_cache
from typing import Annotated, Any, Literal

import re2
from pydantic import Field, StrictBool, StrictInt, field_validator, model_validator

from agents.skills.base import SkillModel

MAX_PATTERN_CHARACTERS = 500


class _Spec(SkillModel):
    required: StrictBool = Field(default=False, description="Flag a record that has no value here.")


class DateSpec(_Spec):
    """A day; ISO 8601 or month/day/year."""

    type: Literal["date"]


class CurrencySpec(_Spec):
    """An amount of money."""

    type: Literal["currency"]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(
        default="USD", description="The currency of amounts that name none, and what a shared symbol means."
    )


class NumberSpec(_Spec):
    """A number, with its bounds."""

    type: Literal["number"]
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> "NumberSpec":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class StringSpec(_Spec):
    """A text, with its bounds and an RE2 pattern that is searched for in it."""

    type: Literal["string"]
    min_length: Annotated[StrictInt, Field(ge=0)] | None = None
    max_length: Annotated[StrictInt, Field(ge=0)] | None = None
    pattern: Annotated[str, Field(max_length=MAX_PATTERN_CHARACTERS)] | None = None

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            compile_pattern(pattern)
        return pattern


class EmailSpec(_Spec):
    """An e-mail address."""

    type: Literal["email"]


class BooleanSpec(_Spec):
    """True or false, also written as yes, no, on, off, 1, 0."""

    type: Literal["boolean"]


FieldSpec = Annotated[
    DateSpec | CurrencySpec | NumberSpec | StringSpec | EmailSpec | BooleanSpec, Field(discriminator="type")
]


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """Return an RE2 program: its time is linear in the text, whatever the pattern. Raises: ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except re2.error as problem:
        raise ValueError(f"not an RE2 pattern: {problem}") from None
