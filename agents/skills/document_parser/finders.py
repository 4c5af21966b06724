"""How each kind of entity is found: a pattern that proposes, and a reading that takes or refuses what it proposes.

The patterns are RE2's: linear time, whatever the text. Values are brought to one form by the normalizer's own
functions, so that what this skill finds and what that one writes are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import re2

from agents.skills.document_parser.extract import EntityType
from agents.skills.document_parser.iban import LENGTHS, is_iban
from agents.skills.document_parser.organisations import LEGAL_FORM, MAX_NAME_CHARACTERS, find_name
from agents.skills.normalizer.amounts import parse_money, parse_number, write_amount
from agents.skills.normalizer.currencies import ISO_CODES, SYMBOLS
from agents.skills.normalizer.fields import normalise_value
from agents.skills.normalizer.specs import DateSpec, EmailSpec

SPACES = " \u00a0\u202f"
QUOTE = "\u2019"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where an entity stands in its text, and its one form, if it has one."""

    start: int
    end: int
    normalized: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """One kind of entity."""

    type: EntityType
    pattern: Any
    read: Callable[[str, Any], Reading | None]  # of the whole text and a match in it


def _stands_alone(text: str, start: int, end: int, *, before: str = "", after: str = "") -> bool:
    """Say whether a stretch is no part of a longer word or number; `before` and `after` may not stand beside it."""
    left, right, beyond = text[start - 1 : start], text[end : end + 1], text[end + 1 : end + 2]
    if left.isalnum() or right.isalnum() or (left and left in before) or (right and right in after):
        return False
    goes_on = right in (".", ",") and beyond.isdigit()
    return not goes_on and not (text[start].isdigit() and left in (".", ",") and text[start - 2 : start - 1].isdigit())


# --- addresses ------------------------------------------------------------------------------------------------
_URL = r"(?i)\b(?:https?://[a-z0-9\p{L}]|www\.[a-z0-9-]+\.)[^\s<>\"`{}|\\^]*"
_EMAIL = r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"


def _read_url(text: str, match: Any) -> Reading | None:
    written = match.group()
    while written[-1] in f".,;:!?'{QUOTE}*_" or (
        written[-1] in ")]" and written.count(written[-1]) > _count_open(written)
    ):
        written = written[:-1]
    return Reading(start=match.start(), end=match.start() + len(written))


def _count_open(written: str) -> int:
    return written.count({")": "(", "]": "["}[written[-1]])


def _read_email(text: str, match: Any) -> Reading | None:
    value, findings = normalise_value(match.group(), EmailSpec(type="email"))
    if any(finding.is_error for finding in findings):
        return None
    return Reading(start=match.start(), end=match.end(), normalized=value)


# --- bank accounts and telephones -----------------------------------------------------------------------------
_IBAN = rf"\b[A-Z]{{2}}[0-9]{{2}}(?:[{SPACES}]?[A-Z0-9]){{11,30}}"
_PHONE = rf"(?:\+[{SPACES}]?|\b00[{SPACES}]?)[1-9][0-9]{{0,2}}(?:[{SPACES}./()-]{{0,3}}[0-9]){{6,13}}"
_DOTTED_NUMBER = re2.compile(r"\+?[0-9]{1,3}(?:\.[0-9]{3})+")


def _read_iban(text: str, match: Any) -> Reading | None:
    compact, end = "", match.start()
    while len(compact) < LENGTHS.get(match.group()[:2], 0) and end < match.end():
        compact += text[end].strip(SPACES)
        end += 1
    if not is_iban(compact) or not _stands_alone(text, match.start(), end):
        return None
    return Reading(start=match.start(), end=end, normalized=compact)


def _read_phone(text: str, match: Any) -> Reading | None:
    written = match.group()
    digits = "".join(filter(str.isdigit, written.replace("(0)", "")))
    if written.startswith("00"):
        digits = digits[2:]
        if written.isdigit() or text[: match.start()].rstrip(SPACES)[-1:].isdigit():
            return None  # zeros before a number, or the middle of one
    alone = _stands_alone(text, match.start(), match.end(), before="+-", after="-/")
    if not alone or not 8 <= len(digits) <= 15 or _DOTTED_NUMBER.fullmatch(written):
        return None
    return Reading(start=match.start(), end=match.end(), normalized=f"+{digits}")


# --- dates ----------------------------------------------------------------------------------------------------
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    r"|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>[12][0-9]{3})"
_TIME = r"(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
_NUMERIC_DATE = (
    rf"\b(?:[12][0-9]{{3}}-[0-9]{{2}}-[0-9]{{2}}{_TIME}|[0-9]{{1,2}}/[0-9]{{1,2}}/(?:[12][0-9]{{3}}|[0-9]{{2}}))"
)
_DOTTED_DATE = rf"\b(?P<day>[0-9]{{1,2}})\. ?(?P<month>[0-9]{{1,2}})\. ?{_YEAR}"
_DAY_FIRST = rf"\b{_DAY} (?:of )?{_MONTH},? {_YEAR}"
_MONTH_FIRST = rf"\b{_MONTH} {_DAY},? {_YEAR}"


