"""The fleet is stopped and resumed by hand: found from any page, said on every page, clean to look at."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_pages import LOOKS, findings
from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]


@pytest.fixture
def resumed(server: RunningServer) -> Iterator[None]:
    """Let the fleet work again, whatever happened: other tests need it."""
    yield
    with server.client() as client:
        client.post("/api/fleet", json={"state": "running"})


@pytest.mark.usefixtures("resumed")
def test_a_stop_is_said_on_every_page_until_the_last_stage(
    open_page: OpenPage, shots: Callable[[Page, str], None]
) -> None:
    page = open_page("/tasks/")
    page.get_by_role("link", name="Stop the fleet…").click()
    page.get_by_label("Reason").fill("Odd mails went out under our name")
    page.get_by_role("button", name="Stop the fleet").click()
    for look, options in LOOKS.items():
        assert look_around(open_page, options, shots, f"stopped-{look}") == {}
    page.get_by_role("button", name="1 task at once").click()
    expect(page.get_by_text("The fleet is resumed in part:")).to_be_visible()
    assert findings(page) == []
    page.get_by_role("button", name="All 40 slots").click()
    expect(page.get_by_text("The fleet works again, with all its slots.")).to_be_visible()
    page.goto("/tasks/")
    expect(page.get_by_text("The fleet is resumed in part:")).to_have_count(0)


def look_around(
    open_page: OpenPage, options: dict[str, Any], shots: Callable[[Page, str], None], name: str
) -> dict[str, list[str]]:
    """Return what axe finds on pages that say that the fleet is stopped."""
    page, found = open_page("/", **options), {}
    for address in ("/", "/fleet/", "/tasks/"):
        page.goto(address)
        expect(page.get_by_text("The fleet is stopped.")).to_be_visible()
        found[address] = findings(page)
    shots(page, name)
    return {address: lines for address, lines in found.items() if lines}
