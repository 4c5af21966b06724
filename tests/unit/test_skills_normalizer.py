"""normalizer: one form for each type, and nothing lost on the way."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.skills.base import SkillContext, SkillError, dump
from agents.skills.normalizer import Normalizer, NormalizerInput, NormalizerOutput
from agents.skills.normalizer.amounts import parse_money, parse_number

CONTEXT = SkillContext(workspace=Path("/nowhere"), task_id="t", timeout_seconds=5)


def normalise(data: Any, schema: dict[str, Any], **options: Any) -> NormalizerOutput:
    return Normalizer().run(NormalizerInput.model_validate({"data": data, "schema": schema, **options}), CONTEXT)


def normalise_one(value: Any, **spec: Any) -> tuple[Any, list[str], list[str]]:
    """Return the value's form with the codes of the errors and of the warnings."""
    output = normalise({"x": value}, {"x": spec})
    assert isinstance(output.normalized, dict)
    return output.normalized["x"], [each.code for each in output.errors], [each.code for each in output.warnings]


class TestDates:
    @pytest.mark.parametrize(
        ("written", "day"),
        [
            ("2026-03-04", "2026-03-04"),
            ("3/4/2026", "2026-03-04"),
            ("03/04/26", "2026-03-04"),
            ("1/1/00", "2000-01-01"),
            ("12/31/99", "2099-12-31"),
            ("2/29/2024", "2024-02-29"),
            (" 2026-03-04 ", "2026-03-04"),
            ("2026-03-04T23:59:59+02:00", "2026-03-04"),
            ("20260304", "2026-03-04"),
        ],
    )
    def test_it_writes_the_day(self, written: str, day: str) -> None:
        value, errors, warnings = normalise_one(written, type="date")
        assert (value, errors) == (day, [])
        assert warnings == ([] if written == day else ["coerced"])

    @pytest.mark.parametrize(
        "written", ["2/30/2026", "13/1/2026", "0/5/2026", "4.3.2026", "soon", "3/4/126", 20260304, True]
    )
    def test_it_keeps_and_flags_what_is_no_day(self, written: Any) -> None:
        assert normalise_one(written, type="date") == (written, ["date_unparseable"], [])


class TestCurrency:
    @pytest.mark.parametrize(
        ("written", "amount", "currency", "formatted"),
        [
            ("$1,234.56", "1234.56", "USD", "$1,234.56"),
            ("1.234,56 €", "1234.56", "EUR", "€1,234.56"),
            ("€ 1 234,5", "1234.50", "EUR", "€1,234.50"),
            ("CHF 1'234.50", "1234.50", "CHF", "CHF 1,234.50"),
            ("(349.95)", "-349.95", "USD", "-$349.95"),
            ("-£5", "-5.00", "GBP", "-£5.00"),
            ("£-5", "-5.00", "GBP", "-£5.00"),
            ("¥1,000", "1000", "JPY", "¥1,000"),
            ("980 usd", "980.00", "USD", "$980.00"),
            ("$5 CAD", "5.00", "CAD", "CAD 5.00"),
            ("R$ 3.480,75", "3480.75", "BRL", "BRL 3,480.75"),
            ("$0.00", "0.00", "USD", "$0.00"),
            ("-0", "0.00", "USD", "$0.00"),
            ("1,234", "1234.00", "USD", "$1,234.00"),
            ("0.125", "0.125", "USD", "$0.125"),
            ("KWD 1.500,125", "1500.125", "KWD", "KWD 1,500.125"),
            (0, "0.00", "USD", "$0.00"),
            (0.1, "0.10", "USD", "$0.10"),
            (1999, "1999.00", "USD", "$1,999.00"),
            (1e15, "1000000000000000.00", "USD", "$1,000,000,000,000,000.00"),
        ],
    )
    def test_it_writes_a_decimal_amount(self, written: Any, amount: str, currency: str, formatted: str) -> None:
        value, errors, _ = normalise_one(written, type="currency")
        assert (value, errors) == ({"amount": amount, "currency": currency, "formatted": formatted}, [])

    @pytest.mark.parametrize(
        "written",
        [
            "to be agreed", "5 pcs", "$5 EUR", "1.234 €", "1,23,456", "1.2.3", "--5", "(5", "$", "12 34", "٣",
            "1e5", "$1,234.56.78", True, [], {"amount": "x", "currency": "USD"}, {"amount": 5}, "9" * 61, 1e-21,
            "1000000000000000000",
        ],
    )  # fmt: skip
    def test_it_keeps_and_flags_what_is_no_clear_amount(self, written: Any) -> None:
        value, errors, warnings = normalise_one(written, type="currency")
        assert value == written
        assert len(errors) == 1
        assert warnings == []

    def test_it_says_when_it_assumed_the_currency(self) -> None:
        value, _, warnings = normalise_one("12.5", type="currency", currency="EUR")
        assert value["currency"] == "EUR"
        assert warnings == ["coerced", "currency_assumed"]

    def test_it_reads_a_shared_symbol_as_the_fields_currency(self) -> None:
        value, _, warnings = normalise_one("$12.50", type="currency", currency="CAD")
        assert value["currency"] == "CAD"
        assert warnings == ["coerced"]


