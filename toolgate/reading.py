"""Read what a client of the API sent, strictly: a query without surprises, a body that fits its model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from audit.exceptions import BadQuery

if TYPE_CHECKING:
    from django.http import QueryDict
    from rest_framework.request import Request

MAX_PROBLEMS: Final = 20
MAX_POINTER: Final = 200
MAX_DETAIL: Final = 300
_MAX_DIGITS: Final = 9


class WireModel(BaseModel):
    """Base of what the API reads and shows: camelCase, unknown fields and mistaken types refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field; `pointer` is a JSON pointer as a URI fragment: "#/input/data"."""

    pointer: str
    code: str
    detail: str


class BodyMalformed(Exception):
    """There is no body, or it is no object. Nothing was done; send one."""

    code = "body_malformed"


class BodyInvalid(Exception):
    """Fields of the body are unknown, missing or of a wrong type; `problems` names each. Nothing was done."""

    code = "body_invalid"

    def __init__(self, problems: list[FieldProblem], message: str = "") -> None:
        super().__init__(message or f"{len(problems)} of the body's fields cannot be taken. Nothing was done.")
        self.problems = problems


def read_query(query: "QueryDict", known: Iterable[str]) -> dict[str, str]:
    """Return the parameters of a query string.

    Raises: BadQuery for one that is unknown, given twice, or holds a NUL.
    """
    allowed = sorted(known)
    for name, values in query.lists():
        if name not in allowed:
            raise BadQuery(f"There is no parameter {ascii(name)[:64]}; known are {', '.join(allowed) or 'none'}.")
        if len(values) != 1:
            raise BadQuery(f"{name} is given {len(values)} times.")
        if "\0" in values[0]:
            raise BadQuery(f"{name} holds the character NUL.")
    return {name: values[0] for name, values in query.lists()}


def read_limit(given: Mapping[str, str], *, default: int, maximum: int) -> int:
    """Return the parameter `limit`, a whole number from 1 to `maximum`.

    Raises: BadQuery.
    """
    text = given.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 1 <= int(text) <= maximum):
        raise BadQuery(f"limit is not a whole number between 1 and {maximum}.")
    return int(text)


def read_body[M: BaseModel](request: "Request", model: type[M], *, optional: bool = False) -> M:
    """Return the request's body as `model`; where it is `optional`, none stands for an empty object.

    Raises: BodyMalformed, BodyInvalid; what the parser raises.
    """
    if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
        if not optional:
            raise BodyMalformed("The body is empty: send a JSON object. Nothing was done.")
        data: Any = {}
    else:
        data = request.data
    if not isinstance(data, dict):
        raise BodyMalformed("The body is not a JSON object. Nothing was done.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BodyInvalid(list_problems(error)) from error


def list_problems(error: ValidationError, base: str = "#") -> list[FieldProblem]:
    """Return the first problems that a model found, each with a pointer below `base`; never what was sent."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [
        FieldProblem(
            pointer=make_pointer(base, problem["loc"]),
            code=problem["type"],
            detail=problem["msg"].removeprefix("Value error, ")[:MAX_DETAIL],
        )
        for problem in found[:MAX_PROBLEMS]
    ]


def make_pointer(base: str, location: Iterable[int | str]) -> str:
    """Return the JSON pointer of a place below `base`, cut to what is shown."""
    parts = (str(part)[:MAX_POINTER].replace("~", "~0").replace("/", "~1") for part in location)
    return "/".join([base, *parts])[:MAX_POINTER]
