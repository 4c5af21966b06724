"""Texts compared line by line, and JSON values written so that they can be. PURE."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any, Final

_CONTEXT_LINES: Final = 3
_STEP: Final = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a difference."""

    sign: str  # "+" added, "-" removed, "@" where the next lines stand, " " as before
    text: str


def diff_lines(old: str, new: str) -> tuple[Line, ...]:
    """Return what differs between two texts with some lines around it, nothing if only their line ends differ."""
    return _diff(old.splitlines(), new.splitlines())


def diff_values(old: Any, new: Any) -> tuple[Line, ...]:
    """Return what differs between two JSON values, line by line, texts of several lines included."""
    return _diff(list(_spread(old)), list(_spread(new)))


def dump_plain(value: Any, *, indent: int | None = None) -> str:
    """Return JSON in which whatever does not print, or would reorder what stands around it, is escaped."""
    return make_plain(json.dumps(value, indent=indent, ensure_ascii=False))


def make_plain(text: str) -> str:
    """Return a text with all escaped that does not print, or would reorder what stands around it; line ends stay."""
    return "".join(char if char == "\n" or char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return json.dumps(char)[1:-1].replace("\x7f", "\\u007f")  # the one that JSON lets through


def _diff(old: Sequence[str], new: Sequence[str]) -> tuple[Line, ...]:
    lines = list(unified_diff(old, new, n=_CONTEXT_LINES, lineterm=""))[2:]  # no file names
    return tuple(Line(sign=line[0], text=line if line[0] == "@" else line[1:]) for line in lines)


def _spread(value: Any, *, lead: str = "", indent: str = "", tail: str = "") -> Iterator[str]:
    """Give a JSON value as lines: indented, keys in order, a text of several lines as a block behind bars."""
    if isinstance(value, dict) and value:
        yield f"{indent}{lead}{{"
        yield from _spread_members([(f"{dump_plain(key)}: ", value[key]) for key in sorted(value)], indent)
        yield f"{indent}}}{tail}"
    elif isinstance(value, list) and value:
        yield f"{indent}{lead}["
        yield from _spread_members([("", member) for member in value], indent)
        yield f"{indent}]{tail}"
    elif isinstance(value, str) and "\n" in value:
        yield f"{indent}{lead}|"
        yield from (f"{indent}{_STEP}| {dump_plain(row)[1:-1]}" for row in value.split("\n"))
    else:
        yield f"{indent}{lead}{dump_plain(value)}{tail}"


def _spread_members(members: list[tuple[str, Any]], indent: str) -> Iterator[str]:
    for number, (name, member) in enumerate(members, 1):
        tail = "," if number < len(members) else ""
        yield from _spread(member, lead=name, indent=indent + _STEP, tail=tail)