class TestNumbers:
    @pytest.mark.parametrize(
        ("written", "number"),
        [
            ("42", 42),
            (" -1,234.5 ", -1234.5),
            ("1.234,5", 1234.5),
            ("1e3", 1000),
            ("0", 0),
            (0, 0),
            (0.1, 0.1),
            ("+7", 7),
        ],
    )
    def test_it_writes_a_number(self, written: Any, number: float) -> None:
        value, errors, _ = normalise_one(written, type="number")
        assert (value, errors) == (number, [])
        assert isinstance(value, bool) is False

    @pytest.mark.parametrize("written", ["", "  ", None])
    def test_it_leaves_what_is_empty_and_never_makes_it_zero(self, written: Any) -> None:
        assert normalise_one(written, type="number") == (written, [], [])
        assert normalise_one(written, type="number", required=True) == (written, ["missing"], [])

    @pytest.mark.parametrize("written", ["abc", "12 pieces", "+-5", "5 %", True, [1], "Infinity", "NaN", "0x10"])
    def test_it_keeps_and_flags_what_is_no_number(self, written: Any) -> None:
        assert normalise_one(written, type="number") == (written, ["number_unparseable"], [])

    @pytest.mark.parametrize("written", ["9007199254740993", "0.1234567890123456789012", 2**60, "1e400"])
    def test_it_flags_what_json_cannot_hold_exactly(self, written: Any) -> None:
        assert normalise_one(written, type="number") == (written, ["number_not_exact"], [])

    def test_it_flags_what_is_out_of_bounds_and_zero_is_a_value(self) -> None:
        assert normalise_one("0", type="number", min=0, max=0)[0] == 0
        assert normalise_one(0, type="number", min=1)[:2] == (0, ["below_minimum"])
        assert normalise_one("11", type="number", max=10)[:2] == ("11", ["above_maximum"])