def _read_numeric_date(text: str, match: Any) -> Reading | None:
    if not _is_whole_date(text, match):
        return None
    value, findings = normalise_value(match.group(), DateSpec(type="date"))
    if not any(finding.is_error for finding in findings):
        return Reading(start=match.start(), end=match.end(), normalized=value)
    day, slash, rest = match.group().partition("/")
    if slash and _find_day(rest.partition("/")[2].zfill(4), rest.partition("/")[0], day):
        return Reading(start=match.start(), end=match.end())  # day/month/year, which the normalizer does not read
    return None


def _read_date(text: str, match: Any) -> Reading | None:
    month = match["month"]
    number = month if month.isdigit() else str(_MONTHS.index(month[:3].lower()) + 1)
    day = _find_day(match["year"], number, match["day"])
    if day is None or not _is_whole_date(text, match):
        return None
    return Reading(start=match.start(), end=match.end(), normalized=day.isoformat())


def _is_whole_date(text: str, match: Any) -> bool:
    return _stands_alone(text, match.start(), match.end(), before="-/._", after="-/_")


def _find_day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year) or 2000, int(month), int(day))
    except ValueError:
        return None


# --- amounts --------------------------------------------------------------------------------------------------
_WORDS = frozenset({"ALL", "BAM", "BOB", "COP", "CUP", "GEL", "MAD", "MOP", "PEN", "RON", "SOS", "TOP", "TRY", "LAK"})
_SYMBOL = "|".join(re2.escape(symbol) for symbol in sorted(SYMBOLS, key=len, reverse=True))
_CODE = "|".join(sorted(ISO_CODES - _WORDS))
_SIGN = "[-+\u2212]"
_NUMBER = (
    rf"\b(?:[0-9]{{1,3}}(?:[,.'{QUOTE}{SPACES}][0-9]{{3}})+(?:[.,][0-9]{{1,2}})?|[0-9]{{1,15}}(?:[.,][0-9]{{1,4}})?)"
)
_SCALES = {"thousand": 3, "k": 3, "million": 6, "mn": 6, "m": 6, "billion": 9, "bn": 9, "trillion": 12}
_SCALE = rf"(?:[{SPACES}]?(?P<scale>thousand|million|mn|billion|bn|trillion)\b|(?P<letter>[kKmM])\b)?"
_GAP = rf"[{SPACES}]?"
_MARK = rf"(?:(?:{_SYMBOL})|(?:{_CODE})\b)"
_CODE_FIRST = rf"(?P<sign>{_SIGN})?(?P<core>\b(?:{_CODE}){_GAP}{_SIGN}?{_NUMBER}){_SCALE}"
_AMOUNT = (
    rf"(?P<sign>{_SIGN})?(?P<core>(?:{_SYMBOL}){_GAP}{_SIGN}?{_NUMBER}(?:{_GAP}(?:{_CODE})\b)?"
    rf"|{_NUMBER}{_GAP}{_MARK}){_SCALE}"
)
_SCALED_AMOUNT = rf"(?P<sign>{_SIGN})?(?P<core>{_NUMBER}){_SCALE}{_GAP}(?P<mark>{_MARK})"
_LEADING_MARK = re2.compile(rf"^{_GAP}{_MARK}")
_PERCENT = rf"(?P<sign>{_SIGN})?(?P<core>{_NUMBER}){_GAP}(?:%|(?i:per ?cent)\b)"
_LOSS = re2.compile(r"(?i)(?:^|[|:=\n]|\b(?:loss|deficit|balance|total|net|result|credit|of|by))[\s(]*$")


def _read_scaled(text: str, match: Any) -> Reading | None:
    return _read_money(text, match, mark=match["mark"])


def _read_money(text: str, match: Any, mark: str = "") -> Reading | None:
    end = match.end()
    negative, start = _read_sign(text, match)
    if not _stands_alone(text, start, end, before="$€£¥"):
        return None
    if text[start - 1 : start] == "(" and text[end : end + 1] == ")" and _LOSS.search(text[max(0, start - 24) : start]):
        negative, start, end = True, start - 1, end + 1
    money = parse_money(match["core"] + mark)
    if money is None:
        return Reading(start=start, end=end)
    amount = money.amount * Decimal(10) ** _SCALES.get((match["scale"] or match["letter"] or "").lower(), 0)
    written = write_amount(amount.copy_negate() if negative else amount, money.currency)
    return Reading(start=start, end=end, normalized=f"{written} {money.currency}")


def _read_code_first(text: str, match: Any) -> Reading | None:
    """Leave "7 EUR 8 EUR" to the reading that takes the codes after the numbers."""
    return None if _LEADING_MARK.search(text[match.end() : match.end() + 5]) else _read_money(text, match)


