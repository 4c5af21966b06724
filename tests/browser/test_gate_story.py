"""The gate, by hand in a browser: a refusal becomes a rule, is tried and taken back; an answer outlives a kill."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.integration.test_faults import query, wait_for_audit
from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]
Shoot = Callable[[Page, str], None]
AGENT, SKILL = "content-agent", "workspacePatch"
RULE = "allow-content-agent-workspacepatch"


# --- a refusal becomes a rule -----------------------------------------------------------------------------------
def test_a_refusal_becomes_a_rule_that_is_tried_enforced_and_taken_back(
    open_page: OpenPage, server: RunningServer, shots: Shoot
) -> None:
    (server.var / "workspace" / "examples" / "draft.txt").write_text("A first line.\n")
    page = open_page(f"/tasks/new/{AGENT}/{SKILL}/")
    order_preview(page)
    expect_refused(page)
    shots(page, "story-1-refused")
    refused = page.url
    ask_why(page, shots)
    hold_it_against_the_history(page, shots)
    publish_it_in_the_shadow(page, shots)
    order_again(page, refused)
    expect_refused(page)
    promote_it(page, shots)
    page.goto(refused)
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("#task-head .badge")).to_have_text("Succeeded")
    expect(page.get_by_text("A second line.").first).to_be_visible()
    shots(page, "story-8-passed")
    roll_back(page, shots)
    order_again(page, refused)
    expect_refused(page)


def order_preview(page: Page) -> None:
    """Order what costs nothing to try: a preview of a patch."""
    page.get_by_label("File path").fill("examples/draft.txt")
    page.get_by_label("Changes").fill('[{"type": "append", "newText": "A second line.\\n"}]')
    page.get_by_role("button", name="Submit task").click()


def order_again(page: Page, task: str) -> None:
    page.goto(task)
    page.get_by_role("link", name="Submit again with changes").click()
    page.get_by_role("button", name="Submit task").click()
    page.wait_for_url(lambda url: "/tasks/new/" not in url)


def expect_refused(page: Page) -> None:
    expect(page.locator("#task-head .badge")).to_have_text("Failed")
    expect(page.get_by_text("The gate refused workspacePatch")).to_be_visible()
    expect(page.get_by_text("skill_not_allowed").first).to_be_visible()


def ask_why(page: Page, shots: Shoot) -> None:
    page.get_by_role("link", name="Why, and the narrowest rule that would allow it").click()
    expect(page.get_by_role("heading", name="What was decided")).to_be_visible()
    narrowest = page.get_by_role("region", name="The narrowest rule that would allow this")
    expect(narrowest).to_contain_text("examples/draft.txt")
    shots(page, "story-2-why")
    narrowest.get_by_role("button", name="Put into my draft").click()
    expect(page.get_by_text("The rule is in your draft.")).to_be_visible()


def hold_it_against_the_history(page: Page, shots: Shoot) -> None:
    expect(page.get_by_role("region", name="What it changes")).to_contain_text(RULE)
    expect(page.get_by_role("region", name="Looked over")).to_be_visible()
    shots(page, "story-3-draft")
    page.get_by_role("button", name="Replay the history").click()
    expect(page.get_by_text("1 of 1 calls would have come out otherwise.")).to_be_visible()
    expect(page.get_by_text("0 asked a person, 1 was refused")).to_be_visible()
    shots(page, "story-4-what-if")
    page.get_by_role("link", name="draft").first.click()


def publish_it_in_the_shadow(page: Page, shots: Shoot) -> None:
    page.get_by_role("link", name=f"Edit {RULE}").click()
    page.get_by_label("Log only (shadow)").check()
    page.get_by_role("button", name="Keep in my draft").last.click()
    expect(page.get_by_text("Kept in your draft.")).to_be_visible()
    page.get_by_role("link", name="draft").first.click()
    shots(page, "story-5-draft-in-shadow")
    page.get_by_label("Reason").fill("Try what the writers ask for")
    page.get_by_role("button", name="Publish version").click()
    expect(page.get_by_text("is in force: every process decides by it")).to_be_visible()


def promote_it(page: Page, shots: Shoot) -> None:
    """By way of the version in force, to the rule, to what it would have turned."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Permissions").click()
    page.get_by_role("link", name="History").click()
    page.get_by_role("row").nth(1).get_by_role("link").first.click()
    shots(page, "story-6-version")
    page.get_by_role("region", name="What it changed").get_by_role("link", name=RULE).click()
    page.get_by_role("link", name="Look at them, promote or drop it").click()
    expect(page.get_by_text("1 decision", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="By agent").get_by_role("row", name=AGENT)).to_contain_text("1")
    shots(page, "story-7-shadow")
    page.get_by_role("region", name="Promote it").get_by_label("Reason").fill("It let through what it should")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_text(f"The rule {RULE} is enforced now")).to_be_visible()


