"""The form of a log line, and the ids it carries."""

import logging
import sys
from contextvars import ContextVar

import orjson

from orchestrator_site.logs import JsonFormatter, get_request_id, log_context

task_id: ContextVar[str] = ContextVar("task_id")  # as an app below declares it, which may not import the formatter


def line(record: logging.LogRecord) -> dict[str, object]:
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, object] = orjson.loads(text)
    return parsed


def record(message: str = "said", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", logging.INFO, __file__, 1, message, None, None)
    vars(made).update(extra)
    return made


def test_it_has_the_fixed_fields() -> None:
    said = line(record(action="thing.done"))
    assert said["level"] == "INFO"
    assert said["logger"] == "a.logger"
    assert said["message"] == "said"
    assert said["action"] == "thing.done"
    assert str(said["time"]).endswith("+00:00")


def test_it_adds_what_extra_names_and_turns_the_rest_into_text() -> None:
    said = line(record(status=202, odd=object, keys={1: "one"}))
    assert said["status"] == 202
    assert said["odd"] == "<class 'object'>"
    assert said["keys"] == {"1": "one"}


def test_it_keeps_a_line_in_one_line() -> None:
    assert line(record("first\nsecond"))["message"] == "first\nsecond"


def test_it_carries_the_ids_of_its_context() -> None:
    with log_context(request_id="r-1"), log_context(trace_id="t-1"):
        said = line(record())
        assert get_request_id() == "r-1"
    assert (said["request_id"], said["trace_id"]) == ("r-1", "t-1")
    assert get_request_id() == ""


def test_it_finds_the_ids_that_an_app_below_declared() -> None:
    token = task_id.set("task-1")
    assert line(record())["task_id"] == "task-1"
    task_id.reset(token)
    assert "task_id" not in line(record())


def test_it_tells_of_an_exception() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        said = line(record(exc_info=sys.exc_info()))
    assert "ValueError: wrong" in str(said["exception"])
