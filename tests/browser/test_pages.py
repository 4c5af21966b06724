"""Every page in light, dark and 390 px: nothing for axe to find, nothing blocked, nothing sticking out."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.running import RunningServer

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"color_scheme": "light", "narrow": True},
}

PARSE: dict[str, Any] = {
    "agentId": "data-extraction-agent",
    "skillId": "documentParser",
    "input": {"content": "a,b\n1,2\n", "format": "csv"},
}


@pytest.fixture(scope="module")
def edited(browser: Browser, server: RunningServer, signed_in: Callable[[str], Any]) -> dict[str, str]:
    """Edit an agent as a person does: publish a version, begin a draft, try it out; give the pages about it."""
    agent = "/agents/qa-verification-agent/"
    context = browser.new_context(base_url=server.url, storage_state=signed_in("admin"))
    page = context.new_page()
    page.goto(f"{agent}edit/")
    page.get_by_label("Timeout in seconds").fill("240")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill(prompt.input_value() + "\nName the suite first, then what failed in it.\n")
    page.get_by_role("button", name="Save draft").click()
    page.get_by_label("Reason").fill("The suites are faster now")
    page.get_by_role("button", name="Publish version 2").click()
    expect(page.get_by_text("Version 2 is in force")).to_be_visible()
    page.goto(f"{agent}edit/")
    page.get_by_label("Model turns of a task").fill("12")
    page.get_by_label("Cost of a month in GBP").fill("3")
    schema = page.get_by_label("Input schema")
    schema.fill(schema.input_value().replace("{", '{"title": "What to verify",', 1))
    page.get_by_role("button", name="Save draft").click()
    draft = page.url.removeprefix(server.url)
    page.get_by_role("link", name="Try it out").click()
    page.get_by_role("button", name="Try it out").click()
    page.wait_for_url("**/tasks/*/")
    tried = page.url.removeprefix(server.url)
    context.close()
    return {
        "agent-edited": agent,
        "agent-edit": f"{agent}edit/",
        "agent-import": f"{agent}import/",
        "agent-version": f"{agent}versions/1/",
        "agent-compare": f"{agent}compare/?from=1&to=2",
        "agent-draft": draft,
        "draft-try": f"{draft}try/",
        "task-tried": tried,
    }


@pytest.fixture(scope="module")
def addresses(server: RunningServer, edited: dict[str, str]) -> dict[str, str]:
    """Give every page about things that exist: a task of each kind, an approval, an entry, an edited agent."""
    with server.client() as client:
        parsed = server.submit(client, **PARSE)
        refused = server.submit(
            client, agentId="market-research-agent", skillId="sourceFetch", input={"url": "https://no.example.org/"}
        )
        change = {"filePath": "examples/x.txt", "changes": [{"type": "append", "newText": "x"}], "dryRun": False}
        waiting = server.submit(client, agentId="build-refactor-agent", skillId="workspacePatch", input=change)
        parse: dict[str, Any] = {"name": "parse", "agentId": "data-extraction-agent", "skillId": "documentParser"}
        parse |= {"input": {"content": "a,b\n1,2\n", "format": "csv"}}
        asks = {"name": "asks", "agentId": "build-refactor-agent", "skillId": "workspacePatch", "input": change}
        inner = {"name": "nest", "agentId": "integration-agent", "input": {"steps": [asks]}, "dependsOn": ["parse"]}
        later = parse | {"name": "later", "dependsOn": ["nest"], "optional": True}
        flow = server.submit(client, agentId="integration-agent", input={"steps": [parse, inner, later]})
        ends = {parsed: "succeeded", refused: "failed", waiting: "awaiting_approval"}
        for task_id, state in ends.items():
            wait_for(client, task_id, state)
        wait_for(client, flow, "running")
        approval = client.get("/api/approvals").json()["results"][0]
        hook = {"name": "Chat", "url": "http://127.0.0.1:9/in?key=x", "kinds": ["task.ended"]}
        webhook = client.post("/api/webhooks", json=hook).json()["webhookId"]
        wait_for(client, server.submit(client, **PARSE), "succeeded")
        delivery = find_delivery(client)
        decision = find_refusal(client, refused)
        retried = client.post("/api/tasks/bulk", json={"action": "retry", "ids": [refused, parsed], "reason": "again"})
        wait_for(client, refused, "failed")
    return {
        "overview": "/",
        "help": "/help/?at=/tasks/",
        "find": "/find/?q=market",
        "views": "/views/",
        "tasks": "/tasks/",
        "tasks-empty": "/tasks/?status=cancelled",
        "tasks-narrow": "/tasks/?status=failed&by=admin&task=00000000&since=nonsense",
        "bulk-plan": f"/tasks/bulk/?action=cancel&id={waiting}&id={parsed}",
        "bulk-runs": "/tasks/bulk/",
        "bulk": f"/tasks/bulk/{retried.json()['bulkId']}/",
        "task-succeeded": f"/tasks/{parsed}/",
        "task-refused": f"/tasks/{refused}/",
        "task-waiting": f"/tasks/{waiting}/",
        "task-workflow": f"/tasks/{flow}/",
        "task-new": "/tasks/new/",
        "form-run": "/tasks/new/data-extraction-agent/",
        "form-workflow": "/tasks/new/integration-agent/",
        "form-fetch": "/tasks/new/market-research-agent/sourceFetch/",
        "form-parse": "/tasks/new/data-extraction-agent/documentParser/",
        "form-patch": "/tasks/new/build-refactor-agent/workspacePatch/",
        "approvals": "/approvals/",
        "approvals-decided": "/approvals/?show=decided",
        "approval": f"/approvals/{approval['approvalId']}/",
        "approval-mine": "/approvals/?mine=yes",
        "grants-empty": "/approvals/grants/",
        "explain": "/permissions/explain/",
        "explain-refused": f"/permissions/explain/?decision={decision}",
        "explain-call": f"/permissions/explain/?{urlencode(change_query(change))}",
        "agents": "/agents/",
        "agent": "/agents/market-research-agent/",
        "skills": "/skills/",
        "permissions": "/permissions/",
        "permissions-cell": "/permissions/?agent=market-research-agent&skill=sourceFetch",
        "permissions-crowded": "/permissions/?agent=build-refactor-agent&skill=workspacePatch",
        "permissions-empty": "/permissions/?q=nobody",
        "rule": "/permissions/rules/market-research-fetch/",
        "rule-edit": "/permissions/rules/build-refactor-patch-write/edit/",
        "rule-new": "/permissions/rules/new/",
        "skill": "/skills/sourceFetch/",
        "fleet": "/fleet/",
        "profile": "/settings/profile/",
        "roles": "/settings/roles/",
        "tokens": "/settings/tokens/?of=*",
        "token": "/settings/tokens/1/",
        "token-new": "/settings/tokens/new/",
        "users": "/settings/users/",
        "user": "/settings/users/2/",
        "user-new": "/settings/users/new/",
        "cost": "/cost/",
        "system": "/system/",
        "overview-week": "/?range=7d",
        "audit": "/audit/",
        "audit-empty": "/audit/?task=none",
        "audit-filtered": "/audit/?type=task.&decision=deny&beats=1",
        "audit-verify": "/audit/verify/",
        "audit-export": "/audit/export/?type=decision.",
        "entry": "/audit/2/",
        "live": "/live/",
        "webhooks": "/settings/webhooks/",
        "webhook": f"/settings/webhooks/{webhook}/",
        "webhook-new": "/settings/webhooks/new/",
        "webhook-edit": f"/settings/webhooks/{webhook}/edit/",
        "deliveries": "/settings/webhooks/deliveries/",
        "deliveries-empty": "/settings/webhooks/deliveries/?task=none",
        "delivery": f"/settings/webhooks/deliveries/{delivery}/",
        "not-found": "/nowhere/",
        **edited,
    }


def change_query(change: Any) -> dict[str, str]:
    """Return the question whether a change may be made."""
    return {"agent": "build-refactor-agent", "skill": "workspacePatch", "arguments": json.dumps(change)}


def find_refusal(client: Any, task_id: str) -> str:
    """Wait until the refusal of a task is in the audit trail; return its decision's id."""
    give_up_at = time.monotonic() + 20
    while not (found := client.get("/api/audit", params={"taskId": task_id, "decision": "deny"}).json()["results"]):
        assert time.monotonic() < give_up_at, f"{task_id} has no refusal"
        time.sleep(0.05)
    return str(found[0]["body"]["decisionId"])


