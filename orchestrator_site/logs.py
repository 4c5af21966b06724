"""Structured logs: one JSON object a line, each with a stable `action` and the ids of what it belongs to.

Secrets are taken out of every line: an error's text may quote what a provider, a page or a person sent.
"""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, override

import orjson

from agents.border import find_redactor

log = logging.getLogger(__name__)

SERVICES: Final = frozenset({"serve", "demo", "worker", "sequencer", "prepare"})  # whose output a machine collects

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


def log_crashes() -> None:
    """Make a line of what would be a traceback: an exception that ends this process or a thread, and warnings."""
    sys.excepthook = _log_crash
    threading.excepthook = _log_thread
    logging.captureWarnings(True)


def _log_crash(type_: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(type_, KeyboardInterrupt):
        return
    crash = (type_, error, traceback)
    log.critical("the process crashed: %s", type_.__name__, exc_info=crash, extra={"action": "process.crashed"})


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        crash = (args.exc_type, args.exc_value, args.exc_traceback)
        log.critical("a thread crashed", exc_info=crash, extra={"action": "thread.crashed"})


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
            "action": extra.pop("action", record.name),  # a library's lines go by its logger's name
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
