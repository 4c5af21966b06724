"""Spans: what was done, for how long and within what, for who collects traces; else they cost nothing. PURE.

Nobody here knows how a span is sent: `install` is called with what makes them, at the start of a process that was told
where to send. A span says which ids, names, counts and outcomes; never what was asked, answered or handed on.

A trace goes by the id that the audit trail and the logs have (`trace_of`), and a task's own span by the task's
(`span_of_task`): so a worker in another process, or after a restart, goes on in the right place, and nothing of it
has to be kept.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol

from audit.context import current_trace

type Value = str | int | bool | tuple[str, ...]
type Attributes = Mapping[str, Value]

_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")
_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


class Span(Protocol):
    """One thing that is being done."""

    def rename(self, name: str) -> None:
        """Give it the name that was not known when it began."""

    def tell(self, attributes: Attributes) -> None:
        """Add what came of it."""

    def fail(self, error_type: str) -> None:
        """Say that it went wrong, by an error's code."""


class Maker(Protocol):
    """Makes spans. An exception that passes through one makes it fail by the exception's class, without its words."""

    def __call__(
        self, name: str, attributes: Attributes, *, kind: str, trace_id: str, span_id: str, parent_id: str
    ) -> AbstractContextManager[Span]:
        """Begin a span; `parent_id` names one of another process, else it is within the one around it."""


class _Nothing:
    """Stands for every span where none is made."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def rename(self, name: str) -> None: ...

    def tell(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None: ...


_NOTHING: Final = _Nothing()
_make: Maker | None = None


def install(make: Maker | None) -> None:
    """Let `make` make every span from now on; None: nobody does."""
    global _make  # noqa: PLW0603  (one for the process, handed down from its start)
    _make = make


def is_on() -> bool:
    """Say whether spans are made."""
    return _make is not None


def span(
    name: str,
    attributes: Attributes,
    *,
    kind: str = "internal",
    trace: str = "",
    span_id: str = "",
    parent_id: str = "",
) -> AbstractContextManager[Span]:
    """Begin a span within the one around it; with `parent_id` within that one, of another process or thread.

    `kind` is internal, server, client, producer or consumer. One that begins a trace, or names its parent, is in the
    trace that `trace` stands for, else in the current one.
    """
    if _make is None:
        return _NOTHING
    trace_id = trace_of(trace or current_trace())
    return _make(name, attributes, kind=kind, trace_id=trace_id, span_id=span_id, parent_id=parent_id)


def trace_of(id_: str) -> str:
    """Return the trace that an id of the audit trail stands for: the id itself, if it is 32 hex digits."""
    if not id_ or _TRACE.fullmatch(id_):
        return id_
    return hashlib.sha256(id_.encode()).hexdigest()[:32]


def span_of_task(task_id: str) -> str:
    """Return the id of the span in which a task was submitted: 16 hex digits."""
    return hashlib.sha256(task_id.encode()).hexdigest()[:16]


def read_parent(traceparent: str | None) -> tuple[str, str]:
    """Return the trace and the span that a W3C `traceparent` names; two empty strings if it is malformed or absent."""
    found = _PARENT.fullmatch(traceparent or "")
    return (found[1], found[2]) if found else ("", "")
