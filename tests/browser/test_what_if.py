"""The pages of what-ifs and shadow rules in a real browser: what turns, progress, a trial and its end."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_pages import LOOKS, findings, wait_for
from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]
AGENT, SKILL = "data-extraction-agent", "documentParser"
DENY = {"id": "no-html", "agent": AGENT, "skill": SKILL, "effect": "deny"}
DENY["conditions"] = {"arguments": {"format": {"equals": "html"}}}  # type: ignore[assignment]


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Iterator[Any]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def history(server: RunningServer, api: Any) -> str:
    """Have a page and a table parsed, and give the task of the page."""
    tasks = []
    for text, format_ in (("<p>a</p>", "html"), ("a,b\n1,2\n", "csv")):
        made = {"content": text, "format": format_}
        tasks.append(server.submit(api, agentId=AGENT, skillId=SKILL, input=made))
        wait_for(api, tasks[-1], "succeeded")
    return str(tasks[0])


@pytest.fixture(scope="module")
def replayed(api: Any, history: str) -> str:
    """Hold a deny rule against that history, and give the page of it."""
    policy = api.get("/api/policy").json()
    opened = {"id": "open-pages", "agent": "summarization-agent", "skill": SKILL, "effect": "ask"}
    started = api.post("/api/policy/what-if", json={"rules": [*policy["rules"], DENY, opened]}).json()
    assert started["state"] == "done", started
    return f"/permissions/whatif/{started['whatIfId']}/"


@pytest.fixture(scope="module")
def on_trial(server: RunningServer, api: Any, replayed: str) -> str:
    """Publish the rule as a shadow rule, let it turn a call, and give its page."""
    policy = api.get("/api/policy").json()
    rules = [*policy["rules"], DENY | {"shadow": True}]
    body = {"rules": rules, "reason": "Let it run beside the others", "baseVersion": policy["number"]}
    assert api.post("/api/policy/versions", json=body).status_code == 201
    time.sleep(1)  # until every process has it
    task = server.submit(api, agentId=AGENT, skillId=SKILL, input={"content": "<p>b</p>", "format": "html"})
    wait_for(api, task, "succeeded")
    return "/permissions/shadow/no-html/"


@pytest.mark.parametrize("look", LOOKS)
def test_the_pages_are_clean(
    look: str, open_page: OpenPage, replayed: str, on_trial: str, shots: Callable[[Page, str], None]
) -> None:
    page = open_page("/", **LOOKS[look])
    for name, address in (
        ("what-if", replayed), ("shadow", on_trial), ("shadow-rule", "/permissions/rules/no-html/"),
    ):  # fmt: skip
        page.goto(address)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert (findings(page), max(wide, 0)) == ([], 0), name
        shots(page, f"{name}-{look}")


def test_a_draft_is_replayed_from_its_page_with_and_without_scripts(open_page: OpenPage, history: str) -> None:
    for scripts in (True, False):
        page = open_page("/permissions/rules/data-extraction-parse/edit/", java_script_enabled=scripts)
        page.locator('[name="limits.callsPerTask"]').fill("7" if scripts else "8")
        page.get_by_role("button", name="Keep in my draft").click()
        page.goto("/permissions/draft/")
        page.get_by_role("button", name="Replay the history").click()
        page.wait_for_url("**/permissions/whatif/*/")
        expect(page.get_by_role("heading", name="What this rests on")).to_be_visible(timeout=10_000)
        expect(page.get_by_text("calls would have come out otherwise")).to_be_visible()
    page.goto("/permissions/draft/")
    page.get_by_role("button", name="Discard").click()


LEAVE_HALF_DONE = """
from datetime import timedelta
from django.utils import timezone
from toolgate.models import WhatIf
from audit.background import STALE
beat = timezone.now() - STALE + timedelta(seconds=4)
WhatIf.objects.filter(id={id!r}).update(state="running", beat_at=beat, done=1, result=None)
"""


def test_progress_is_shown_and_gives_way_to_the_report_of_another_runner(
    open_page: OpenPage, server: RunningServer, api: Any, replayed: str, shots: Callable[[Page, str], None]
) -> None:
    """As after a crash: half done, and silent for so long that the worker is about to take it over."""
    what_if_id = replayed.split("/")[-2]
    total = api.get(f"/api/policy/what-if/{what_if_id}").json()["total"]
    server.manage("shell", "-v", "0", "-c", LEAVE_HALF_DONE.format(id=what_if_id))
    page = open_page(replayed)
    expect(page.get_by_role("heading", name="Being replayed")).to_be_visible()
    expect(page.get_by_text(f"1 of {total} recorded decisions")).to_be_visible()
    assert findings(page) == []
    shots(page, "what-if-running")
    expect(page.get_by_role("heading", name="What this rests on")).to_be_visible(timeout=20_000)
    expect(page.get_by_text(f"1 of {total} calls would have come out otherwise.")).to_be_visible()


def test_a_trial_ends_by_promoting(open_page: OpenPage, on_trial: str) -> None:
    page = open_page(on_trial)
    expect(page.get_by_text("1 decision", exact=True)).to_be_visible()
    section = page.get_by_role("region", name="Promote it")
    section.get_by_label("Reason").fill("It turned what it should")
    section.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("The rule no-html is enforced now")).to_be_visible()
