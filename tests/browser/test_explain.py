"""From a refusal to a rule, as a person walks it: deny, why, the narrowest rule, a draft."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_pages import wait_for
from tests.running import RunningServer

pytestmark = pytest.mark.browser


def test_a_refusal_leads_to_its_rule_and_into_a_draft(
    open_page: Callable[..., Page], server: RunningServer, complaints: list[str]
) -> None:
    with server.client() as client:
        order = {"agentId": "market-research-agent", "skillId": "sourceFetch"}
        task_id = server.submit(client, **order, input={"url": "https://why.example.org/"})
        wait_for(client, task_id, "failed")
    page = open_page(f"/tasks/{task_id}/")
    page.get_by_role("link", name="Why, and the narrowest rule that would allow it").click()
    expect(page.get_by_role("heading", name="What was decided")).to_be_visible()
    rules = page.get_by_role("region", name="Rules that were looked at")
    expect(rules.get_by_text("Does not match", exact=True)).to_be_visible()
    expect(rules.get_by_text("the host why.example.org is not among github.com").first).to_be_visible()
    page.get_by_role("button", name="Put into my draft").click()
    page.wait_for_url("**/permissions/draft/")
    expect(page.get_by_text("The rule is in your draft.")).to_be_visible()
    expect(page.get_by_text("why.example.org").first).to_be_visible()
    page.get_by_role("button", name="Discard").click()  # other tests find the rules as they were
    expect(page.get_by_text("The draft is thrown away")).to_be_visible()
