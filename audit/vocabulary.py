"""The vocabulary as a page of the docs, written from the code. PURE."""

from itertools import groupby
from types import NoneType
from typing import Final

from audit.events import EventType
from audit.shapes import read_shape

_HEAD: Final = """# Events

Every act that leaves a trace. `manage.py write_events` writes this page from `audit/events.py` and `audit/bodies/`,
and a test keeps it in step.

Each event has `seq`, `id`, `type`, `at`, `actor`, `traceId`, `causeId`, and where they apply `taskId`, `agentId`,
`skillId`, `decision` and `reason`. A body's member that may be missing has a question mark. How traces and causes are
found is in [decision 29](decisions/0029-what-an-event-says.md).
"""
_COLUMNS: Final = "| type | when | body |\n|---|---|---|\n"
_WORDS: Final = {str: "text", int: "number", bool: "yes or no", list: "list", dict: "object", NoneType: "null"}


def render_vocabulary() -> str:
    """Return the page, as Markdown."""
    parts = [_HEAD]
    for noun, types in groupby(EventType, key=lambda type_: type_.partition(".")[0]):
        rows = "".join(f"| `{type_}` | {type_.when} | {_describe(type_.shape)} |\n" for type_ in types)
        parts.append(f"\n## {noun}\n\n{_COLUMNS}{rows}")
    return "".join(parts)


def _describe(shape: type) -> str:
    kinds, required = read_shape(shape)
    return ", ".join(
        f"`{name}`{'' if name in required else '?'} {_name(types)}" for name, types in kinds.items()
    )  # fmt: skip


def _name(types: frozenset[type]) -> str:
    return " or ".join(word for kind, word in _WORDS.items() if kind in types)
