"""Dates, amounts of money and e-mail addresses in a text, by RE2: linear time, whatever the text."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import re2

from agents.skills.document_parser.extract import Extract, check_limit

MAX_ENTITIES = 50_000
CONTEXT_CHARACTERS = 40


class EntityType(StrEnum):
    """The kinds of entity."""

    DATE = "date"
    MONEY = "money"
    EMAIL = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityText:
    """One thing found, with the text around it."""

    type: EntityType
    value: str
    context: str


_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_YEAR = r"[0-9]{4}"
_DATES = (
    rf"{_YEAR}-(?:0[1-9]|1[0-2])-{_DAY}",
    rf"{_DAY}/{_DAY}/(?:{_YEAR}|[0-9]{{2}})",
    rf"{_DAY}\.{_DAY}\.{_YEAR}",
    rf"{_DAY} {_MONTH}\.? {_YEAR}",
    rf"{_MONTH}\.? {_DAY}(?:st|nd|rd|th)?,? {_YEAR}",
)
_NUMBER = r"(?:[0-9]{1,3}(?:[,.' ][0-9]{3})+(?:[.,][0-9]{1,2})?|[0-9]{1,15}(?:[.,][0-9]{1,2})?)"
_CODE = r"(?:USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|INR|SEK|NOK|DKK|PLN|CZK|BRL|MXN|ZAR|SGD|HKD)"
_MONEYS = (
    rf"-?(?:[A-Z]{{1,2}})?[$€£¥₹] ?{_NUMBER}",
    rf"\b{_CODE} ?{_NUMBER}",
    rf"{_NUMBER} ?(?:€|£|zł|{_CODE}\b)",
)
_EMAIL = r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
_PATTERN = re2.compile(rf"(?P<email>\b{_EMAIL}\b)|(?P<date>\b(?:{'|'.join(_DATES)})\b)|(?P<money>{'|'.join(_MONEYS)})")


def find_entities(extract: Extract) -> list[EntityText]:
    """Return what a document holds, each value once with the place where it stood first.

    Raises: LimitExceeded `entities`.
    """
    found: dict[tuple[EntityType, str], EntityText] = {}
    for text in _list_texts(extract):
        for entity in find_in_text(text):
            found.setdefault((entity.type, entity.value), entity)
        check_limit("entities", len(found), MAX_ENTITIES)
    return list(found.values())


def _list_texts(extract: Extract) -> Iterable[str]:
    yield from (block.content for block in extract.blocks)
    for table in extract.tables:
        for row in [table.headers, *table.rows]:
            yield " | ".join(row)


def find_in_text(text: str) -> Iterator[EntityText]:
    """Yield the entities of one text, in order."""
    for match in _PATTERN.finditer(text):
        start, end = match.span()
        around = text[max(0, start - CONTEXT_CHARACTERS) : end + CONTEXT_CHARACTERS]
        yield EntityText(type=EntityType(match.lastgroup), value=match.group(), context=" ".join(around.split()))
