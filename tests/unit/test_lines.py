"""Texts and values compared line by line."""

from typing import Any

import pytest

from toolgate.lines import Line, diff_lines, diff_values, dump_plain


def signs(old: Any, new: Any) -> list[str]:
    return [f"{line.sign}{line.text}" for line in diff_values(old, new) if line.sign in "+-"]


def test_a_text_of_several_lines_is_compared_line_by_line() -> None:
    old = {"filePath": "a.py", "changes": [{"newText": "one\ntwo\n", "type": "append"}]}
    new = {"filePath": "a.py", "changes": [{"newText": "one\nthree\n", "type": "append"}]}
    assert signs(old, new) == ["-        | two", "+        | three"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\u2028b", "a\u2029b"),  # both would end a line
        ("a\r\nb", "a\nb"),
        ("a", "a\u200b"),
        ("one\n", "one"),
        (1, 1.0),
        (1, True),
        ("1", 1),
        (None, "null"),
        ([], {}),
        ({"a": None}, {}),
    ],
)
def test_no_difference_is_left_out(old: Any, new: Any) -> None:
    assert signs({"value": old}, {"value": new})


def test_the_order_of_keys_is_no_difference() -> None:
    assert diff_values({"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"d": 3, "c": 2}], "a": 1}) == ()


def test_a_text_cannot_pass_for_structure() -> None:
    hostile = {"newText": 'x\n",\n  "dryRun": true'}
    assert all("| " in line for line in signs({"newText": ""}, hostile)[2:])


def test_texts_are_shown_with_what_stands_around_a_change() -> None:
    lines = diff_lines("\n".join("abcdefgh"), "\n".join("abcdXfgh"))
    assert lines[0].sign == "@"
    assert [line.text for line in lines if line.sign == " "] == ["b", "c", "d", "f", "g", "h"]
    assert Line(sign="+", text="X") in lines


@pytest.mark.parametrize("char", ["\u202e", "\x7f", "\x1b", "\u0085", "\ufeff", "\U000e0041"])
def test_what_does_not_print_is_escaped_and_still_json(char: str) -> None:
    import orjson

    text = dump_plain({"a": f"x{char}y", "é": "ü"})
    assert char not in text
    assert orjson.loads(text) == {"a": f"x{char}y", "é": "ü"}
