"""The grid of permissions by keyboard, the inspector as a fragment, an edit with and without scripts."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]

FOCUSED = "document.activeElement.getAttribute('aria-label')"
STOPS = "document.querySelectorAll('[role=grid] a:not([tabindex=\"-1\"])').length"


def cell(page: Page, agent: str, skill: str) -> Locator:
    return page.get_by_role("grid").get_by_role("link", name=re.compile(f"^{agent}, {skill}:"))


def where(page: Page) -> str:
    """Return the pair that has the focus."""
    return str(page.evaluate(FOCUSED)).split(":")[0]


def complain_of_nothing(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert [f"{rule['id']}: {rule['nodes'][0]['html'][:160]}" for rule in found] == []


def test_the_grid_is_one_stop_and_arrows_walk_it(open_page: OpenPage) -> None:
    page = open_page("/permissions/")
    assert page.evaluate(STOPS) == 1
    cell(page, "build-refactor-agent", "sourceFetch").focus()
    walk = {
        "ArrowRight": "content-agent, sourceFetch",
        "ArrowDown": "content-agent, documentParser",  # past the head of the group
        "End": "system-monitor-agent, documentParser",
        "ArrowUp": "system-monitor-agent, sourceFetch",
        "Home": "build-refactor-agent, sourceFetch",
        "Control+End": "system-monitor-agent, normalizer",
        "ArrowLeft": "summarization-agent, normalizer",
        "Control+Home": "build-refactor-agent, sourceFetch",
    }
    for key, pair in walk.items():
        page.keyboard.press(key)
        assert where(page) == pair, key
        assert page.evaluate(STOPS) == 1
    for edge in ("ArrowUp", "ArrowLeft"):
        page.keyboard.press(edge)
        assert where(page) == "build-refactor-agent, sourceFetch"
    page.keyboard.press("Tab")
    assert "sourceFetch" not in where(page)
    page.keyboard.press("Shift+Tab")
    assert where(page) == "build-refactor-agent, sourceFetch"


def test_enter_opens_the_inspector_and_back_closes_it(open_page: OpenPage) -> None:
    page = open_page("/permissions/")
    cell(page, "market-research-agent", "sourceFetch").focus()
    page.keyboard.press("Enter")
    inspector = page.locator("#inspector")
    expect(inspector.get_by_role("heading", name="market-research-agent → sourceFetch")).to_be_visible()
    page.wait_for_url("**/permissions/?agent=market-research-agent&skill=sourceFetch")
    assert where(page) == "market-research-agent, sourceFetch"  # the focus stays in the grid
    expect(page.locator("td[aria-selected]")).to_have_count(1)
    complain_of_nothing(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(inspector.get_by_role("heading", name="market-research-agent → documentParser")).to_be_visible()
    page.go_back()
    expect(inspector.get_by_role("heading", name="market-research-agent → sourceFetch")).to_be_visible()
    page.reload()
    expect(inspector.get_by_role("heading", name="market-research-agent → sourceFetch")).to_be_visible()
    assert page.evaluate(STOPS) == 1


def test_what_another_effect_does_not_need_is_hidden(open_page: OpenPage) -> None:
    page = open_page("/permissions/?agent=market-research-agent&skill=sourceFetch")
    form = page.get_by_role("form", name="What the rule says")
    people = form.get_by_label("People to approve")
    expect(form.get_by_label("Only to hosts")).to_be_visible()
    expect(people).to_be_hidden()
    form.get_by_role("radio", name="Ask").focus()
    page.keyboard.press("Space")
    expect(people).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(form.get_by_text("Refuses every call of this pair")).to_be_visible()
    expect(form.get_by_label("Only to hosts")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(form.get_by_text("Takes out market-research-fetch")).to_be_visible()


def test_slash_goes_to_the_filter(open_page: OpenPage) -> None:
    page = open_page("/permissions/")
    page.keyboard.press("/")
    page.keyboard.type("fetch")
    page.keyboard.press("Enter")
    page.wait_for_url("**/permissions/?q=fetch")
    expect(page.get_by_role("grid").get_by_role("link")).to_have_count(11)


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}])
def test_what_an_effect_leaves_out_stays_readable(open_page: OpenPage, options: dict[str, str]) -> None:
    page = open_page("/permissions/?effect=deny", **options)
    expect(page.locator("td.off").first).to_be_visible()
    complain_of_nothing(page)


@pytest.mark.parametrize("scripts", [True, False])
def test_an_edit_is_kept_in_the_draft_and_taken_back(open_page: OpenPage, scripts: bool) -> None:
    page = open_page("/permissions/?agent=security-agent&skill=documentParser", java_script_enabled=scripts)
    page.get_by_label("Calls a task", exact=True).fill("3")
    page.get_by_role("button", name="Keep in my draft").click()
    expect(page.get_by_text("Kept in your draft")).to_be_visible()
    changed = cell(page, "security-agent", "documentParser")
    expect(changed).to_contain_text("3/task")
    expect(changed).to_have_accessible_name(re.compile("changed in your draft$"))
    expect(page.locator("#inspector")).to_contain_text("With the whole draft, in the last 7 days")
    if scripts:
        complain_of_nothing(page)
    page.get_by_role("link", name="In force").click()
    expect(cell(page, "security-agent", "documentParser")).to_contain_text("20/task")
    page.goto("/permissions/draft/")
    page.get_by_role("button", name="Discard").click()
    page.goto("/permissions/")
    expect(page.get_by_role("link", name="My draft")).to_have_count(0)


def test_a_row_for_an_argument_is_added_without_scripts(open_page: OpenPage) -> None:
    page = open_page("/permissions/rules/new/?agent=qa-verification-agent&skill=testRunner", java_script_enabled=False)
    rows = page.locator(".test-row")
    before = rows.count()
    page.get_by_label("Description").fill("half done")
    page.get_by_role("button", name="Add a row").click()
    expect(rows).to_have_count(before + 1)
    expect(page.get_by_label("Description")).to_have_value("half done")


def test_the_whole_grid_is_reached_on_a_narrow_screen(open_page: OpenPage) -> None:
    page = open_page("/permissions/", narrow=True)
    last = cell(page, "system-monitor-agent", "normalizer")
    last.focus()
    expect(last).to_be_in_viewport()
    skill = page.get_by_role("rowheader", name="normalizer")
    expect(skill).to_be_in_viewport()
    page.keyboard.press("Control+Home")
    first = cell(page, "build-refactor-agent", "sourceFetch").bounding_box()
    head = page.get_by_role("rowheader", name="sourceFetch").bounding_box()
    assert first is not None
    assert head is not None
    assert first["x"] >= head["x"] + head["width"] - 1  # not beneath the sticky column
