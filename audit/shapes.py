"""Hold a body to its declaration, a TypedDict. PURE."""

from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def find_flaw(shape: type, body: Mapping[str, Any]) -> str:
    """Say what of `body` is not as `shape`, a TypedDict, declares it; empty if nothing is."""
    kinds, required = read_shape(shape)
    for key, value in body.items():
        expected = kinds.get(key)
        if expected is None:
            return f"{key} is not declared by {shape.__name__}"
        if type(value) not in expected and not isinstance(value, str if str in expected else ()):
            return f"{key} of {shape.__name__} is a {type(value).__name__}"
    missing = required - body.keys()
    return f"{', '.join(sorted(missing))} of {shape.__name__} is missing" if missing else ""


@cache
def read_shape(shape: type) -> tuple[Mapping[str, frozenset[type]], frozenset[str]]:
    """Return the types that each member of a TypedDict may have, and which members it must have."""
    hints = get_type_hints(shape)
    kinds = {key: frozenset(_list_types(hint)) for key, hint in hints.items()}
    return kinds, frozenset(getattr(shape, "__required_keys__", ()))


def _list_types(hint: Any) -> list[type]:
    if isinstance(hint, UnionType):
        return [kind for one in get_args(hint) for kind in _list_types(one)]
    kind = NoneType if hint is None else get_origin(hint) or hint
    return [list, tuple] if kind is list else [kind]
