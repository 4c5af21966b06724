"""Structured logs: one JSON object a line, each with a stable `action` and the ids of what it belongs to.

Secrets are taken out of every line: an error's text may quote what a provider, a page or a person sent.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from typing import Any, override

import orjson

from agents.border import find_redactor

_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default={})  # noqa: B039  (never changed in place)

# The apps below may not import this module: a context variable of theirs that has one of these names is found.
_FOUND_BY_NAME = frozenset({"task_id", "trace_id"})

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


@contextmanager
def log_context(**ids: str) -> Iterator[None]:
    """Add `ids` (request_id, task_id, trace_id, …) to every line logged inside, in this thread or coroutine."""
    token = _context.set({**_context.get(), **ids})
    try:
        yield
    finally:
        _context.reset(token)


def get_request_id() -> str:
    """Return the id of the request being answered, or an empty string outside of one."""
    return _context.get().get("request_id", "")


class JsonFormatter(logging.Formatter):
    """Write a record as one line of JSON: what `extra` names is added, what cannot be JSON becomes text."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "action": extra.pop("action", ""),
            **_context.get(),
            **{variable.name: value for variable, value in copy_context().items() if variable.name in _FOUND_BY_NAME},
            **extra,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _write(line)


def _write(line: Mapping[str, Any]) -> str:
    """Return the line without secrets; one that holds none, as nearly all, costs a single search."""
    raw = orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS)
    text, redactor = raw.decode(), find_redactor()
    spaced = text.replace("\\n", "\n").replace("\\r", "\n").replace("\\t", "\t")
    if redactor.text(spaced) == spaced:
        return text
    return orjson.dumps(redactor.value(orjson.loads(raw))).decode()