def roll_back(page: Page, shots: Shoot) -> None:
    """Back to the version before the rule came: the third from the top."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Permissions").click()
    page.get_by_role("link", name="History").click()
    shots(page, "story-9-history")
    page.get_by_role("row").nth(3).get_by_role("link").first.click()
    page.get_by_role("button", name="Restore version").click()
    expect(page.get_by_text("It says what version")).to_be_visible()
    shots(page, "story-10-restored")


# --- an answer outlives a kill ----------------------------------------------------------------------------------
PATCHER = "build-refactor-agent"
ASKED = '[{"type": "replace", "oldText": "TODO", "newText": "done by the model"}]'
OF_THE_DEAD = ("ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "htmx:afterRequest", "htmx:sendError")  # of a page meanwhile
EDITED = '[{"type": "replace", "oldText": "TODO", "newText": "done by hand"}]'


def test_a_changed_call_is_approved_its_process_killed_and_it_runs_exactly_once(
    open_page: OpenPage, server: RunningServer, complaints: list[str], shots: Shoot
) -> None:
    folder = server.var / "workspace" / "story"
    folder.mkdir()
    (folder / "plan.txt").write_text("TODO\n")
    page = open_page(f"/tasks/new/{PATCHER}/{SKILL}/")
    task_id = order_patch(page)
    other = open_page("/", user="approver")
    change_the_call(other, shots)
    with locked(folder):  # so that the skill is under way, and has changed nothing yet, when its process dies
        other.get_by_role("button", name="Approve the changed call").click()
        expect(other.get_by_text("Approved once.")).to_be_visible()
        expect(page.locator("#task-head .badge")).to_have_text("Running")
        wait_until_it_runs(server, task_id)
        server.kill()
    assert (folder / "plan.txt").read_text() == "TODO\n"
    server.start()
    let_it_run_again(other, shots)
    page.reload()
    expect(page.locator("#task-head .badge")).to_have_text("Succeeded")
    expect(page.get_by_text("approver approved once, with other arguments")).to_be_visible()
    expect(page.get_by_text("approver let it run once more")).to_be_visible()
    shots(page, "answer-6-succeeded")
    assert (folder / "plan.txt").read_text() == "done by hand\n"
    read_the_trail(page, server, shots)
    complaints[:] = [text for text in complaints if not any(words in text for words in OF_THE_DEAD)]


def order_patch(page: Page) -> str:
    page.get_by_label("File path").fill("story/plan.txt")
    page.get_by_label("Changes").fill(ASKED)
    page.get_by_label("Dry run").uncheck()
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#task-head .badge")).to_have_text("Waiting for a person")
    return page.url.rstrip("/").rsplit("/", 1)[-1]


def change_the_call(page: Page, shots: Shoot) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Approvals").click()
    page.locator(".item", has_text="story/plan.txt").click()
    expect(page.get_by_text("done by the model").first).to_be_visible()
    shots(page, "answer-1-asked")
    page.get_by_role("link", name="Change the arguments…").click()
    page.get_by_label("changes").fill(EDITED)
    shots(page, "answer-2-edit")
    page.get_by_role("button", name="See what changes").click()
    changed = page.get_by_role("region", name="What is changed, line by line")
    expect(changed.locator("del")).to_contain_text(["done by the model"])
    expect(changed.locator("ins")).to_contain_text(["done by hand"])
    shots(page, "answer-3-diff")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock under which files of a folder are changed, as another process would."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def wait_until_it_runs(server: RunningServer, task_id: str) -> None:
    """Wait until the step is written down: from then on the skill runs, or is about to."""
    wanted = "SELECT state FROM agents_step WHERE task_id = ?"
    give_up_at = time.monotonic() + 20
    while query(server, wanted, task_id) != [("intent",)]:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def let_it_run_again(page: Page, shots: Shoot) -> None:
    """Nobody knows whether it took effect, so a person is asked, who has looked."""
    page.goto("/approvals/")
    page.locator(".item", has_text="outcome unknown").filter(has_text="story/plan.txt").click()
    expect(page.get_by_text("A worker died while it ran this call")).to_be_visible()
    expect(page.get_by_text("done by hand").first).to_be_visible()
    shots(page, "answer-4-unknown")
    page.get_by_label("Note (kept in the audit trail)").fill("the file is as it was")
    page.get_by_role("button", name="Let it run again").click()
    expect(page.get_by_text("The call runs once more.")).to_be_visible()
    shots(page, "answer-5-again")


def read_the_trail(page: Page, server: RunningServer, shots: Shoot) -> None:
    wait_for_audit(server)
    page.get_by_role("link", name="its audit entries").click()
    events = page.get_by_role("region", name="Table of entries")
    for kind, count in {"approval.edited": 1, "approval.asked": 2, "approval.granted": 2, "approval.used": 2}.items():
        expect(events.get_by_text(kind, exact=True)).to_have_count(count)
    shots(page, "answer-7-trail")
    assert "OK: the log holds" in server.manage("verify_audit")
