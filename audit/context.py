"""Who acts, in which trace, and what led to it: what an event takes where it is not told. PURE.

Whoever lets work in names these once (a request, a command, a run), and nobody below has to hand them on. A thread
begins with none of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

SYSTEM: Final = "system"

# The log formatter finds the trace by its name.
_trace_id: ContextVar[str] = ContextVar("trace_id", default="")
_actor: ContextVar[str] = ContextVar("actor", default=SYSTEM)
_cause_id: ContextVar[str] = ContextVar("cause_id", default="")


def current_trace() -> str:
    """Return the id of the request, command or run that this is done for; empty outside of one."""
    return _trace_id.get()


def current_actor() -> str:
    """Return who acts, such as "user:olga"; "system" where nobody is named."""
    return _actor.get()


def current_cause() -> str:
    """Return the id of the event that leads to what is done now, empty if none is named."""
    return _cause_id.get()


@contextmanager
def acting(*, trace_id: str = "", actor: str = "") -> Iterator[None]:
    """Do what is inside in this trace, or for this actor; what is empty stays as it is around."""
    trace, named = _trace_id.set(trace_id or _trace_id.get()), _actor.set(actor or _actor.get())
    try:
        yield
    finally:
        _trace_id.reset(trace)
        _actor.reset(named)


@contextmanager
def caused_by(event_id: str, *, trace_id: str = "") -> Iterator[None]:
    """Let the event `event_id` have led to every event that is made inside, in its trace if that is given."""
    cause, trace = _cause_id.set(event_id), _trace_id.set(trace_id or _trace_id.get())
    try:
        yield
    finally:
        _cause_id.reset(cause)
        _trace_id.reset(trace)


def enter_trace(trace_id: str) -> None:
    """Name the trace of all that this coroutine or thread goes on to do."""
    _trace_id.set(trace_id)


def name_actor(actor: str) -> None:
    """Name who acts, once that is known, until the `acting` around this ends."""
    _actor.set(actor)
