"""Canonical bytes of a JSON value, as RFC 8785 writes them. PURE: no Django, no driver."""

from typing import Any, Final

import orjson

MAX_DEPTH: Final = 128
MAX_INTEGER: Final = 2**53 - 1  # beyond it RFC 8785, which counts in doubles, cannot tell neighbours apart


def canonical_bytes(value: Any) -> bytes:
    """Return the RFC 8785 form of a JSON value.

    Raises: ValueError for floats, integers of 2**53 and more, keys that are not ASCII strings, values that
    are not JSON, lone surrogates, and nesting deeper than 128.
    """
    _refuse_ambiguous(value, depth=0)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"not a JSON value: {error}") from error


def _refuse_ambiguous(value: Any, *, depth: int) -> None:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return
    if kind is dict:
        _refuse_keys(value)
        inner = value.values()
    elif kind is list or kind is tuple:
        inner = value
    else:
        _refuse_scalar(value)
        return
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    for item in inner:
        _refuse_ambiguous(item, depth=depth + 1)


def _refuse_keys(mapping: dict[Any, Any]) -> None:
    for key in mapping:
        if type(key) is not str or not key.isascii():
            raise ValueError(f"a key that is not an ASCII string: {key!r:.80}")


def _refuse_scalar(value: Any) -> None:
    if type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise ValueError("an integer of 2**53 or more: write it as a string")
    elif not isinstance(value, str):  # a StrEnum is written as its value
        raise ValueError(f"{type(value).__name__} has no canonical form: write it as a string")
