"""The policy's pages in a real browser: a draft, a conflict, a rebase, publishing, comparing, restoring."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_pages import LOOKS, OpenPage, findings
from tests.running import RunningServer

pytestmark = pytest.mark.browser
FETCH = "market-research-fetch"
EXTRA = {"id": "extra", "agent": "*", "skill": "testRunner", "effect": "deny", "description": "Nobody, for now"}
NOBODYS = {"id": "lost", "agent": "nobody", "skill": "sourceFetch", "effect": "allow"}


@pytest.fixture
def policy(server: RunningServer) -> Iterator[Any]:
    """A client of the API for the policy; what a test publishes is taken back at its end."""
    with server.client() as client:
        before = client.get("/api/policy").json()["number"]
        yield client
        client.delete("/api/policy/draft")
        body = {"reason": "as it was", "baseVersion": client.get("/api/policy").json()["number"]}
        client.post(f"/api/policy/versions/{before}/restore", json=body)


def begin_draft(client: Any, *, calls: int) -> int:
    """Make a draft that changes, adds and removes a rule, and return the version that it was made on."""
    found = client.get("/api/policy").json()
    rules = [rule for rule in found["rules"] if rule["id"] != "tainted-fetch"]
    next(rule for rule in rules if rule["id"] == FETCH)["limits"]["callsPerTask"] = calls
    body = {"rules": [*rules, EXTRA, NOBODYS], "baseVersion": found["number"]}
    answer = client.put("/api/policy/draft", json=body)
    assert answer.status_code == 200, answer.text
    number: int = found["number"]
    return number


def publish_meanwhile(server: RunningServer, client: Any, tmp_path: Path, *, calls: int) -> None:
    """Publish as somebody else would, from a file."""
    rules = client.get("/api/policy").json()["rules"]
    next(rule for rule in rules if rule["id"] == FETCH)["limits"]["callsPerTask"] = calls
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"rules": rules}))
    server.manage("policy", "import", str(file), "--reason", "From another place")


@pytest.mark.parametrize("look", LOOKS)
def test_a_conflict_is_told_rebased_published_and_taken_back(
    look: str, open_page: OpenPage, server: RunningServer, policy: Any, tmp_path: Path,
    shots: Callable[[Page, str], None],
) -> None:  # fmt: skip
    def see(name: str) -> None:
        assert findings(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
        shots(page, f"policy-{name}-{look}")

    base = begin_draft(policy, calls=7)
    page = open_page("/permissions/draft/", java_script_enabled=True, **LOOKS[look])
    expect(page.get_by_text("Error:")).to_be_visible()
    see("draft")
    publish_meanwhile(server, policy, tmp_path, calls=9)
    page.get_by_label("Reason").fill("Seven are enough")
    page.get_by_role("button", name=f"Publish version {base + 1}").click()
    expect(page.get_by_text("Both changed", exact=True)).to_be_visible()
    see("conflict")
    page.get_by_role("button", name=f"Rebase on version {base + 1}").click()
    page.get_by_role("button", name="Undo the edit of lost").click()
    expect(page.get_by_text("Error:")).to_have_count(0)
    page.get_by_label("Reason").fill("Seven are enough")
    page.get_by_role("button", name=f"Publish version {base + 2}").click()
    expect(page.get_by_role("heading", name=f"Policy version {base + 2}")).to_be_visible()
    see("published")
    page.get_by_role("link", name="History").click()
    see("history")
    page.goto(f"/permissions/compare/?from={base}&to={base + 2}")
    see("compare")
    page.goto(f"/permissions/versions/{base}/")
    see("version")
    expect(page.get_by_label("Reason")).to_have_value(f"Back to version {base}")
    page.get_by_role("button", name=f"Restore version {base}").click()
    expect(page.get_by_text(f"It says what version {base} said")).to_be_visible()
    page.goto("/permissions/draft/")
    see("no-draft")


def test_a_draft_is_undone_and_published_without_scripts(open_page: OpenPage, policy: Any) -> None:
    base = begin_draft(policy, calls=7)
    page = open_page("/permissions/draft/", java_script_enabled=False)
    for rule_id in ("extra", "lost", "tainted-fetch"):
        page.get_by_role("button", name=f"Undo the edit of {rule_id}").click()
    page.get_by_label("Reason").fill("Seven are enough")
    page.get_by_role("button", name=f"Publish version {base + 1}").click()
    changed = policy.get(f"/api/policy/versions/{base + 1}").json()
    assert [change["ruleId"] for change in changed["changes"]] == [FETCH]
