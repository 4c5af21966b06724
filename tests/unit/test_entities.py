"""What documentParser finds in texts, measured on labelled ones: what it finds is right, and it finds what is there."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.skills.document_parser.entities import find_in_text, find_readings
from agents.skills.document_parser.extract import EntityType
from agents.skills.document_parser.iban import is_iban

CORPUS = Path(__file__).with_name("entities.txt")
LABEL = re.compile(r"\[\[([a-z]+):(.+?)\]\]")
FLOOR = 0.97  # of precision and of recall, over all
KIND_FLOOR = 0.9  # and for each kind

Found = tuple[str, int, int]


def read_corpus() -> list[tuple[str, set[Found]]]:
    lines = CORPUS.read_text().splitlines()
    return [read_labels(line) for line in lines if line and not line.startswith("#")]


def read_labels(line: str) -> tuple[str, set[Found]]:
    text, labels = "", set()
    place = 0
    for label in LABEL.finditer(line):
        text += line[place : label.start()]
        labels.add((label[1], len(text), len(text) + len(label[2])))
        text += label[2]
        place = label.end()
    return text + line[place:], labels


def find(text: str) -> set[Found]:
    return {(type_.value, reading.start, reading.end) for type_, reading in find_readings(text)}


def test_the_corpus_is_worth_measuring_on() -> None:
    kinds = Counter(kind for _, labels in read_corpus() for kind, _, _ in labels)
    assert set(kinds) == {kind.value for kind in EntityType}
    assert sum(kinds.values()) >= 100
    assert min(kinds.values()) >= 4


@pytest.mark.parametrize("kind", ["", *EntityType])
def test_it_finds_what_is_there_and_nothing_else(kind: str) -> None:
    right = wrong = missed = 0
    for text, labels in read_corpus():
        wanted = {label for label in labels if kind in ("", label[0])}
        found = {one for one in find(text) if kind in ("", one[0])}
        right, wrong, missed = right + len(wanted & found), wrong + len(found - wanted), missed + len(wanted - found)
    floor = KIND_FLOOR if kind else FLOOR
    assert right / (right + wrong) >= floor, "precision"
    assert right / (right + missed) >= floor, "recall"


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("3/4/26", "2026-03-04"),
        ("31/12/2025", None),
        ("12.03.2026", "2026-03-12"),
        ("Mar. 5th, 2026", "2026-03-05"),
        ("2026-03-19T23:00:00+02:00", "2026-03-19"),
        ("4.318,50 €", "4318.50 EUR"),
        ("($1,234.50)", "-1234.50 USD"),
        ("\u2212€5.00", "-5.00 EUR"),
        ("$7 CAD", "7.00 CAD"),
        ("€2.5bn", "2500000000.00 EUR"),
        ("3.4 million USD", "3400000.00 USD"),
        ("¥12,000", "12000 JPY"),
        ("$1.234", None),
        ("4,25 %", "4.25"),
        ("-0.5%", "-0.5"),
        ("Sales@Kestrel.example", "sales@kestrel.example"),
        ("+49 (0)421 555012", "+49421555012"),
        ("0049 421 555 01 23", "+494215550123"),
        ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("https://Example.org/A", None),
    ],
)
def test_it_brings_values_to_one_form(text: str, normalized: str | None) -> None:
    (entity,) = find_in_text(text)
    assert (entity.value, entity.normalized) == (text, normalized)


def test_it_gives_the_text_around() -> None:
    (entity,) = find_in_text("x" * 100 + " pay\n$5.00 now " + "y" * 100)
    assert "pay $5.00 now" in entity.context
    assert len(entity.context) <= 90


@given(st.text(alphabet="$€-(). ,/0123456789EURUSDMarInv#+@:%&GmbHKLtd|\n\u00a0é", max_size=60))
def test_no_stretch_is_counted_twice_and_order_is_kept(text: str) -> None:
    readings = [reading for _, reading in find_readings(text)]
    assert all(0 <= one.start < one.end <= len(text) for one in readings)
    assert all(one.end <= other.start for one, other in pairwise(readings))


@pytest.mark.parametrize("change", range(2, 22))
def test_a_bank_account_with_one_wrong_figure_is_none(change: int) -> None:
    number = "DE89370400440532013000"
    wrong = number[:change] + str((int(number[change]) + 1) % 10) + number[change + 1 :]
    assert is_iban(number)
    assert not is_iban(wrong)
