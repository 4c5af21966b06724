"""An auditor's day in a browser: find a refusal, follow why, prove it, verify and export; and a feed through a kill."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Download, Page, expect

from tests.browser.conftest import watch
from tests.browser.test_live import assert_whole
from tests.bundle_cast import PROGRAM
from tests.running import RunningServer

pytestmark = pytest.mark.browser
SECRET = "https://example.com/only-for-auditors"
OpenAs = Callable[[str], Page]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of this story's own, which is killed in it."""
    running = RunningServer(tmp_path_factory.mktemp("auditor") / "var").start()
    yield running
    running.stop()


@pytest.fixture
def open_as(browser: Browser, server: RunningServer, complaints: list[str]) -> Iterator[OpenAs]:
    """Give a function that makes a user of a role, signs in and gives the page."""
    contexts = []

    def _open(role: str) -> Page:
        password = server.manage("user", "create", f"the-{role}", "--role", role).strip()
        contexts.append(browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800}))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        watch(page, complaints)
        page.goto("/")
        page.get_by_label("User name").fill(f"the-{role}")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("/")
        return page

    yield _open
    for context in contexts:
        context.close()


def test_a_refusal_is_found_explained_proven_verified_and_exported(
    open_as: OpenAs, server: RunningServer, tmp_path: Path
) -> None:
    order_what_is_refused(server)
    page = open_as("auditor")
    refusal = find_the_refusal(page)
    expect(page.locator("#peek")).to_contain_text("domain_not_allowed")
    follow_cause_and_effect(page, refusal)
    page.goto(refusal)
    expect(page.get_by_role("heading", name="Body")).to_be_visible()
    key = tmp_path / "auditor.key"
    key.write_text(server.manage("audit_key"))
    assert "HOLDS" in check_offline(prove(page), key, tmp_path)
    verify_a_range(page)
    assert "HOLDS" in check_offline(order_a_bundle(page), key, tmp_path)
    see_the_same_as_an_operator(open_as("operator"), refusal)


def order_what_is_refused(server: RunningServer) -> None:
    with server.client() as client:
        task = server.submit(client, agentId="market-research-agent", skillId="sourceFetch", input={"url": SECRET})
        client.get(f"/api/tasks/{task}/events").raise_for_status()  # to its end


def find_the_refusal(page: Page) -> str:
    """Filter the trail for what was refused, open the entry beside it, and return its address."""
    page.get_by_role("link", name="Audit", exact=True).click()
    page.get_by_text("More filters").click()
    page.get_by_label("Decision").select_option("deny")
    expect(page).to_have_url(re.compile("decision=deny"))
    expect(page.locator("[data-peek]")).to_have_count(1)
    page.locator("[data-peek]").click()
    link = page.locator("#peek").get_by_role("link", name="Permalink")
    return str(link.get_attribute("href"))


def follow_cause_and_effect(page: Page, refusal: str) -> None:
    """Go from the refusal to what it led to, and from there back by its cause."""
    panel = page.locator("#peek")
    number = refusal.rstrip("/").rpartition("/")[2]
    panel.locator("dt", has_text="Led to").locator("+ dd").get_by_role("link").first.click()
    cause = panel.locator("dt", has_text="Cause").locator("+ dd").get_by_role("link", name=f"#{number}", exact=True)
    cause.click()
    expect(panel.get_by_role("heading", name=f"Entry #{number}")).to_be_visible()
    panel.locator("dt", has_text="Cause").locator("+ dd").get_by_role("link").first.click()
    expect(panel.get_by_role("heading", name=f"Entry #{number}")).to_be_hidden()


def prove(page: Page) -> Download:
    with page.expect_download() as download:
        page.get_by_role("link", name="Prove this").click()
    return download.value


def check_offline(download: Download, key: Path, folder: Path) -> str:
    """Give a file to the auditor's program, and return what it says."""
    path = folder / download.suggested_filename
    download.save_as(path)
    command = [sys.executable, "-I", str(PROGRAM), str(path), "--key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def verify_a_range(page: Page) -> None:
    page.goto("/audit/verify/")
    page.get_by_label("First entry").fill("2")
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("heading", name="All of it holds")).to_be_visible()


def order_a_bundle(page: Page) -> Download:
    """Order the log as a bundle, fetch it, and see the order end."""
    page.goto("/audit/export/")
    page.get_by_role("button", name="Order the bundle").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    path = download.value.path()  # waits for its end
    assert path.stat().st_size > 0
    expect(page.get_by_role("heading", name="Complete")).to_be_visible()
    return download.value


def see_the_same_as_an_operator(page: Page, refusal: str) -> None:
    page.goto(refusal)
    expect(page.get_by_text("domain_not_allowed")).to_be_visible()
    expect(page.get_by_text("Only those with the permission audit:payload see")).to_be_visible()
    expect(page.get_by_role("link", name="Prove this")).to_have_count(0)
    assert "example.com" not in page.content()


def test_a_feed_that_is_open_when_the_server_is_killed_catches_up(
    open_as: OpenAs, server: RunningServer, complaints: list[str]
) -> None:
    page = open_as("approver")
    page.goto("/live/")
    word = page.locator("[data-conn-word]")
    expect(word).to_have_text("Live")
    server.kill()
    expect(word).to_have_text("Reconnecting")
    server.manage("issue_token", "meanwhile", "--scopes", "tasks:read")  # while no server runs, others still write
    server.start()
    expect(word).to_have_text("Live", timeout=30_000)
    expect(page.locator("[data-feed] .what", has_text="issued a token").first).to_be_visible()
    assert len(assert_whole(page)) > 5
    assert all("WebSocket connection" in heard or "ERR_CONNECTION_REFUSED" in heard for heard in complaints)
    complaints.clear()  # a browser says of each try that it failed
