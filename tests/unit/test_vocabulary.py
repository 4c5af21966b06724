"""The words of the trail: named by one rule, each with a body that it is held to, and a page that says so."""

import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest

from audit.context import acting, caused_by, current_actor
from audit.events import BodyUndeclared, Event, EventType, strict_bodies
from audit.live.items import to_item
from audit.shapes import find_flaw
from audit.vocabulary import render_vocabulary

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "events.md"


class Shape(TypedDict):
    name: str
    count: int
    places: list[str]
    until: str | None
    more: NotRequired[dict[str, Any]]


BODY: dict[str, Any] = {"name": "a", "count": 1, "places": [], "until": None}


@pytest.mark.parametrize("type_", EventType)
def test_every_type_is_a_noun_and_a_past_with_a_body_and_a_moment(type_: EventType) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", type_)
    assert type_.when
    assert not type_.when[0].isupper()
    assert find_flaw(type_.shape, {"nothing-of-the-kind": 1})


def test_the_page_of_the_vocabulary_says_what_the_code_says() -> None:
    assert PAGE.read_text() == render_vocabulary(), "run manage.py write_events"


@pytest.mark.parametrize("type_", EventType)
def test_the_feed_has_a_sentence_for_every_type(type_: EventType) -> None:
    fields = dict.fromkeys(("seq", "id", "at", "decision", "reason", "actor", "agentId", "skillId", "taskId", "body"))
    assert to_item(fields | {"type": type_})["text"] != type_


@pytest.mark.parametrize(
    "more", [{}, {"more": {}}, {"places": ("a",)}, {"until": "x"}, {"name": EventType.TASK_FAILED}]
)
def test_a_body_as_declared_has_no_flaw(more: dict[str, Any]) -> None:
    assert find_flaw(Shape, BODY | more) == ""


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (BODY | {"other": 1}, "other is not declared by Shape"),
        (BODY | {"count": True}, "count of Shape is a bool"),
        (BODY | {"count": "1"}, "count of Shape is a str"),
        (BODY | {"name": None}, "name of Shape is a NoneType"),
        ({"name": "a"}, "count, places, until of Shape is missing"),
    ],
)
def test_a_body_that_is_not_as_declared_is_told(body: dict[str, Any], flaw: str) -> None:
    assert find_flaw(Shape, body) == flaw


def test_outside_of_tests_an_event_is_not_lost_for_a_member_too_many(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BodyUndeclared, match=r"task.parked: extra is not declared"):
        Event(type=EventType.TASK_PARKED, at=NOW, actor="system", body={"approvalId": "a", "extra": 1})
    with strict_bodies(False), caplog.at_level(logging.ERROR):
        event = Event(type=EventType.TASK_PARKED, at=NOW, actor="system", body={"approvalId": "a", "extra": 1})
    assert event.body["extra"] == 1
    assert [record.action for record in caplog.records] == ["event.body-undeclared"]  # type: ignore[attr-defined]


def make_event(**fields: Any) -> Event:
    return Event(type=EventType.SEQUENCER_BEAT, at=NOW, actor=current_actor(), **fields)


def test_an_event_takes_trace_cause_and_actor_from_where_it_is_made() -> None:
    with acting(trace_id="t-1", actor="user:olga"), caused_by("e-1"):
        inside = make_event()
        with caused_by("e-2", trace_id="t-2"):
            deeper = make_event()
        told = make_event(trace_id="t-9", cause_id="")
    outside = make_event()
    assert (inside.trace_id, inside.cause_id, inside.actor) == ("t-1", "e-1", "user:olga")
    assert (deeper.trace_id, deeper.cause_id, deeper.actor) == ("t-2", "e-2", "user:olga")
    assert (told.trace_id, told.cause_id) == ("t-9", "")
    assert (outside.trace_id, outside.cause_id, outside.actor) == ("", "", "system")
