"""The form of a log line, and the ids it carries."""

import ast
import logging
import re
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import orjson
import pytest

from orchestrator_site.logs import JsonFormatter, get_request_id, log_context, log_crashes

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
ACTION = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")

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


def list_log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Give each call of a logger in the four packages, with where it is."""
    for package in ("audit", "toolgate", "agents", "orchestrator_site"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger"), attr=level)):
                        if level in LEVELS:
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def find_action(call: ast.Call) -> str:
    for keyword in call.keywords:
        match keyword:
            case ast.keyword(arg="extra", value=ast.Dict(keys=keys, values=values)):
                named = {getattr(key, "value", None): value for key, value in zip(keys, values, strict=True)}
                return str(getattr(named.get("action"), "value", ""))
    return ""


def test_every_line_that_the_code_writes_names_a_stable_action() -> None:
    calls = dict(list_log_calls())
    assert len(calls) > 50
    assert {place for place, call in calls.items() if not ACTION.fullmatch(find_action(call))} == set()


def test_a_line_of_a_library_goes_by_its_loggers_name() -> None:
    assert line(record())["action"] == "a.logger"


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log_crashes()
    logging.captureWarnings(False)
    return caplog


def test_what_ends_a_process_or_a_thread_is_one_line(crashes: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("gone")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except LookupError as error:
        sys.excepthook(LookupError, error, error.__traceback__)
    said = [line(made) for made in crashes.records]
    assert [one["action"] for one in said] == ["thread.crashed", "process.crashed"]
    assert all("LookupError: gone" in str(one["exception"]) for one in said)
