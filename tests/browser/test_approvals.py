"""The queue of approvals in a real browser: by keyboard, with other arguments, several at once, for a while."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_pages import LOOKS, findings
from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]
AGENT, SKILL = "build-refactor-agent", "workspacePatch"


def ask(server: RunningServer, name: str, text: str = "# seen\n") -> str:
    """Submit a patch that a rule asks about, and return its task once it waits."""
    change = {"filePath": f"examples/{name}", "changes": [{"type": "append", "newText": text}], "dryRun": False}
    with server.client() as client:
        task = server.submit(client, agentId=AGENT, skillId=SKILL, input=change)
        give_up_at = time.monotonic() + 20
        while client.get(f"/api/tasks/{task}").json()["status"] != "awaiting_approval":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
    return task


@pytest.fixture
def asked(server: RunningServer) -> Iterator[list[str]]:
    """Give three tasks that wait, asking about three files; what is left of them is cancelled."""
    tasks = [ask(server, f"walk-{number}.txt") for number in range(3)]
    yield tasks
    with server.client() as client:
        for task in tasks:
            client.post(f"/api/tasks/{task}/cancel")


def test_the_queue_is_walked_by_keyboard_and_no_single_key_approves(
    open_page: OpenPage, server: RunningServer, asked: list[str]
) -> None:
    page = open_page("/approvals/?skill=workspacePatch", user="approver")
    current = page.locator("#queue .item[aria-current]")
    seen = []
    for key in ("", "j", "j", "k"):
        if key:
            page.keyboard.press(key)
        expect(current).to_have_count(1)
        page.wait_for_load_state()
        seen.append(current.get_attribute("href"))
    assert seen[1] == seen[3]
    assert len({*seen}) == 3
    assert "skill=workspacePatch" in page.url
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="Refuse", exact=True)).to_be_focused()
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    with server.client() as client:
        assert {client.get(f"/api/tasks/{task}").json()["status"] for task in asked} == {"awaiting_approval"}
    page.keyboard.press("Enter")
    expect(page.get_by_text("Approved once.")).to_be_visible()


def test_keys_typed_into_a_note_stay_there(open_page: OpenPage, asked: list[str]) -> None:
    page = open_page("/approvals/", user="approver")
    note = page.get_by_label("Note (kept in the audit trail)")
    note.fill("")
    note.press_sequentially("a jar")
    expect(note).to_have_value("a jar")
    expect(note).to_be_focused()


def test_the_queue_hears_of_a_new_request_and_keeps_what_is_typed(
    open_page: OpenPage, server: RunningServer, asked: list[str]
) -> None:
    page = open_page("/approvals/", user="approver")
    expect(page.locator("#queue .item").first).to_be_visible()
    note = page.get_by_label("Note (kept in the audit trail)")
    note.fill("half a thought")
    before = page.locator("#queue .item").count()
    badge = page.locator(".side [data-count=approvals]")
    counted = int(badge.inner_text().split()[0])
    asked.append(ask(server, "walk-live.txt"))
    expect(page.locator("#queue .item")).to_have_count(before + 1)
    expect(badge).to_contain_text(str(counted + 1))
    expect(note).to_have_value("half a thought")


def test_a_page_about_one_task_keeps_the_badge_true(
    open_page: OpenPage, server: RunningServer, asked: list[str]
) -> None:
    page = open_page(f"/tasks/{asked[0]}/", user="approver")
    badge = page.locator(".side [data-count=approvals]")
    counted = int(badge.inner_text().split()[0])
    asked.append(ask(server, "walk-badge.txt"))
    expect(badge).to_contain_text(str(counted + 1))


@pytest.mark.parametrize("look", LOOKS)
def test_a_call_is_changed_and_approved_for_the_changed_one_only(
    look: str,
    open_page: OpenPage,
    server: RunningServer,
    complaints: list[str],
    shots: Callable[[Page, str], None],
) -> None:
    task = ask(server, f"edit-{look}.txt", "one\ntwo\nthree\n")
    page = open_page(f"/tasks/{task}/", user="approver", **LOOKS[look])
    page.get_by_role("link", name="Open the request").click()
    page.get_by_role("link", name="Change the arguments…").click()
    assert findings(page) == []
    shots(page, f"approval-edit-{look}")
    changes = page.get_by_label("changes")
    changes.fill('[{"type": "append", "newText": 7}]')
    page.get_by_role("button", name="See what changes").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    expect(changes).to_have_value('[{"type": "append", "newText": 7}]')
    shots(page, f"approval-edit-mistake-{look}")
    changes.fill('[{"type": "append", "newText": "one\\nTWO\\nthree\\n"}]')
    page.get_by_role("button", name="See what changes").click()
    changed = page.get_by_role("region", name="What is changed, line by line")
    expect(changed.locator("del")).to_contain_text(["two"])
    expect(changed.locator("ins")).to_contain_text(["TWO"])
    assert findings(page) == []
    shots(page, f"approval-preview-{look}")
    page.get_by_role("button", name="Approve the changed call").click()
    expect(page.get_by_text("Approved once.")).to_be_visible()
    expect(page.get_by_text("before it was approved, by approver")).to_be_visible()
    assert findings(page) == []
    shots(page, f"approval-changed-{look}")
    with server.client() as client:
        answer: Any = client.get(f"/api/tasks/{task}").json()
        give_up_at = time.monotonic() + 20
        while answer["status"] in {"queued", "running"} and time.monotonic() < give_up_at:
            time.sleep(0.05)
            answer = client.get(f"/api/tasks/{task}").json()
    assert answer["status"] == "succeeded", answer
    assert (server.var / "workspace" / "examples" / f"edit-{look}.txt").read_text() == "one\nTWO\nthree\n"
    complaints[:] = [text for text in complaints if "422" not in text]  # the browser notes the status itself


@pytest.mark.parametrize("look", LOOKS)
def test_equal_requests_are_settled_by_one_answer(
    look: str, open_page: OpenPage, server: RunningServer, shots: Callable[[Page, str], None]
) -> None:
    for _ in range(3):
        ask(server, f"equal-{look}.txt")
    page = open_page("/approvals/", user="approver", **LOOKS[look])
    page.locator(".item", has_text=f"equal-{look}.txt").click()
    expect(page.get_by_role("heading", name="The same call waits in 2 other tasks")).to_be_visible()
    assert findings(page) == []
    shots(page, f"approval-equal-{look}")
    page.get_by_role("button", name="Refuse this and those chosen").click()
    expect(page.get_by_text("Refused.")).to_have_count(3)
    assert findings(page) == []
    shots(page, f"approval-results-{look}")


def test_an_answer_that_is_begun_is_not_swapped_away(open_page: OpenPage, server: RunningServer) -> None:
    """The page was read anew, and its answer was still on its way, when the person made a choice."""
    path = f"/tasks/{ask(server, 'begun.txt')}/"
    page = open_page(path, user="approver")
    held: list[Route] = []
    page.route(f"**{path}", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks the function
    page.evaluate("htmx.trigger('#task-live', 'refresh')")
    give_up_at = time.monotonic() + 20
    while not held:
        assert time.monotonic() < give_up_at
        page.wait_for_timeout(20)
    page.get_by_label("Further calls in this task too").check()
    with page.expect_response(f"**{path}") as answer:
        page.unroute(f"**{path}")  # what was held goes on
    answer.value.finished()
    page.wait_for_timeout(300)  # longer than a swap takes
    expect(page.get_by_label("Further calls in this task too")).to_be_checked()


# An event of the request that is shown, so many seconds after the page was read.
HEAR = """seconds => {
  const { about, read } = document.querySelector("[data-about]").dataset;
  const at = new Date(new Date(read).getTime() + seconds * 1000).toISOString();
  const items = [{ type: "approval.granted", taskId: about, at }];
  document.dispatchEvent(new CustomEvent("live:items", { detail: { items, skipped: 0 } }));
}"""


def test_what_a_page_shows_already_is_no_news_to_it(open_page: OpenPage, server: RunningServer) -> None:
    """One's own answer is shown at once, and numbered in the trail a moment later."""
    page = open_page(f"/tasks/{ask(server, 'news.txt')}/", user="approver")
    page.get_by_role("link", name="Open the request").click()
    page.wait_for_url("**/approvals/*/")
    news = page.get_by_text("Something happened to this request meanwhile.")
    page.evaluate(HEAR, -1)
    expect(news).to_be_hidden()
    page.evaluate(HEAR, 1)
    expect(news).to_be_visible()