def _read_percent(text: str, match: Any) -> Reading | None:
    negative, start = _read_sign(text, match)
    number = parse_number(match["core"])
    if number is None or not _stands_alone(text, start, match.end()):
        return None
    return Reading(start=start, end=match.end(), normalized=f"{number.copy_negate() if negative else number:f}")


def _read_sign(text: str, match: Any) -> tuple[bool, int]:
    """Return whether an amount is negative, and where it starts: after a figure a line is a dash, as in "5-10 %"."""
    if not match["sign"]:
        return False, match.start()
    left = text[match.start() - 1 : match.start()]
    if left.isalnum() or left in tuple("$€£¥%)"):
        return False, match.start() + 1
    return match["sign"] != "+", match.start()


# --- references -----------------------------------------------------------------------------------------------
_LABEL = (
    r"invoice|inv|purchase order|po|order|reference|ref|ticket|contract|case|customer|account|quotation|quote|offer"
    r"|credit note|delivery note|policy|rma|tracking|shipment|receipt|rechnung|auftrag|bestellung"
)
_REFERENCE = (
    rf"\b(?P<label>(?i:{_LABEL}))\b\.?(?P<mark>(?i:[{SPACES}](?:no|nr|number|num|id|code)\b\.?)?[{SPACES}]?[:#№]*)"
    rf"[{SPACES}]?(?P<value>[A-Za-z0-9][A-Za-z0-9/_.-]{{1,39}})"
)
_CODED = r"\b(?P<value>(?:INV|PO|SO|REF|ORD|CN|RMA|TKT|QUO|WO)[-/#][A-Z0-9/-]*[0-9][A-Z0-9/-]*)"
_STRONG = frozenset({"invoice", "inv", "po", "ref", "rma", "rechnung"})
_YEARLIKE = re2.compile(r"(?:19|20)[0-9]{2}")


def _read_reference(text: str, match: Any) -> Reading | None:
    value = match["value"].rstrip("/_.-")
    start = match.end() - len(match["value"])
    is_marked = bool(match["mark"].strip(SPACES))
    if len(value) < 3 or not any(map(str.isdigit, value)) or not (is_marked or _is_reference(match["label"], value)):
        return None
    if not _stands_alone(text, start, start + len(value), after="%€$£@"):
        return None
    return Reading(start=start, end=start + len(value), normalized=value.upper())


def _is_reference(label: str, value: str) -> bool:
    """Say whether a value is one even with no "no." or "#" before it."""
    if value.isdigit():
        return label.lower() in _STRONG and not _YEARLIKE.fullmatch(value)
    return (
        value[0].isupper() or "/" in value or ("-" in value and not value.endswith(tuple("abcdefghijklmnopqrstuvwxyz")))
    )


def _read_coded(text: str, match: Any) -> Reading | None:
    value = match["value"].rstrip("/-")
    end = match.start() + len(value)
    return Reading(start=match.start(), end=end, normalized=value) if _stands_alone(text, match.start(), end) else None


def _read_organisation(text: str, match: Any) -> Reading | None:
    name = find_name(text[max(0, match.start() - MAX_NAME_CHARACTERS - 1) : match.start()], match["form"])
    if name is None or not _stands_alone(text, match.start() - len(name), match.end()):
        return None
    return Reading(start=match.start() - len(name), end=match.end())


def _finder(type_: EntityType, pattern: str, read: Callable[[str, Any], Reading | None]) -> Finder:
    return Finder(type=type_, pattern=re2.compile(pattern), read=read)


# What an earlier one takes, no later one sees: the digits of a bank account are no telephone.
FINDERS = (
    _finder(EntityType.URL, _URL, _read_url),
    _finder(EntityType.EMAIL, _EMAIL, _read_email),
    _finder(EntityType.IBAN, _IBAN, _read_iban),
    _finder(EntityType.REFERENCE, _CODED, _read_coded),
    _finder(EntityType.DATE, _NUMERIC_DATE, _read_numeric_date),
    _finder(EntityType.DATE, _DOTTED_DATE, _read_date),
    _finder(EntityType.DATE, _DAY_FIRST, _read_date),
    _finder(EntityType.DATE, _MONTH_FIRST, _read_date),
    _finder(EntityType.MONEY, _CODE_FIRST, _read_code_first),
    _finder(EntityType.MONEY, _SCALED_AMOUNT, _read_scaled),
    _finder(EntityType.MONEY, _AMOUNT, _read_money),
    _finder(EntityType.PERCENT, _PERCENT, _read_percent),
    _finder(EntityType.PHONE, _PHONE, _read_phone),
    _finder(EntityType.REFERENCE, _REFERENCE, _read_reference),
    _finder(EntityType.ORGANISATION, LEGAL_FORM, _read_organisation),
)
