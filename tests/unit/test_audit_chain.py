"""The chain is pure: canonical bytes against RFC 8785's own implementation, and every way to break a chain."""

import copy
from enum import StrEnum
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.chain import GENESIS_HASH, MAX_INTEGER, Problem, canonical_bytes, check_chain, event_hash
from audit.wire import format_at, hashed_fields, read_body, seal, to_wire

text = st.text(st.characters(exclude_categories=["Cs"]))
ascii_key = st.text(st.characters(max_codepoint=127))
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text
json_values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(ascii_key, inner), max_leaves=30)


class Word(StrEnum):
    DENY = "deny"


def make_chain(length: int) -> list[dict[str, Any]]:
    """Return documents numbered from 1, as the sequencer makes them."""
    chain: list[dict[str, Any]] = []
    prev_hash = GENESIS_HASH
    for seq in range(1, length + 1):
        document = {
            "_id": f"id-{seq}", "type": "task.submitted", "at": "2026-11-23T22:35:00.000001Z", "actor": "user:olga",
            "taskId": f"t-{seq}", "agentId": None, "skillId": None, "decision": None, "reason": None,
            "body": canonical_bytes({"number": seq, "text": "é\u2028\0"}).decode(),
        }  # fmt: skip
        prev_hash = seal(document, seq=seq, prev_hash=prev_hash)
        chain.append(document)
    return chain


def entries(chain: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [hashed_fields(d) | {"prevHash": d["prevHash"], "hash": d["hash"]} for d in chain]


@given(json_values)
def test_canonical_bytes_equal_rfc_8785(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@given(st.dictionaries(ascii_key, json_values))
def test_event_hash_covers_the_rfc_8785_form_of_the_wire_event(body: dict[str, Any]) -> None:
    import hashlib

    document = make_chain(1)[0] | {"body": canonical_bytes(body).decode()}
    seal(document, seq=7, prev_hash="ab" * 32)
    wire = to_wire(document)
    claimed = wire.pop("hash")
    assert wire["body"] == body
    assert hashlib.sha256(rfc8785.dumps(wire | {"prevHash": "ab" * 32})).hexdigest() == claimed


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


def test_a_sound_chain_holds() -> None:
    chain = make_chain(5)
    verdict = check_chain(entries(chain))
    assert (verdict.holds, verdict.checked, verdict.head_seq) == (True, 5, 5)
    assert verdict.head_hash == chain[-1]["hash"]


def test_a_walk_may_start_in_the_middle() -> None:
    chain = make_chain(5)
    assert check_chain(entries(chain)[2:], after_seq=2, after_hash=chain[1]["hash"]).holds
    assert check_chain(entries(chain)[2:], after_seq=2, after_hash="0" * 64).problem is Problem.LINK


@pytest.mark.parametrize("key", ["_id", "type", "at", "actor", "taskId", "agentId", "decision", "reason", "body"])
def test_an_edit_of_any_field_is_found(key: str) -> None:
    chain = make_chain(3)
    chain[1][key] = '{"number":3}' if key == "body" else "forged"
    verdict = check_chain(entries(chain))
    assert (verdict.problem, verdict.bad_seq, verdict.checked) == (Problem.EDITED, 2, 1)


def test_an_edit_with_its_hash_made_anew_breaks_the_link_after_it() -> None:
    chain = make_chain(3)
    chain[1]["actor"] = "user:mallory"
    seal(chain[1], seq=2, prev_hash=chain[0]["hash"])
    verdict = check_chain(entries(chain))
    assert (verdict.problem, verdict.bad_seq) == (Problem.LINK, 3)


def test_a_deletion_is_found() -> None:
    chain = make_chain(4)
    del chain[1]
    verdict = check_chain(entries(chain))
    assert (verdict.problem, verdict.bad_seq) == (Problem.MISSING, 2)


def test_an_insertion_is_found() -> None:
    chain = make_chain(3)
    chain.insert(1, copy.deepcopy(chain[1]))
    verdict = check_chain(entries(chain))
    assert (verdict.problem, verdict.bad_seq) == (Problem.ORDER, 2)


def test_a_swap_of_contents_is_found() -> None:
    chain = make_chain(4)
    for key in ("_id", "actor", "taskId", "body"):
        chain[1][key], chain[2][key] = chain[2][key], chain[1][key]
    assert check_chain(entries(chain)).bad_seq == 2


def test_a_field_of_a_foreign_type_is_an_edit_not_a_crash() -> None:
    chain = make_chain(2)
    chain[1]["body"] = {1, 2}
    verdict = check_chain(entries(chain))
    assert (verdict.problem, verdict.bad_seq) == (Problem.EDITED, 2)


def test_hash_depends_on_the_number_and_on_the_event_before() -> None:
    fields = hashed_fields(make_chain(1)[0])
    hashes = [event_hash("0" * 64, fields), event_hash("1" * 64, fields), event_hash("0" * 64, fields | {"seq": 2})]
    assert len(set(hashes)) == 3


def test_wire_form_has_the_contracted_fields_and_nulls() -> None:
    wire = to_wire(make_chain(1)[0])
    assert list(wire) == [
        "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "body", "hash",
    ]  # fmt: skip
    assert wire["decision"] is None
    assert orjson.loads(orjson.dumps(wire))["id"] == "id-1"


def test_an_unreadable_body_is_shown_as_it_is() -> None:
    assert read_body('{"a":') == {"unreadable": '{"a":'}
    assert read_body(None) == {"unreadable": "None"}


def test_times_have_microseconds_and_z() -> None:
    from datetime import UTC, datetime, timedelta, timezone

    at = datetime(2026, 11, 23, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert format_at(at) == "2026-11-22T23:02:03.000000Z"
    assert format_at(datetime(2026, 1, 1)) == "2026-01-01T00:00:00.000000Z"  # noqa: DTZ001
    assert format_at(datetime(2026, 1, 1, tzinfo=UTC)) < format_at(datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
