"""Numbers and money as people write them. Decimal throughout: no amount ever passes through a float."""

import re
from dataclasses import dataclass
from decimal import Decimal

from agents.skills.normalizer.currencies import (
    DISPLAY_SYMBOLS,
    FRACTION_DIGITS,
    ISO_CODES,
    SHARED_SYMBOLS,
    SYMBOLS,
)

MAX_CHARACTERS = 60
_SYMBOL_CHOICE = "|".join(re.escape(symbol) for symbol in sorted(SYMBOLS, key=len, reverse=True))
_MONEY = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[-+\u2212])?\s*(?P<before>{_SYMBOL_CHOICE}|[A-Za-z]{{3}})?\s*(?P<inner>[-+\u2212])?\s*"
    rf"(?P<number>[0-9][0-9.,'\u2019\u00a0\u202f ]*|\.[0-9]+)\s*"
    rf"(?P<after>{_SYMBOL_CHOICE}|[A-Za-z]{{3}})?\s*(?P<close>\))?"
)
_SPACES = str.maketrans("", "", "'\u2019\u00a0\u202f ")
_GROUPED = re.compile(r"[0-9]{1,3}(?:['\u2019\u00a0\u202f ][0-9]{3})+(?:[.,][0-9]*)?|[0-9.,]+")
_SCIENTIFIC = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount with the currency that was written beside it, or "" where none was."""

    amount: Decimal
    currency: str
    symbol: str


def parse_number(text: str) -> Decimal | None:
    """Return the number that a text holds, with or without thousands separators; None if it holds none."""
    text = text.strip().replace("\u2212", "-")
    if not text or len(text) > MAX_CHARACTERS:
        return None
    if _SCIENTIFIC.fullmatch(text):
        return Decimal(text)
    digits = join_digits(text.lstrip("+-"))
    if digits is None or text[1:2] in ("+", "-"):
        return None
    return Decimal(digits).copy_negate() if text[0] == "-" else Decimal(digits)


def parse_money(text: str) -> Money | None:
    """Return the amount and currency that a text holds; None if it is not one amount or is ambiguous."""
    match = _MONEY.fullmatch(text.strip()) if len(text) <= MAX_CHARACTERS else None
    if match is None or bool(match["open"]) != bool(match["close"]) or (match["sign"] and match["inner"]):
        return None
    marks = [mark for mark in (match["before"], match["after"]) if mark]
    digits = join_digits(match["number"].strip(), dot_before_three_is_unclear=True)
    currencies = {SYMBOLS.get(mark) or mark.upper() for mark in marks}
    if digits is None or not currencies <= ISO_CODES or not _agree(marks, currencies):
        return None
    negative = bool(match["open"]) or (match["sign"] or match["inner"] or "+") != "+"
    code = next((mark.upper() for mark in marks if mark not in SYMBOLS), "")
    symbol = next((mark for mark in marks if mark in SYMBOLS), "")
    amount = Decimal(digits).copy_negate() if negative else Decimal(digits)  # a plain minus would round to 28 digits
    return Money(amount=amount, currency=code or SYMBOLS.get(symbol, ""), symbol="" if code else symbol)


def _agree(marks: list[str], currencies: set[str]) -> bool:
    """Say whether the marks before and after an amount mean one currency ("$5 CAD" does, "$5 EUR" does not)."""
    if len(currencies) < 2:
        return True
    codes = {mark.upper() for mark in marks if mark not in SYMBOLS}
    return len(codes) == 1 and all(codes <= SHARED_SYMBOLS.get(mark, frozenset()) for mark in marks if mark in SYMBOLS)


def join_digits(text: str, *, dot_before_three_is_unclear: bool = False) -> str | None:
    """Return written digits as a plain decimal: "1,234.5", "1.234,5" and "1 234,5" are all "1234.5".

    None where the separators make no sense, or where "1.234" may be either of two numbers and that matters.
    """
    if not _GROUPED.fullmatch(text):
        return None
    text = text.translate(_SPACES)
    decimal_mark = _find_decimal_mark(text)
    if decimal_mark is None:
        return None
    whole, _, fraction = text.rpartition(decimal_mark) if decimal_mark else (text, "", "")
    unclear = decimal_mark == "." and "," not in text and len(fraction) == 3 and whole.strip("0") != ""
    if dot_before_three_is_unclear and unclear and len(whole) <= 3:
        return None
    groups = re.split("[.,]", whole)
    if len(groups) > 1 and not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
        return None
    plain = "".join(groups) or "0"
    return f"{plain}.{fraction}" if fraction else plain


def _find_decimal_mark(text: str) -> str | None:
    """Return the decimal mark, "" where there is none, None where the marks contradict each other."""
    dots, commas = text.count("."), text.count(",")
    if dots and commas:
        last = max(".,", key=text.rfind)
        return last if text.count(last) == 1 else None
    if dots + commas == 0 or dots > 1 or commas > 1:
        return ""
    if dots:
        return "."
    return "" if len(text.rpartition(",")[2]) == 3 and not text.startswith(("0,", ",")) else ","


def count_fraction_digits(value: Decimal) -> int:
    """Return how many digits a decimal has after its point."""
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def write_amount(value: Decimal, currency: str) -> str:
    """Return an amount with at least its currency's fraction digits, and all digits that it has."""
    places = max(FRACTION_DIGITS.get(currency, 2), count_fraction_digits(value))
    return format(abs(value) if value == 0 else value, f".{places}f")


def write_for_people(amount: str, currency: str) -> str:
    """Return an amount grouped and with its symbol or code, as in "-$1,234.50" or "CHF 12.00"."""
    sign, digits = ("-", amount[1:]) if amount.startswith("-") else ("", amount)
    whole, dot, fraction = digits.partition(".")
    mark = DISPLAY_SYMBOLS.get(currency) or f"{currency} "
    return f"{sign}{mark}{int(whole):,}{dot}{fraction}"