def test_further_calls_are_let_through_for_a_while_and_then_not(
    open_page: OpenPage, server: RunningServer, complaints: list[str], shots: Callable[[Page, str], None]
) -> None:
    task = ask(server, "grant-1.txt")
    page = open_page(f"/tasks/{task}/", user="approver")
    page.get_by_label("Further calls of the agent, for some minutes").check()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("Say for how many minutes.")).to_be_visible()
    expect(page.get_by_label("Further calls of the agent, for some minutes")).to_be_checked()
    page.get_by_label("Minutes", exact=True).fill("10")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("further calls like it are not asked about")).to_be_visible()
    with server.client() as client:
        change = {"filePath": "examples/grant-2.txt", "changes": [{"type": "append", "newText": "x"}], "dryRun": False}
        second = server.submit(client, agentId=AGENT, skillId=SKILL, input=change)
        give_up_at = time.monotonic() + 20
        while client.get(f"/api/tasks/{second}").json()["status"] != "succeeded":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
    for look, options in LOOKS.items():
        other = open_page("/approvals/grants/", user="approver", **options)
        assert findings(other) == []
        shots(other, f"grants-{look}")
    page.goto("/approvals/grants/")
    page.get_by_role("button", name="Revoke the grant").click()
    expect(page.get_by_text("No grant is in force")).to_be_visible()
    assert findings(page) == []
    ask(server, "grant-3.txt")
    complaints[:] = [text for text in complaints if "422" not in text]
