"""Canonical bytes against RFC 8785's own implementation, and what a leaf covers."""

from enum import StrEnum
from hashlib import sha256
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import MAX_INTEGER, canonical_bytes
from audit.proof.leaves import PUBLIC_KEYS, is_erased, is_whole, leaf_bytes, private_digest, seal
from audit.proof.merkle import hash_leaf
from audit.wire import Document, format_at, read_body, to_wire

text = st.text(st.characters(exclude_categories=["Cs"]))
ascii_key = st.text(st.characters(max_codepoint=127))
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(ascii_key, inner), max_leaves=30)


class Word(StrEnum):
    DENY = "deny"


def make_event(**changes: Any) -> Document:
    """Return a sealed document, as the sequencer makes it."""
    document: Document = {
        "_id": "id-7", "type": "task.submitted", "at": "2026-11-23T22:35:00.000001Z", "actor": "user:olga",
        "taskId": "t-7", "agentId": None, "skillId": None, "decision": None, "reason": None, "traceId": "trace",
        "causeId": None, "writer": "w", "writerSeq": 3, "body": canonical_bytes({"text": "é\u2028\0"}).decode(),
    }  # fmt: skip
    document |= changes
    seal(document, seq=7, salt="ab" * 16)
    return document


@given(json_values)
def test_canonical_bytes_equal_rfc_8785(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@given(st.dictionaries(ascii_key, json_values))
def test_a_leaf_covers_the_rfc_8785_form_of_the_event_and_of_its_private_part(body: dict[str, Any]) -> None:
    document = make_event(body=canonical_bytes(body).decode())
    private = {"salt": "ab" * 16, "actor": "user:olga", "body": body}
    assert document["private"] == sha256(rfc8785.dumps(private)).hexdigest()
    public = {key: document.get(key) for key in PUBLIC_KEYS} | {"id": "id-7"}
    assert leaf_bytes(document) == rfc8785.dumps(public)
    assert document["hash"] == hash_leaf(rfc8785.dumps(public)).hex()
    assert to_wire(document)["body"] == body


@pytest.mark.parametrize(
    "value",
    [
        1.0, float("nan"), 2**53, -(2**53), {"é": 1}, {1: "a"}, {"a": object()}, "\ud800", b"bytes", {"a": {1, 2}},
        {"a": [{"b": 0.5}]},
    ],
)  # fmt: skip
def test_canonical_bytes_refuses_what_has_no_one_form(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_bytes(value)


def test_canonical_bytes_refuses_depth_before_the_stack_ends() -> None:
    deep: Any = "leaf"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested"):
        canonical_bytes(deep)


def test_canonical_bytes_writes_vocabulary_as_its_value() -> None:
    assert canonical_bytes({"effect": Word.DENY, "pair": ("a", "b")}) == b'{"effect":"deny","pair":["a","b"]}'


@pytest.mark.parametrize(
    "key",
    ["_id", "type", "at", "actor", "taskId", "agentId", "decision", "reason", "traceId", "writer", "salt", "private"],
)
def test_an_edit_of_any_field_is_found(key: str) -> None:
    assert is_whole(make_event())
    assert not is_whole(make_event() | {key: "forged"})
    assert not is_whole(make_event() | {"body": '{"number":3}'})
    assert not is_whole(make_event() | {"seq": 8})


def test_a_field_of_a_foreign_type_is_an_edit_not_a_crash() -> None:
    assert not is_whole(make_event() | {"body": {1, 2}})
    assert not is_whole(make_event() | {"seq": b"7"})


def test_erasing_leaves_the_leaf_whole_and_the_digest_tells_nothing() -> None:
    erased = make_event() | {"salt": None, "actor": None, "body": None}
    assert is_erased(erased)
    assert is_whole(erased)
    assert not is_whole(erased | {"actor": "user:mallory"})
    same = [private_digest(make_event() | {"salt": salt}) for salt in ("00" * 16, "11" * 16)]
    assert same[0] != same[1]


def test_wire_form_has_the_contracted_fields_and_nulls() -> None:
    wire = to_wire(make_event())
    assert list(wire) == [
        "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "traceId",
        "causeId", "body", "hash",
    ]  # fmt: skip
    assert wire["decision"] is None
    assert orjson.loads(orjson.dumps(wire))["id"] == "id-7"


def test_an_unreadable_body_is_shown_as_it_is() -> None:
    assert read_body('{"a":') == {"unreadable": '{"a":'}
    assert read_body(None) is None


def test_times_have_microseconds_and_z() -> None:
    from datetime import UTC, datetime, timedelta, timezone

    at = datetime(2026, 11, 23, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert format_at(at) == "2026-11-22T23:02:03.000000Z"
    assert format_at(datetime(2026, 1, 1)) == "2026-01-01T00:00:00.000000Z"  # noqa: DTZ001
    assert format_at(datetime(2026, 1, 1, tzinfo=UTC)) < format_at(datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
