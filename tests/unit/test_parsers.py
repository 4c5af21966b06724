"""Strict JSON: what is read, and the code of each refusal."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator_site.exceptions import BodyRefused
from orchestrator_site.parsers import is_deeper, read_json

REFUSED = {
    "a byte order mark": (b"\xef\xbb\xbf{}", "json_bom"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "json_not_utf8"),
    "a stray byte": (b'{"a":"\xff"}', "json_not_utf8"),
    "an overlong form": (b'{"a":"\xc0\xaf"}', "json_not_utf8"),
    "a surrogate as UTF-8": (b'{"a":"\xed\xa0\x80"}', "json_not_utf8"),
    "nothing": (b"", "json_malformed"),
    "blanks": (b"  ", "json_malformed"),
    "half an object": (b'{"a":1', "json_malformed"),
    "two values": (b"{} {}", "json_malformed"),
    "a comment": (b"{} // {}", "json_malformed"),
    "single quotes": (b"{'a':1}", "json_malformed"),
    "a trailing comma": (b'{"a":1,}', "json_malformed"),
    "a leading zero": (b'{"a":01}', "json_malformed"),
    "a raw control character": (b'{"a":"\n"}', "json_malformed"),
    "a raw NUL": (b'{"a":"\x00"}', "json_malformed"),
    "an escaped NUL": (b'{"a":"x\\u0000"}', "json_nul"),
    "an escaped NUL in a name": (b'{"a\\u0000":1}', "json_nul"),
    "an escaped NUL after a backslash": (b'{"a":"\\\\\\u0000"}', "json_nul"),
    "a lone leading surrogate": (b'{"a":"\\ud800"}', "json_lone_surrogate"),
    "a lone trailing surrogate": (b'{"a":"\\udc00x"}', "json_lone_surrogate"),
    "swapped surrogates": (b'{"a":"\\udc00\\ud800"}', "json_lone_surrogate"),
    "NaN": (b'{"a":NaN}', "json_not_finite"),
    "Infinity": (b'{"a":Infinity}', "json_not_finite"),
    "-Infinity": (b'{"a":-Infinity}', "json_not_finite"),
    "a double that overflows": (b'{"a":1e400}', "json_not_finite"),
    "2**63": (b'{"a":9223372036854775808}', "json_integer_range"),
    "-2**63 - 1": (b'{"a":-9223372036854775809}', "json_integer_range"),
    "2**64": (b'{"a":18446744073709551616}', "json_integer_range"),
    "a thousand digits": (b'{"a":' + b"9" * 1000 + b"}", "json_integer_range"),
    "a name twice": (b'{"a":1,"b":2,"a":3}', "json_duplicate_key"),
    "a name twice, once escaped": (b'{"a":1,"\\u0061":2}', "json_duplicate_key"),
    "a name twice, deep inside": (b'[[{"b":{"a":1,"a":1}}]]', "json_duplicate_key"),
    "101 lists": (b"[" * 101 + b"]" * 101, "json_too_deep"),
    "101 objects": (b'{"a":' * 101 + b"1" + b"}" * 101, "json_too_deep"),
    "100,000 lists, unclosed": (b"[" * 100_000, "json_too_deep"),
    "100,000 lists": (b"[" * 100_000 + b"]" * 100_000, "json_too_deep"),
    "100,000 objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "json_too_deep"),
    "NaN before the depths": (b"[NaN," + b"[" * 100_000, "json_not_finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_what_is_ambiguous(name: str) -> None:
    body, code = REFUSED[name]
    with pytest.raises(BodyRefused) as refused:
        read_json(body)
    assert (refused.value.status, refused.value.code) == (400, code)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":9223372036854775807,"b":-9223372036854775808}', {"a": 2**63 - 1, "b": -(2**63)}),
        (b'{"a":1e308,"b":-0,"c":0.1}', {"a": 1e308, "b": 0, "c": 0.1}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\N{GRINNING FACE}"}),
        (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}),
        (b'{"a":"NaN [[[ {{{"}', {"a": "NaN [[[ {{{"}),
        (b'[{"a":1},{"a":1}]', [{"a": 1}, {"a": 1}]),
        (b" [true, null] ", [True, None]),
        (b"[" * 100 + b"]" * 100, None),
        (b'["' + b"[" * 200 + b'"]', ["[" * 200]),
        (b"[" + b",".join([b"{}"] * 500) + b"]", [{}] * 500),
    ],
)
def test_it_reads_what_has_one_meaning(body: bytes, value: Any) -> None:
    read = read_json(body)
    assert value is None or read == value


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_it_reads_back_all_that_the_renderer_writes(value: Any) -> None:
    assert read_json(orjson.dumps(value)) == value


@pytest.mark.parametrize(("value", "depth"), [(1, 0), ([], 1), ({"a": []}, 2), ([1, [2], {"a": {"b": [3]}}], 4)])
def test_depth_counts_containers(value: Any, depth: int) -> None:
    assert not is_deeper(value, depth)
    assert depth == 0 or is_deeper(value, depth - 1)
