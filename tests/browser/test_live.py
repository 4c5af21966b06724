"""The live feed in a real browser: rows as they happen, nothing lost or doubled across reconnects, gaps shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]


def submit(server: RunningServer, count: int = 1) -> None:
    with server.client() as client:
        for number in range(count):
            server.submit(
                client,
                agentId="normalization-agent",
                skillId="normalizer",
                input={"data": {"n": str(number)}, "schema": {"n": {"type": "number"}}},
            )


def seqs(page: Page) -> list[int]:
    """Return the numbers of the rows, oldest first."""
    shown: list[int] = page.eval_on_selector_all("[data-feed] > [data-seq]", "rows => rows.map(r => +r.dataset.seq)")
    return shown[::-1]


def recorded(page: Page, first: int, last: int) -> list[int]:
    """Return the numbers that the trail has of these, but for its heartbeats, which no row shows."""
    kept: list[int] = []
    after: int | None = first - 1
    while after is not None:
        answer = page.request.get(f"/live/events/?after={after}&to={last}").json()
        kept += [item["seq"] for item in answer["items"]]
        after = answer["next"]
    return kept


def assert_whole(page: Page) -> list[int]:
    """Check that the rows are all that was recorded between the first and the last of them, in order, once each."""
    shown = seqs(page)
    assert shown == recorded(page, shown[0], shown[-1])
    return shown


def cut(page: Page) -> list[WebSocketRoute]:
    """Put the test between page and server, so that it can cut the line; return the open lines."""
    lines: list[WebSocketRoute] = []

    def _connect(line: WebSocketRoute) -> None:
        line.connect_to_server()
        lines.append(line)

    page.route_web_socket("**/ws/console/", _connect)
    return lines


def test_it_shows_what_happens_as_it_happens(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page("/live/")
    expect(page.locator("[data-conn-word]")).to_have_text("Live")
    before = len(seqs(page))
    submit(server)
    page.wait_for_function("n => document.querySelectorAll('[data-feed] > [data-seq]').length > n + 3", arg=before)
    expect(page.locator("[data-feed]")).to_contain_text("normalizer")


def test_nothing_is_lost_or_doubled_across_reconnects(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page("about:blank")
    lines = cut(page)
    page.goto("/live/")
    for _ in range(8):
        expect(page.locator("[data-conn-word]")).to_have_text("Live")
        lines[-1].close()
        submit(server, 3)
    expect(page.locator("[data-conn-word]")).to_have_text("Live")
    submit(server)
    page.wait_for_timeout(1500)
    assert len(lines) >= 9
    assert len(assert_whole(page)) > 50


def test_a_server_that_is_killed_is_said_and_what_it_missed_is_shown_when_it_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    server = RunningServer(tmp_path / "var").start()
    try:
        page = browser.new_context(base_url=server.url).new_page()
        sign_in(page, server)
        page.goto("/live/")
        expect(page.locator("[data-conn-word]")).to_have_text("Live")
        submit(server, 3)
        server.kill()
        expect(page.locator("[data-conn-word]")).to_have_text("Reconnecting")
        for number in range(3):  # while no server runs, others still write
            server.manage("issue_token", f"meanwhile-{number}", "--scopes", "tasks:read")
        server.start()
        expect(page.locator("[data-conn-word]")).to_have_text("Live", timeout=30_000)
        submit(server)
        page.wait_for_timeout(2_000)
        last = int(page.request.get("/live/").text().split('data-last="')[1].split('"')[0])
        page.wait_for_function("n => document.querySelector('[data-feed] > [data-seq]').dataset.seq >= n", arg=last)
        told = page.locator("[data-feed] .what", has_text="issued a token").count()
        assert told >= 3
        assert len(assert_whole(page)) > 15
    finally:
        server.stop()


def sign_in(page: Page, server: RunningServer) -> None:
    page.goto("/")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(server.password_of("admin"))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/")


def play(page: Page, script: Callable[[WebSocketRoute, dict[str, Any]], None]) -> None:
    """Play the server: `script` answers what the page sends."""

    def _connect(line: WebSocketRoute) -> None:
        line.on_message(lambda text: script(line, json.loads(text)))

    page.route_web_socket("**/ws/console/", _connect)


def test_a_gap_is_filled_and_shown(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page("about:blank")

    def _script(line: WebSocketRoute, message: dict[str, Any]) -> None:
        if message["op"] == "hello":
            head = message["last"]
            line.send(json.dumps({"op": "hello", "head": head + 4}))
            submit(server)
            page.wait_for_timeout(800)
            line.send(json.dumps({"op": "gap", "after": head, "to": head + 4}))

    play(page, _script)
    page.goto("/live/")
    expect(page.get_by_text("caught up after a gap")).to_be_visible()
    assert_whole(page)


def item(seq: int, **changes: Any) -> dict[str, Any]:
    made = {
        "seq": seq, "id": f"e{seq}", "at": "2026-11-23T12:00:00.000000Z", "type": "decision.made", "decision": "deny",
        "status": None, "reason": "", "actor": "agent:x", "agentId": "x", "skillId": "sourceFetch", "taskId": "t1",
        "subject": "x", "text": "was refused sourceFetch",
    }  # fmt: skip
    return made | changes


def test_what_agents_wrote_is_text_and_what_was_skipped_is_said(open_page: OpenPage) -> None:
    page = open_page("about:blank")
    hostile = "<img src=x onerror=alert(1)>"

    def _script(line: WebSocketRoute, message: dict[str, Any]) -> None:
        if message["op"] == "hello":
            seq = message["last"] + 300
            line.send(json.dumps({"op": "hello", "head": seq}))
            row = item(seq, subject=hostile, text=hostile, skillId=None, taskId="../../x")
            line.send(json.dumps({"op": "ev", "items": [row], "head": seq, "skipped": 99}))

    play(page, _script)
    page.goto("/live/")
    expect(page.get_by_text("99 events came too fast to show.")).to_be_visible()
    expect(page.locator("[data-feed] .what").first).to_have_text(hostile)
    assert page.locator("[data-feed] img").count() == 0
    expect(page.locator("[data-feed] .task a").first).to_have_attribute("href", "/tasks/..%2F..%2Fx/")


def test_a_pause_collects_and_going_on_shows(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page("/live/")
    expect(page.locator("[data-conn-word]")).to_have_text("Live")
    page.keyboard.press("p")
    expect(page.locator("[data-conn-word]")).to_have_text("Paused")
    before = seqs(page)
    submit(server)
    expect(page.get_by_role("button", name="new events")).to_be_visible()
    assert seqs(page) == before
    page.keyboard.press("p")
    page.wait_for_function("n => document.querySelectorAll('[data-feed] > [data-seq]').length > n", arg=len(before))
    assert_whole(page)


def test_a_pause_counts_more_than_it_keeps_and_the_trail_s_end_moves_on(
    open_page: OpenPage, server: RunningServer
) -> None:
    page = open_page("/live/")
    end = page.locator("header.side [data-head]")
    before = end.inner_text()
    page.keyboard.press("p")
    page.evaluate(
        """() => {
          const make = (_, at) => ({ seq: 1e6 + at, at: "2026-01-01", type: "run.lost", subject: "a", text: "" });
          const items = Array.from({ length: 250 }, make);
          document.dispatchEvent(new CustomEvent("live:items", { detail: { items } }));
        }"""
    )
    expect(page.get_by_role("button", name="250 new events")).to_be_visible()
    submit(server)
    expect(end).not_to_have_text(before)


def test_a_lost_connection_is_said_and_forgotten_when_it_is_back(open_page: OpenPage) -> None:
    page = open_page("about:blank")
    line_is_up = False

    def _connect(line: WebSocketRoute) -> None:
        if line_is_up:
            line.connect_to_server()
        else:
            line.close(code=1011)

    page.route_web_socket("**/ws/console/", _connect)
    page.goto("/live/")
    expect(page.locator("[data-conn-word]")).to_have_text("Reconnecting")
    expect(page.get_by_text("Nothing is lost, events are kept.")).to_be_visible(timeout=10_000)
    line_is_up = True
    expect(page.locator("[data-conn-word]")).to_have_text("Live", timeout=20_000)
    expect(page.get_by_text("Nothing is lost, events are kept.")).to_be_hidden()


def test_the_badge_follows_without_a_reload(open_page: OpenPage, server: RunningServer) -> None:
    page = open_page("/agents/")
    badge = page.locator(".side [data-count=approvals]")
    before = int((badge.text_content() or "0").split()[0])
    with server.client() as client:
        server.submit(
            client,
            agentId="build-refactor-agent",
            skillId="workspacePatch",
            input={"filePath": "examples/badge.txt", "changes": [{"type": "append", "newText": "x"}], "dryRun": False},
        )
    expect(badge).to_have_text(f"{before + 1} waiting")
