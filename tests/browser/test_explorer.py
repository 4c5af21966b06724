"""The audit trail in a browser: an entry beside the list, keys, a file, and all of it without JavaScript."""

import json
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def task(server: RunningServer) -> str:
    """Give a task that has ended, with its entries in the trail."""
    with server.client() as client:
        order = {"content": "a,b\n1,2\n", "format": "csv"}
        task_id = server.submit(client, agentId="data-extraction-agent", skillId="documentParser", input=order)
        give_up_at = time.monotonic() + 30
        while not client.get("/api/audit", params={"taskId": task_id, "type": "task.succeeded"}).json()["results"]:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
    return task_id


def test_an_entry_opens_beside_the_list_and_keys_go_along(
    open_page: OpenPage, task: str, shots: Callable[[Page, str], None]
) -> None:
    page = open_page(f"/audit/?task={task}")
    first = page.locator("[data-peek]").first
    first.click()
    panel = page.locator("#peek")
    expect(panel.get_by_role("heading", name=f"Entry #{first.inner_text()}")).to_be_visible()
    expect(page.locator("tr[aria-current]")).to_have_count(1)
    shots(page, "explorer-entry")
    page.keyboard.press("j")
    second = page.locator("[data-peek]").nth(1).inner_text()
    expect(panel.get_by_role("heading", name=f"Entry #{second}")).to_be_visible()
    panel.get_by_role("link", name="Permalink").click()
    page.wait_for_url(f"**/audit/{second}/")


def test_on_a_narrow_screen_an_entry_has_the_page_to_itself(open_page: OpenPage, task: str) -> None:
    page = open_page(f"/audit/?task={task}", narrow=True)
    page.locator("[data-peek]").first.click()
    page.wait_for_url("**/audit/*/")
    expect(page.get_by_role("heading", name="Proof")).to_be_visible()


def test_without_javascript_it_is_found_read_verified_and_exported(open_page: OpenPage, task: str) -> None:
    page = open_page("/audit/", java_script_enabled=False)
    page.get_by_label("Id or number").fill(task)
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("tbody tr").first).to_be_visible()
    page.locator("[data-peek]").first.click()
    expect(page.get_by_role("link", name="Prove this")).to_be_visible()
    page.goto("/audit/verify/")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("heading", name="All of it holds")).to_be_visible()


def test_times_are_asked_for_in_the_zone_that_the_list_shows(open_page: OpenPage, task: str) -> None:
    page = open_page(f"/audit/?task={task}&since=2026-01-05T12:00:00Z", timezone_id="Asia/Tokyo")
    since, until = page.get_by_label("From", exact=True), page.get_by_label("To", exact=True)
    expect(since).to_have_value("2026-01-05T21:00")
    until.fill("2026-01-05T22:30")
    until.press("Enter")
    expect(page).to_have_url(re.compile("since=2026-01-05T12%3A00%3A00.000Z&until=2026-01-05T13%3A30%3A00.000Z"))
    expect(page.get_by_text("No entry matches these filters")).to_be_visible()


def test_after_back_the_list_works_as_before_and_its_address_is_short(open_page: OpenPage, task: str) -> None:
    page = open_page("/audit/")
    page.get_by_label("Kind").select_option("task.succeeded")
    page.wait_for_url("**/audit/?type=task.succeeded")
    page.go_back()
    page.wait_for_url("**/audit/")
    expect(page.get_by_label("Kind")).to_have_value("")
    page.locator("[data-peek]").first.click()
    expect(page.locator("#peek").get_by_role("heading", name="Proof")).to_be_visible()


def test_what_the_list_shows_is_what_the_file_holds(open_page: OpenPage, task: str) -> None:
    page = open_page("/audit/")
    page.get_by_label("Id or number").fill(task)
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(re.escape(task)))
    shown = sorted(int(link.inner_text()) for link in page.locator("[data-peek]").all())
    page.get_by_role("link", name="Export…").click()
    page.get_by_role("button", name="Order the export").click()
    page.wait_for_url("**/audit/runs/*/")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    *events, last = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert sorted(event["seq"] for event in events) == shown
    assert (last["complete"], last["events"]) == (True, len(shown))
    expect(page.get_by_role("heading", name="Complete")).to_be_visible()
