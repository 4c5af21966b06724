"""The console by keyboard alone: help, going, moving along lists, the panel beside them, finding, saved views."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_pages import findings
from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def tasks(server: RunningServer) -> list[str]:
    """Give three tasks, newest first."""
    order = {"content": "a,b\n1,2\n", "format": "csv"}
    with server.client() as client:
        made = [
            server.submit(client, agentId="data-extraction-agent", skillId="documentParser", input=order)
            for _ in range(3)
        ]
    return made[::-1]


def test_help_goes_over_the_page_and_letters_lead_to_others(
    open_page: OpenPage, shots: Callable[[Page, str], None]
) -> None:
    page = open_page("/live/")
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keys and signs")
    expect(help_.get_by_text("pause, and go on")).to_be_visible()
    assert findings(page) == []
    shots(page, "help")
    page.keyboard.press("p")
    page.keyboard.press("Escape")
    expect(help_).to_be_hidden()
    expect(page.locator("[data-pause]")).to_have_attribute("aria-pressed", "false")
    for letter, path in (("t", "/tasks/"), ("u", "/audit/"), ("g", "/agents/")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"**{path}")


def test_keys_rest_where_somebody_types_with_modifiers_and_when_they_are_off(open_page: OpenPage) -> None:
    page = open_page("/permissions/")
    search = page.get_by_role("searchbox")
    search.fill("")
    search.press_sequentially("gt?")
    expect(search).to_have_value("gt?")
    search.blur()
    page.keyboard.press("g")
    page.keyboard.press("Alt+t")
    page.evaluate("document.documentElement.dataset.keys = 'off'")
    for key in ("?", "g", "t", "Control+k", "/"):
        page.keyboard.press(key)
    page.evaluate("document.documentElement.removeAttribute('data-keys')")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.endswith("/permissions/")


def test_a_list_is_gone_along_and_a_row_opens_beside_it(
    open_page: OpenPage, tasks: list[str], shots: Callable[[Page, str], None]
) -> None:
    page = open_page("/tasks/?agent=data-extraction-agent")
    for key, at in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        expect(page.locator(f'[data-peek="{tasks[at]}"]')).to_be_focused()
    panel = page.locator("#peek")
    expect(panel).to_be_hidden()
    page.keyboard.press("Enter")
    expect(panel.get_by_text(tasks[0])).to_be_visible()
    page.keyboard.press("j")
    expect(panel.get_by_text(tasks[1])).to_be_visible()
    assert page.url.endswith(f"?agent=data-extraction-agent&peek={tasks[1]}")
    assert findings(page) == []
    shots(page, "peek")
    page.reload()
    expect(panel.get_by_text(tasks[1])).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator(f'[data-peek="{tasks[1]}"]')).to_be_focused()
    assert page.url.endswith("?agent=data-extraction-agent")
    page.keyboard.press("Enter")
    expect(panel.get_by_text(tasks[1])).to_be_visible()
    page.go_back()
    expect(panel).to_be_hidden()
    page.goto(f"/tasks/?peek={tasks[2]}")
    page.locator(f'[data-peek="{tasks[2]}"]').click()
    page.wait_for_url(f"**/tasks/{tasks[2]}/")


def test_anything_is_found_and_opened_without_a_mouse(
    open_page: OpenPage, tasks: list[str], shots: Callable[[Page, str], None]
) -> None:
    page = open_page("/")
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="What to find")
    expect(field).to_be_focused()
    page.keyboard.type("no such thing")
    expect(page.get_by_text("Nothing is called")).to_be_visible()
    assert findings(page) == []
    field.fill("market research")
    chosen = page.locator("[role=option][aria-selected=true]")
    expect(chosen).to_contain_text("New task for")
    page.keyboard.press("ArrowDown")
    expect(chosen).to_contain_text("market-research-agent")
    expect(field).to_have_attribute("aria-activedescendant", str(chosen.get_attribute("id")))
    assert findings(page) == []
    shots(page, "palette")
    page.keyboard.press("Enter")
    page.wait_for_url("**/agents/market-research-agent/")
    page.keyboard.press("Control+k")
    page.keyboard.type(tasks[0][-8:])
    expect(chosen).to_contain_text(tasks[0][-8:])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/tasks/{tasks[0]}/")


def test_a_view_is_saved_from_what_the_list_is_narrowed_to_now(open_page: OpenPage, tasks: list[str]) -> None:
    page = open_page("/tasks/")
    page.get_by_label("Agent").select_option("data-extraction-agent")
    page.get_by_text("Save this view").click()
    page.get_by_label("Its name").fill("Extractions")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved as “Extractions”")).to_be_visible()
    page.goto("/tasks/")
    page.get_by_role("link", name="Extractions").click()
    expect(page).to_have_url(re.compile(r"/tasks/\?agent=data-extraction-agent$"))
    expect(page.get_by_role("link", name="Extractions")).to_have_attribute("aria-current", "true")
    assert findings(page) == []


def test_without_scripts_they_are_pages_and_links(open_page: OpenPage, tasks: list[str]) -> None:
    page = open_page("/tasks/", java_script_enabled=False)
    page.get_by_role("link", name="Keys and signs").click()
    expect(page.get_by_role("heading", name="On this page")).to_be_visible()
    page.get_by_role("link", name="Find", exact=False).first.click()
    page.get_by_role("searchbox", name="What to find").fill(tasks[0])
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name=f"…{tasks[0][-8:]}").click()
    page.wait_for_url(f"**/tasks/{tasks[0]}/")


def test_the_task_page_asks_again_only_when_something_happened(open_page: OpenPage, tasks: list[str]) -> None:
    page = open_page(f"/tasks/{tasks[0]}/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(500)
    page.evaluate("document.querySelector('[data-follow]').removeAttribute('data-over')")
    asked.clear()
    page.wait_for_timeout(4_500)
    assert [url for url in asked if "/tasks/" in url] == []
    page.evaluate(
        """document.dispatchEvent(new CustomEvent("live:state", { detail: { name: "reconnecting", word: "" } }))"""
    )
    with page.expect_request(f"**/tasks/{tasks[0]}/"):
        pass


def test_a_page_asks_once_a_second_at_most_however_much_happens(open_page: OpenPage, tasks: list[str]) -> None:
    page = open_page(f"/tasks/{tasks[0]}/")
    page.wait_for_timeout(1_500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        """() => new Promise((done) => {
          let left = 100;
          const news = () => new CustomEvent("live:items", { detail: { items: [] } });
          const tell = () => { document.dispatchEvent(news()); --left || done(clearInterval(timer)); };
          const timer = setInterval(tell, 30);
        })"""
    )
    page.wait_for_timeout(1_500)
    assert 2 <= len([url for url in asked if url.endswith(f"/tasks/{tasks[0]}/")]) <= 5
    asked.clear()
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true, configurable: true });
          document.dispatchEvent(new CustomEvent("live:items", { detail: { items: [] } }));
        }"""
    )
    page.wait_for_timeout(1_500)
    assert [url for url in asked if "/tasks/" in url] == []
    with page.expect_request(f"**/tasks/{tasks[0]}/"):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
