"""How one value is brought to the form of its field."""

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

from agents.skills.normalizer.amounts import (
    Money,
    count_fraction_digits,
    parse_money,
    parse_number,
    write_amount,
    write_for_people,
)
from agents.skills.normalizer.currencies import SHARED_SYMBOLS
from agents.skills.normalizer.findings import Finding, coercion, error
from agents.skills.normalizer.specs import (
    BooleanSpec,
    CurrencySpec,
    DateSpec,
    EmailSpec,
    FieldSpec,
    NumberSpec,
    StringSpec,
    compile_pattern,
)

Normalised = tuple[Any, list[Finding]]

_MAX_EXACT_INTEGER = 2**53
_MAX_AMOUNT = Decimal(10) ** 18
_MAX_FRACTION_DIGITS = 20
_SLASHED_DATE = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}|[0-9]{2})")
_MAILBOX = re.compile(r"[^\s@<>()\[\],;:\"\\]{1,64}")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W_]{2,63}")
_MAX_EMAIL_CHARACTERS = 254
_BOOLEANS = dict.fromkeys(("true", "yes", "y", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "off", "0"), False
)


def normalise_value(value: JsonValue, spec: FieldSpec) -> Normalised:
    """Return a value in its field's form, with what was noticed; after an error the value is the original."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return value, [error("missing", "A value is required here.")] if spec.required else []
    return _NORMALISERS[type(spec)](value, spec)


def _normalise_date(value: JsonValue, spec: DateSpec) -> Normalised:
    if not isinstance(value, str):
        return value, [error("date_unparseable", "A date is written as text.")]
    text = value.strip()
    try:
        day = _parse_slashed(text) or datetime.fromisoformat(text).date()
    except ValueError:
        return value, [error("date_unparseable", "Not an ISO 8601 or month/day/year date that exists.")]
    written = day.isoformat()
    return written, [] if written == value else [coercion(f"Written as the day {written}.")]


def _parse_slashed(text: str) -> date | None:
    match = _SLASHED_DATE.fullmatch(text)
    if match is None:
        return None
    month, day, year = (int(part) for part in match.groups())
    return date(year + 2000 if len(match[3]) == 2 else year, month, day)


def _normalise_currency(value: JsonValue, spec: CurrencySpec) -> Normalised:
    money = _read_money(value)
    if money is None:
        return value, [error("currency_unparseable", "Not one clear amount of money.")]
    if abs(money.amount) >= _MAX_AMOUNT or count_fraction_digits(money.amount) > _MAX_FRACTION_DIGITS:
        return value, [error("out_of_range", "An amount is below 10^18 and has at most 20 digits after the point.")]
    currency, assumed = _settle_currency(money, spec)
    amount = write_amount(money.amount, currency)
    written = {"amount": amount, "currency": currency, "formatted": write_for_people(amount, currency)}
    if written == value:
        return value, []
    findings = [coercion(f"Written as {amount} {currency}.")]
    if assumed:
        findings.append(coercion(f"No currency was named; {currency} was assumed.", code="currency_assumed"))
    return written, findings


def _read_money(value: JsonValue) -> Money | None:
    if isinstance(value, str):
        return parse_money(value)
    if isinstance(value, dict):
        return _read_money_object(value)
    number = _read_number(value)
    return None if number is None else Money(amount=number, currency="", symbol="")


def _read_money_object(value: dict[str, JsonValue]) -> Money | None:
    """Read what this skill itself writes, so that normalising twice changes nothing."""
    amount, currency = value.get("amount"), value.get("currency")
    if set(value) - {"amount", "currency", "formatted"} or not isinstance(currency, str) or len(currency) != 3:
        return None
    number = parse_number(amount) if isinstance(amount, str) else _read_number(amount)
    return None if number is None else Money(amount=number, currency=currency.upper(), symbol="")


def _settle_currency(money: Money, spec: CurrencySpec) -> tuple[str, bool]:
    """Return the currency, and whether it had to be assumed."""
    if spec.currency in SHARED_SYMBOLS.get(money.symbol, ()):
        return spec.currency, False
    return money.currency or spec.currency, not money.currency


def _read_number(value: JsonValue) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value))


def _normalise_number(value: JsonValue, spec: NumberSpec) -> Normalised:
    number = parse_number(value) if isinstance(value, str) else _read_number(value)
    if number is None:
        return value, [error("number_unparseable", "Not a number.")]
    written = _write_number(number)
    if written is None:
        return value, [error("number_not_exact", "JSON's numbers cannot hold this one exactly.")]
    if spec.min is not None and written < spec.min:
        return value, [error("below_minimum", f"Below the minimum of {spec.min:g}.")]
    if spec.max is not None and written > spec.max:
        return value, [error("above_maximum", f"Above the maximum of {spec.max:g}.")]
    return written, [coercion(f"Written as the number {written}.")] if isinstance(value, str) else []


def _write_number(number: Decimal) -> int | float | None:
    """Return the JSON number that means exactly this decimal, None if there is none."""
    if abs(number) >= _MAX_EXACT_INTEGER:
        return None
    if number == number.to_integral_value():
        return int(number)
    rounded = float(number)
    return rounded if Decimal(repr(rounded)) == number else None


def _normalise_string(value: JsonValue, spec: StringSpec) -> Normalised:
    if isinstance(value, dict | list):
        return value, [error("string_unparseable", "A list or an object is not a text.")]
    text, findings = value, list[Finding]()
    if not isinstance(text, str):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        findings.append(coercion(f"Written as the text {text[:40]!r}."))
    if spec.min_length is not None and len(text) < spec.min_length:
        return value, [error("too_short", f"Shorter than {spec.min_length} characters.")]
    if spec.max_length is not None and len(text) > spec.max_length:
        return value, [error("too_long", f"Longer than {spec.max_length} characters.")]
    if spec.pattern is not None and not compile_pattern(spec.pattern).search(text):
        return value, [error("pattern_mismatch", "Does not match the field's pattern.")]
    return text, findings


def _normalise_email(value: JsonValue, spec: EmailSpec) -> Normalised:
    text = value.strip() if isinstance(value, str) else ""
    mailbox, _, domain = text.rpartition("@")
    if len(text) > _MAX_EMAIL_CHARACTERS or not _MAILBOX.fullmatch(mailbox) or not _DOMAIN.fullmatch(domain):
        return value, [error("email_unparseable", "Not an e-mail address.")]
    written = text.lower()
    return written, [] if written == value else [coercion("Written in lower case.")]


def _normalise_boolean(value: JsonValue, spec: BooleanSpec) -> Normalised:
    if isinstance(value, bool):
        return value, []
    found = _BOOLEANS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if found is None:
        return value, [error("boolean_unparseable", "Neither true nor false.")]
    return found, [coercion(f"Read as {'true' if found else 'false'}.")]


_NORMALISERS: dict[type, Callable[[JsonValue, Any], Normalised]] = {
    DateSpec: _normalise_date,
    CurrencySpec: _normalise_currency,
    NumberSpec: _normalise_number,
    StringSpec: _normalise_string,
    EmailSpec: _normalise_email,
    BooleanSpec: _normalise_boolean,
}