class TestTexts:
    def test_it_bounds_and_matches(self) -> None:
        spec = {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[A-Z]+$"}
        assert normalise_one("AB", **spec) == ("AB", [], [])
        assert normalise_one("A", **spec)[1] == ["too_short"]
        assert normalise_one("ABCDE", **spec)[1] == ["too_long"]
        assert normalise_one("abc", **spec)[1] == ["pattern_mismatch"]

    @pytest.mark.parametrize(("value", "text"), [(12, "12"), (True, "true"), (0, "0"), (1.5, "1.5")])
    def test_it_says_what_it_turned_into_text(self, value: Any, text: str) -> None:
        assert normalise_one(value, type="string") == (text, [], ["coerced"])

    def test_it_matches_any_pattern_in_linear_time(self) -> None:
        assert normalise_one("a" * 5_000 + "!", type="string", pattern="^(a+)+$")[1] == ["pattern_mismatch"]

    @pytest.mark.parametrize("pattern", ["(", "(?=a)", "\\1", "a" * 501])
    def test_it_refuses_patterns_that_are_none(self, pattern: str) -> None:
        with pytest.raises(ValidationError):
            normalise({}, {"x": {"type": "string", "pattern": pattern}})

    @pytest.mark.parametrize("written", ["A.User+tag@Example.ORG", " a@b.co ", "ü@bücher.example"])
    def test_it_lowers_mail_addresses(self, written: str) -> None:
        assert normalise_one(written, type="email")[:2] == (written.strip().lower(), [])

    @pytest.mark.parametrize(
        "written", ["a@b", "a b@c.de", "@c.de", "a@@c.de", "a@.de", "a@c..de", "a@c.de, d@e.fr", 5]
    )
    def test_it_flags_what_is_no_mail_address(self, written: Any) -> None:
        assert normalise_one(written, type="email") == (written, ["email_unparseable"], [])

    @pytest.mark.parametrize(("written", "value"), [("Yes", True), ("off", False), (1, True), (0, False), (True, True)])
    def test_it_reads_booleans(self, written: Any, *, value: bool) -> None:
        assert normalise_one(written, type="boolean")[:2] == (value, [])

    @pytest.mark.parametrize("written", ["maybe", 2, 1.0, []])
    def test_it_flags_what_is_no_boolean(self, written: Any) -> None:
        assert normalise_one(written, type="boolean") == (written, ["boolean_unparseable"], [])


class TestRecords:
    def test_it_takes_an_empty_object_and_an_empty_list(self) -> None:
        assert normalise({}, {"x": {"type": "date"}}).normalized == {}
        assert normalise([], {"x": {"type": "date"}}).normalized == []

    def test_it_keeps_fields_that_the_schema_does_not_name(self) -> None:
        assert normalise({"a": "3/4/26", "b": {"c": [1, None]}}, {}).normalized == {
            "a": "3/4/26",
            "b": {"c": [1, None]},
        }

    def test_it_says_which_record_and_field_it_means(self) -> None:
        output = normalise([{"d": "3/4/26"}, {"d": "x"}], {"d": {"type": "date"}})
        assert (output.errors[0].record, output.errors[0].field, output.errors[0].value) == (1, "d", "x")
        assert (output.warnings[0].record, output.warnings[0].value) == (0, "3/4/26")

    def test_it_flags_a_missing_field_only_where_one_is_required(self) -> None:
        output = normalise([{}, {"a": 1}], {"a": {"type": "number", "required": True}, "b": {"type": "date"}})
        assert [(note.record, note.code) for note in output.errors] == [(0, "missing")]
        assert output.normalized == [{}, {"a": 1}]

    def test_it_fails_in_strict_mode(self) -> None:
        with pytest.raises(SkillError, match="1 values") as failed:
            normalise({"d": "x"}, {"d": {"type": "date"}}, strict=True)
        assert (failed.value.code, failed.value.retryable) == ("strict_errors", False)
        assert normalise({"d": "3/4/26"}, {"d": {"type": "date"}}, strict=True).warnings

    @pytest.mark.parametrize(
        "body",
        [
            {"data": {}},
            {"schema": {}},
            {"data": "x", "schema": {}},
            {"data": [1], "schema": {}},
            {"data": {}, "schema": {"x": {}}},
            {"data": {}, "schema": {"x": {"type": "colour"}}},
            {"data": {}, "schema": {"x": "date"}},
            {"data": {}, "schema": {"x": {"type": "date", "min": 1}}},
            {"data": {}, "schema": {"x": {"type": "number", "min": 2, "max": 1}}},
            {"data": {}, "schema": {"": {"type": "date"}}},
            {"data": {}, "schema": {}, "strict": "yes"},
            {"data": {}, "schema": {}, "force": True},
            {"data": {"x": float("nan")}, "schema": {}},
            {"data": [{}] * 10_001, "schema": {}},
            {"data": {}, "schema": {f"f{n}": {"type": "date"} for n in range(201)}},
        ],
    )
    def test_it_refuses_input_of_another_shape(self, body: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            NormalizerInput.model_validate(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WRITTEN = st.from_regex(r"[-(+]?[$€£]? ?[0-9]{0,4}([.,' ][0-9]{1,4}){0,3} ?(EUR|USD)?\)?", fullmatch=True)
TYPES = st.sampled_from(["date", "currency", "number", "string", "email", "boolean"])


class TestProperties:
    @given(value=JSON | WRITTEN, kind=TYPES, required=st.booleans())
    def test_nothing_is_lost(self, value: Any, kind: str, *, required: bool) -> None:
        """A value comes out as it went in, or a note says so and holds the original."""
        output = normalise([{"x": value, "y": value}], {"x": {"type": kind, "required": required}})
        assert isinstance(output.normalized, list)
        record = output.normalized[0]
        assert isinstance(record, dict)
        assert record["y"] == value
        for note in [*output.errors, *output.warnings]:
            assert note.value == value
        if output.errors or not output.warnings:
            assert record["x"] == value

    @given(value=JSON | WRITTEN, kind=TYPES)
    def test_twice_is_as_good_as_once(self, value: Any, kind: str) -> None:
        first = normalise({"x": value}, {"x": {"type": kind}})
        second = normalise(first.normalized, {"x": {"type": kind}})
        assert second.normalized == first.normalized
        if not first.errors:
            assert (second.errors, second.warnings) == ([], [])

    @given(value=st.decimals(-(10**15), 10**15, places=2))
    def test_an_amount_reads_back_from_how_people_write_it(self, value: Any) -> None:
        written = f"{value:,.2f}"
        money = parse_money(f"${written}")
        assert money is not None
        assert money.amount == value
        assert parse_number(written) == value

    def test_no_digit_is_rounded_away(self) -> None:
        for written in ("-123456789012345678901234567890.5", "0.1234567890123456789012345678901234567890"):
            assert f"{parse_number(written):f}" == written
        money = parse_money("-$123456789012345.12345678901234567891")
        assert money is not None
        assert f"{money.amount:f}" == "-123456789012345.12345678901234567891"

    @given(value=JSON | WRITTEN, kind=TYPES)
    def test_the_output_is_json(self, value: Any, kind: str) -> None:
        output = dump(normalise({"x": value}, {"x": {"type": kind}}))
        assert NormalizerOutput.model_validate(output).normalized == output["normalized"]
