"""What an address of the trail may hold: numbers and times that no store takes are answered, never an error of ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from audit.exploring.filters import read_filters, read_seq
from tests.audit_cast import record_events
from tests.integration.console_cast import console_world, sign_in
from tests.integration.test_console_audit import ship

HUGE = ("9" * 16, "1" * 19, "1" * 400, "1" * 5_000)
FAR = ("0001-01-01T00:00", "0001-01-01T00:30Z", "9999-12-31T23:59", "9999-12-31T23:59:59.999999Z")


@pytest.fixture
def trail(transactional_db: None, settings: Any, audit_store: Any) -> Iterator[int]:
    with console_world(settings):
        record_events(3)
        yield ship()


@pytest.mark.parametrize("number", HUGE)
def test_a_number_beyond_all_numbers_is_none(number: str) -> None:
    assert read_seq(number) is None


@pytest.mark.parametrize("number", HUGE)
def test_no_page_fails_over_a_number(number: str, trail: int) -> None:
    client = sign_in("axel")
    for path in (f"/audit/?before={number}&top={number}&found={number}", f"/audit/?q={number[:200]}"):
        assert client.get(path).status_code == 200, path
    assert client.get(f"/live/events/?after={number}&to={number}").status_code == 400
    for path in (f"/audit/{number}/", f"/audit/{number}/proof.json"):
        assert client.get(path).status_code == 404, path
    assert client.post("/audit/verify/", {"first": number, "last": number}).status_code == 200


@pytest.mark.parametrize("time", FAR)
def test_no_page_fails_over_a_time(time: str, trail: int) -> None:
    client = sign_in("axel")
    for name in ("since", "until"):
        assert client.get("/audit/", {name: time}).status_code == 200
        assert client.post("/audit/export/", {name: time, "format": "csv"}).status_code == 200


def test_what_an_export_is_narrowed_to_is_read_back_as_it_was_asked() -> None:
    for actor in ("axel", "x" * 195, "x" * 196, "agent:" + "y" * 194):
        asked = read_filters({"actor": actor})
        again = read_filters(asked.filters.describe())
        assert again.filters == asked.filters, actor
        assert not again.problems