def find_delivery(client: Any) -> str:
    """Wait until a webhook to an address that is not open was given up; return its id."""
    give_up_at = time.monotonic() + 20
    while not (found := client.get("/api/webhooks/deliveries", params={"state": "failed"}).json()["results"]):
        assert time.monotonic() < give_up_at, "no webhook was given up"
        time.sleep(0.05)
    return str(found[0]["deliveryId"])


def wait_for(client: Any, task_id: str, state: str) -> None:
    """Wait until a task is in `state`."""
    give_up_at = time.monotonic() + 20
    while client.get(f"/api/tasks/{task_id}").json()["status"] != state:
        assert time.monotonic() < give_up_at, f"{task_id} is not {state}"
        time.sleep(0.05)


def findings(page: Page) -> list[str]:
    """Return what axe finds, one line a rule."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:160]} ({len(rule['nodes'])})" for rule in found]


@pytest.mark.parametrize("look", LOOKS)
def test_pages_are_clean(
    look: str, open_page: OpenPage, addresses: dict[str, str], complaints: list[str], shots: Callable[[Page, str], None]
) -> None:
    page = open_page("/", **LOOKS[look])
    found: dict[str, list[str]] = {}
    for name, address in addresses.items():
        page.goto(address)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found[name] = findings(page) + ([f"sticks out by {wide} px"] if wide > 0 else [])
        shots(page, f"{name}-{look}")
    assert {name: lines for name, lines in found.items() if lines} == {}
    complaints[:] = [text for text in complaints if "404" not in text]  # the browser notes the missing page itself


@pytest.mark.parametrize("look", LOOKS)
def test_the_login_is_clean(look: str, open_page: OpenPage, shots: Callable[[Page, str], None]) -> None:
    page = open_page("/", user="", **LOOKS[look])
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert findings(page) == []
    shots(page, f"login-{look}")


def test_a_wrong_password_is_told_in_words(open_page: OpenPage, complaints: list[str]) -> None:
    page = open_page("/accounts/login/", user="")
    page.get_by_label("User name").fill("nobody")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert findings(page) == []
    complaints.clear()  # the status of the answer


def test_the_folded_menu_opens_by_keyboard(open_page: OpenPage) -> None:
    page = open_page("/tasks/", narrow=True)
    expect(page.get_by_role("navigation")).to_have_count(0)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("navigation").get_by_role("link", name="Audit", exact=True)).to_be_visible()
    assert findings(page) == []


def test_focus_can_be_seen_and_reaches_the_content(open_page: OpenPage) -> None:
    page = open_page("/tasks/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert (width, style) == ("2px", "solid")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.hasAttribute('data-search')")


def test_the_theme_is_switched_and_kept(open_page: OpenPage) -> None:
    page = open_page("/agents/", color_scheme="light")
    canvas = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(canvas) == "rgb(245, 247, 249)"
    page.locator(".side").get_by_role("button", name="System theme").click()
    page.locator(".side").get_by_role("button", name="Light theme").click()
    expect(page.locator(".side").get_by_role("button", name="Dark theme")).to_be_visible()
    assert page.url.endswith("/agents/")
    assert page.evaluate(canvas) == "rgb(13, 17, 22)"
    page.locator(".side").get_by_role("button", name="Dark theme").click()  # it is this person's from now on
    expect(page.locator(".side").get_by_role("button", name="System theme")).to_be_visible()


def test_times_are_in_the_zone_that_its_reader_chose(open_page: OpenPage) -> None:
    page = open_page("/settings/profile/", timezone_id="Europe/Berlin")
    zones = page.locator(".side [data-zone]")
    expect(zones).to_have_text("Europe/Berlin")  # the browser's, until one is chosen
    page.get_by_label("Times in").select_option("Asia/Kolkata")
    page.get_by_label("Rows").select_option("Cosy")
    page.get_by_label("Shortcuts of a single key").uncheck()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("Every page looks so")).to_be_visible()
    expect(zones).to_have_text("Asia/Kolkata")
    html = page.locator("html")
    expect(html).to_have_attribute("data-keys", "off")
    now = page.locator(".kv time")
    served = datetime.fromisoformat(now.get_attribute("datetime") or "")
    expect(now).to_have_text(f"{served.astimezone(ZoneInfo('Asia/Kolkata')):%-d %b %Y, %H:%M:%S}")
    page.goto("/audit/?since=2026-07-01T00:00:00Z")
    since = page.get_by_label("From")
    expect(since).to_have_value("2026-07-01T05:30")
    since.fill("2026-07-01T06:30")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**since=2026-07-01T01%3A00%3A00.000Z*")
    page.goto("/settings/profile/")
    page.get_by_label("Times in").select_option("This browser's zone")
    page.get_by_label("Rows").select_option("Compact")
    page.get_by_label("Shortcuts of a single key").check()
    page.get_by_role("button", name="Keep").click()
    expect(zones).to_have_text("Europe/Berlin")


def test_every_page_works_without_scripts(open_page: OpenPage, addresses: dict[str, str]) -> None:
    page = open_page("/tasks/", java_script_enabled=False)
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Apply").click()
    assert "status=failed" in page.url
    expect(page.get_by_role("row").nth(1)).to_contain_text("Failed")
    page.goto("/tasks/new/normalization-agent/normalizer/")
    page.get_by_role("button", name="Submit task").click()
    expect(page.get_by_text("Accepted")).to_be_visible()


def test_filters_live_in_the_address_and_back_works(open_page: OpenPage, addresses: dict[str, str]) -> None:
    page = open_page("/tasks/")
    page.get_by_label("State").select_option("failed")  # by htmx, on change
    page.wait_for_url("**/tasks/?status=failed*")
    expect(page.locator("#tasks tbody tr").first).to_contain_text("Failed")
    page.go_back()
    expect(page.locator("#tasks tbody tr").first).to_be_visible()
    assert "status=" not in page.url
