"""A first day, by hand in a browser: whoever never saw the console finds the way from the overview by looking only.

Submit a task, see why it failed, allow it, approve a request, find who changed a rule, prove it, stop an agent, see
what the month will cost. `--output` keeps the pictures of it.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
CSV = b'date,amount,paid\n11/03/2026,"$1,200.50",yes\n2026-11-04,"\xe2\x82\xac3",no\n'
OpenPage = Callable[..., Page]
Shots = Callable[[Page, str], None]
REASON = "the partner's quarterly reports"


def go(page: Page, *names: str) -> None:
    """Follow the navigation, and from there links, by the words on them."""
    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name=names[0]).click()
    for name in names[1:]:
        page.get_by_role("main").get_by_role("link", name=name, exact=True).first.click()


def order(page: Page, agent: str, skill: str) -> None:
    """Go the way a person goes: New task, then the skill at its agent."""
    page.get_by_role("link", name="New task").first.click()
    card = page.locator("section.card", has=page.get_by_text(agent, exact=True))
    card.get_by_role("link", name=skill).click()


def csv_file(name: str = "expenses.csv") -> Any:
    return {"name": name, "mimeType": "text/csv", "buffer": CSV}


def test_a_csv_is_uploaded_and_parsed(open_page: OpenPage, shots: Shots) -> None:
    page = open_page("/")
    order(page, "data-extraction-agent", "documentParser")
    page.get_by_label("Or send a file").set_input_files(csv_file())
    page.get_by_label("Format").select_option("csv")
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#task-head .badge")).to_have_text("Succeeded")
    expect(
        page.get_by_role("region", name="tables, table").get_by_role("cell", name="$1,200.50", exact=True)
    ).to_be_visible()
    expect(page.get_by_text("The gate allowed documentParser")).to_be_visible()
    shots(page, "story-submitted")


def test_a_csv_is_normalised(open_page: OpenPage) -> None:
    page = open_page("/")
    order(page, "normalization-agent", "normalizer")
    page.get_by_label("Or take the rows of a CSV or JSON file").set_input_files(csv_file())
    schema = '{"date": {"type": "date"}, "amount": {"type": "currency"}, "paid": {"type": "boolean"}}'
    page.get_by_label("Schema").fill(schema)
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#task-head .badge")).to_have_text("Succeeded")
    expect(page.get_by_role("cell", name="2026-11-03", exact=True)).to_be_visible()


def test_a_mistake_is_told_at_its_field_and_keeps_what_was_typed(open_page: OpenPage, complaints: list[str]) -> None:
    page = open_page("/tasks/new/normalization-agent/normalizer/")
    page.get_by_label("Schema").fill('{"date": {"type": "tomorrow"}}')
    page.get_by_role("button", name="Submit task").click()
    schema = page.get_by_label("Schema")
    expect(schema).to_have_attribute("aria-invalid", "true")
    expect(schema).to_have_value('{"date": {"type": "tomorrow"}}')
    expect(page.get_by_role("alert")).to_contain_text("Nothing was submitted")
    complaints[:] = [text for text in complaints if "422" not in text]  # the browser notes the status itself


def test_a_refused_fetch_is_allowed_and_its_retry_passes_the_gate(open_page: OpenPage, shots: Shots) -> None:
    page = open_page("/")
    order(page, "market-research-agent", "sourceFetch")
    page.get_by_label("URL").fill("https://reports.example.com/q3")
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#task-head .badge")).to_have_text("Failed")
    expect(page.locator(".title", has_text="The gate refused sourceFetch")).to_be_visible()
    expect(page.get_by_text("domain_not_allowed").first).to_be_visible()
    shots(page, "story-why-it-failed")
    page.get_by_label("Reason (kept in the audit trail)").fill(REASON)
    page.get_by_role("button", name="Allow reports.example.com and retry").click()
    expect(page.get_by_text("reports.example.com is allowed for market-research-agent")).to_be_visible()
    expect(page.get_by_text("The gate allowed sourceFetch").first).to_be_visible()
    expect(page.get_by_text("domain_not_allowed", exact=True)).to_have_count(0)  # what fails now is the fetch itself


def test_another_person_approves_and_the_task_goes_on(open_page: OpenPage, shots: Shots) -> None:
    page = open_page("/tasks/new/build-refactor-agent/workspacePatch/")
    page.get_by_label("File path").fill("examples/approved.txt")
    page.get_by_label("Changes").fill('[{"type": "append", "newText": "approved\\n"}]')
    page.get_by_label("Dry run").uncheck()
    page.get_by_role("button", name="Submit task").click()
    badge = page.locator("#task-head .badge")
    expect(badge).to_have_text("Waiting for a person")
    expect(page.get_by_text("You submitted this task, so another person decides.")).to_be_visible()
    assert page.get_by_role("button", name="Approve", exact=True).count() == 0

    other = open_page("/", user="approver")
    go(other, "Approvals")
    other.locator(".item", has_text="examples/approved.txt").first.click()
    expect(other.locator("#arguments")).to_contain_text("approved\\n")
    shots(other, "story-asked")
    other.get_by_label("Note (kept in the audit trail)").fill("read it")
    other.get_by_role("button", name="Approve", exact=True).click()
    expect(other.get_by_text("Approved once.")).to_be_visible()

    expect(page.get_by_text("approver approved once")).to_be_visible()  # by the socket: nobody reloads this page
    expect(badge).not_to_have_text("Waiting for a person")


def test_who_changed_a_rule_is_found_and_proven(open_page: OpenPage, shots: Shots) -> None:
    page = open_page("/", color_scheme="dark")
    go(page, "Permissions", "History")
    version = page.get_by_role("row", name=REASON)
    expect(version).to_contain_text("admin")
    shots(page, "story-who-changed-a-rule")
    go(page, "Audit")
    page.get_by_label("Kind").select_option("policy.published")
    expect(page).to_have_url(re.compile("type=policy.published"))
    page.get_by_role("row", name="admin").first.get_by_role("link").first.click()
    expect(page.get_by_text("The hash was computed anew")).to_be_visible()
    expect(page.locator("#body")).to_contain_text(REASON)
    with page.expect_download() as proof:
        page.get_by_role("link", name="Prove this").click()
    assert orjson.loads(proof.value.path().read_bytes())
    shots(page, "story-proven")


def test_an_agent_is_stopped_and_started_again(open_page: OpenPage, shots: Shots) -> None:
    page = open_page("/", color_scheme="dark")
    go(page, "Agents", "Content Generation")
    page.get_by_label("Reason").last.fill("Its texts promised a discount")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("main").get_by_text("Paused").first).to_be_visible()
    page.get_by_role("link", name="Who did that, and why").click()
    page.get_by_role("row", name="content-agent").get_by_role("link").first.click()
    expect(page.locator("#body")).to_contain_text("Its texts promised a discount")
    go(page, "Agents", "Content Generation")
    page.get_by_label("Reason").last.fill("Its prompt says so no more")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    shots(page, "story-agent")


def test_what_the_month_will_cost_is_one_click_away(open_page: OpenPage, shots: Shots) -> None:
    page = open_page("/", user="approver")
    go(page, "Cost")
    card = page.locator(".stat", has_text="Forecast for the month")
    expect(card.locator(".figure")).to_have_text(re.compile(r"^£\d"))
    expect(page.locator(".stat", has_text="Spent this month").locator(".figure")).to_contain_text("of £20")
    shots(page, "story-cost")
