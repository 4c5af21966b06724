"""The task page of an agent's run in a browser: folded at first, opened by hand, nothing for axe to find."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"color_scheme": "light", "narrow": True},
}
TALLEST = "Math.max(...[...document.querySelectorAll('.steps .title')].map((title) => title.offsetHeight))"
WRITE = """
from tests.integration.console_cast import make_task
from tests.transcript_cast import Run, write_story
run = Run(make_task(skill_id="", input={"query": "tools"}))
write_story(run)
print("task", run.task.id)
"""


@pytest.fixture(scope="module")
def task_id(server: RunningServer) -> str:
    """Give a task with a transcript that the server's own sequencer has shipped."""
    found = server.manage("shell", "-c", WRITE).split()[-1]
    give_up_at = time.monotonic() + 20
    with server.client() as client:
        while len(client.get(f"/api/tasks/{found}/transcript").json()["results"]) < 9:
            assert time.monotonic() < give_up_at, "not shipped in time"
            time.sleep(0.1)
    return found


@pytest.mark.parametrize("look", LOOKS)
def test_it_reads_well_in_every_look(
    look: str, task_id: str, open_page: OpenPage, shots: Callable[[Page, str], None]
) -> None:
    page = open_page(f"/tasks/{task_id}/", **LOOKS[look])
    shots(page, f"transcript-folded-{look}")
    assert page.evaluate(TALLEST) < 60, "a title is squeezed"
    for summary in page.locator(".steps summary").all():
        summary.click()
    expect(page.get_by_text("I look at two pages.")).to_be_visible()
    expect(page.get_by_text("A page about tools.")).to_be_visible()
    shots(page, f"transcript-{look}")
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_decision_leads_to_its_entry_in_the_trail(task_id: str, open_page: OpenPage) -> None:
    page = open_page(f"/tasks/{task_id}/")
    page.get_by_role("link", name="domain_not_allowed · market-research-fetch").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Entry #")
    expect(page.get_by_text("decisionId")).to_be_visible()
