"""The stretches of time of the overview: equal spans without a hole, and what they are compared with."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from agents.money.budget import find_reach
from audit.background import say_failure
from audit.exceptions import StoreUnavailable
from orchestrator_site.overview.windows import DAY, WINDOWS, describe_change

NOW = datetime(2026, 11, 26, 6, 28, 31, tzinfo=UTC)


@pytest.mark.parametrize("key", WINDOWS)
def test_spans_follow_on_each_other_and_the_last_holds_now(key: str) -> None:
    window = WINDOWS[key]
    spans = window.list_spans(NOW)
    assert len(spans) == window.count
    assert all(one.end == other.start for one, other in pairwise(spans))
    assert spans[-1].start <= NOW < spans[-1].end
    assert {span.end - span.start for span in spans} == {window.step}
    assert 3 <= sum(bool(window.label(span.start)) for span in spans) <= 8


def test_what_it_is_compared_with_has_come_as_far() -> None:
    before = DAY.list_spans_before(NOW)
    assert before[0].start == datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert before[-1].end == datetime(2026, 11, 25, 6, 28, tzinfo=UTC)
    assert (before[-2].end, before[-1].start) == (datetime(2026, 11, 25, 6, tzinfo=UTC),) * 2


@pytest.mark.parametrize(
    ("value", "before", "words"),
    [
        (109, 100, ("▲", "9 % more than")),
        (50, 100, ("▼", "50 % fewer than")),
        (7, 7, ("", "as many as")),
        (7, 0, ("▲", "none")),
        (5000, 1, ("▲", "many times more than")),
    ],
)
def test_a_change_is_said_in_words(value: int, before: int, words: tuple[str, str]) -> None:
    assert describe_change(value, before) == words


def test_the_day_on_which_a_cap_is_reached_follows_from_the_forecast() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)  # ten days of the month are left
    assert find_reach(50, 150, 100, now=now) == now + timedelta(days=5)
    assert find_reach(50, 100, 100, now=now) is None  # it is not
    assert find_reach(100, 150, 100, now=now) is None  # it was


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreUnavailable("the audit store does not answer"), "the audit store does not answer"),
        (KeyError("salt"), "It met an error that nobody foresaw; the log has it under this run's id."),
    ],
)
def test_a_run_that_failed_says_why_in_words(error: Exception, words: str) -> None:
    assert say_failure(error) == words
