"""A figure keeps its last good value, and one that hangs holds up no other."""

import threading
import time
from typing import Any

import pytest

from audit.exceptions import StoreUnavailable
from orchestrator_site.exceptions import FigureUnread
from orchestrator_site.system.figures import Figure, look


def test_a_figure_that_fails_shows_what_it_was_and_when() -> None:
    answers: list[Any] = [7, FigureUnread("Redis does not answer"), 8]

    def read() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    figures = {"one": Figure(read, apart=True)}
    first, second, third = (look(figures)["one"] for _ in range(3))
    assert (first.value, first.fault) == (7, "")
    assert (second.value, second.good_at, second.fault) == (7, first.good_at, "Redis does not answer")
    assert (third.value, third.fault) == (8, "")
    assert first.good_at is not None
    assert third.good_at is not None
    assert third.good_at > first.good_at


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreUnavailable("the audit store does not answer"), "the audit store does not answer"),
        (ValueError("password=hunter2"), "it cannot be read; the log says why"),
    ],
)
def test_a_fault_is_said_in_words_and_never_by_a_class_or_a_secret(error: Exception, words: str) -> None:
    def read() -> int:
        raise error

    seen = look({"one": Figure(read, apart=True)})["one"]
    assert (seen.value, seen.good_at, seen.fault) == (None, None, words)


def test_one_that_hangs_is_given_up_in_time_and_asked_once() -> None:
    let_go, asked = threading.Event(), []

    def hang() -> int:
        asked.append(1)
        let_go.wait(10)
        return 1

    figures: dict[str, Figure[Any]] = {"hung": Figure(hang, apart=True), "well": Figure(lambda: 2, apart=True)}
    began = time.monotonic()
    try:
        for _ in range(2):
            seen = look(figures, seconds=0.1)
            assert (seen["well"].value, seen["well"].fault) == (2, "")
            assert (seen["hung"].value, seen["hung"].fault) == (None, "it does not answer in time")
        assert time.monotonic() - began < 2
        assert asked == [1]
    finally:
        let_go.set()
    seen = look(figures, seconds=5)
    assert (seen["hung"].value, seen["hung"].fault) == (1, "")
