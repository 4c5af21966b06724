"""What an order is about, in a few words, for lists and titles. PURE."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

_TEXTS: Final = 2
_LENGTH: Final = 90


def title_run(value: Any, *, name: str = "", with_gist: bool = True) -> str:
    """Return what an agent's own run on the input `value` is about; `name` is the agent's, where it is not told beside.

    The gist is the first texts of the input. At most 90 characters, not yet made inert.
    """
    steps = value.get("steps") if isinstance(value, Mapping) else None
    if isinstance(steps, list):
        return f"Workflow of {len(steps)} step{'' if len(steps) == 1 else 's'}"
    gist = " · ".join(islice(_find_texts(value), _TEXTS)) if with_gist else ""
    title = f"Own run of {name}" if name else "Own run"
    return _cut(f"{title}: {gist}" if gist else title)


def _find_texts(value: Any) -> Iterator[str]:
    """Give the texts of a value in their order, each on one line."""
    if isinstance(value, str):
        if line := " ".join(value[:1_000].split()):
            yield _cut(line)
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _find_texts(inner)


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…"
