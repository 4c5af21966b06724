"""Who may open what: every address of the console, for the anonymous, the outsider and each role."""

from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, reverse

from agents.editing.drafts import save_draft
from agents.registry import get_agent
from agents.skills.base import dump
from orchestrator_site import console_urls
from orchestrator_site.console import THEME_COOKIE
from orchestrator_site.roles import ROLES, Permission
from tests.integration.console_cast import CAST, OUTSIDER, make_task, make_waiting_task, sign_in, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

PATTERNS: list[URLPattern] = console_urls.urlpatterns
PAGES = {
    "overview": Permission.TASKS_READ,
    "task_list": Permission.TASKS_READ,
    "task": Permission.TASKS_READ,
    "task_new": Permission.TASKS_WRITE,
    "task_form": Permission.TASKS_WRITE,
    "run_form": Permission.TASKS_WRITE,
    "approval_list": Permission.APPROVALS_READ,
    "approval": Permission.APPROVALS_READ,
    "counts": Permission.APPROVALS_READ,
    "agent_list": Permission.AGENTS_READ,
    "agent": Permission.AGENTS_READ,
    "agent_edit": Permission.AGENTS_WRITE,
    "agent_import": Permission.AGENTS_WRITE,
    "agent_compare": Permission.AGENTS_READ,
    "agent_version": Permission.AGENTS_READ,
    "agent_draft": Permission.AGENTS_READ,
    "draft_try": Permission.AGENTS_WRITE,
    "skill_list": Permission.AGENTS_READ,
    "cost": Permission.BUDGET_READ,
}
WRITES = {
    "task_cancel": Permission.TASKS_WRITE,
    "task_retry": Permission.TASKS_WRITE,
    "task_allow_host": Permission.POLICY_WRITE,
    "approval_decide": Permission.APPROVALS_DECIDE,
    "agent_status": Permission.AGENTS_WRITE,
    "agent_restore": Permission.AGENTS_WRITE,
    "draft_publish": Permission.AGENTS_WRITE,
    "draft_rebase": Permission.AGENTS_WRITE,
    "draft_discard": Permission.AGENTS_WRITE,
    "cost_cap": Permission.BUDGET_WRITE,
}
READS_OF_THE_STORE = {"live", "live_range", "event_list", "event"}  # in test_console_audit
FILES = {
    "task_result": Permission.TASKS_READ,
    "task_transcript": Permission.TASKS_READ,
    "artifact": Permission.TASKS_READ,
    "agent_export": Permission.AGENTS_READ,
}


def address(name: str) -> str:
    """Return the address of a page about things that exist."""
    task, approval = make_waiting_task()
    agent = get_agent("data-extraction-agent")
    draft = save_draft(agent.id, dump(agent.config), author="ada", now=task.created_at)
    arguments: dict[str, Any] = {
        "task_id": task.id,
        "approval_id": approval.id,
        "agent_id": agent.id,
        "draft_id": draft.id,
        "version": 1,
        "skill_id": "documentParser",
        "name": "result.json",
        "seq": 1,
    }
    pattern = next(pattern for pattern in PATTERNS if pattern.name == name)
    wanted = pattern.pattern.converters
    return reverse(f"console:{name}", kwargs={key: arguments[key] for key in wanted})


def test_these_tests_know_every_address() -> None:
    known = {*PAGES, *WRITES, *FILES, *READS_OF_THE_STORE, "theme"}
    assert {pattern.name for pattern in PATTERNS} == known


@pytest.mark.parametrize("name", sorted({*PAGES, *WRITES, *FILES, *READS_OF_THE_STORE}))
def test_it_sends_the_anonymous_to_the_login(name: str) -> None:
    for answer in (Client().get(address(name)), Client().post(address(name))):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("name", sorted({*PAGES, *WRITES, *FILES, *READS_OF_THE_STORE}))
def test_it_refuses_who_has_no_role_and_says_why(name: str) -> None:
    client = sign_in(OUTSIDER)
    answer = client.post(address(name)) if name in WRITES else client.get(address(name))
    assert answer.status_code == 403
    assert "none of your roles" in answer.content.decode()


@pytest.mark.parametrize("person", CAST)
def test_each_role_opens_what_its_permissions_say(person: str) -> None:
    client = sign_in(person)
    granted = ROLES[CAST[person]]
    seen = {name: client.get(address(name)).status_code for name in PAGES}
    assert seen == {name: 200 if permission in granted else 403 for name, permission in PAGES.items()}


@pytest.mark.parametrize("person", CAST)
def test_each_role_changes_what_its_permissions_say(person: str) -> None:
    client = sign_in(person)
    granted = ROLES[CAST[person]]
    for name, permission in WRITES.items():
        # Done, or told what is missing in the form; else refused.
        assert (client.post(address(name)).status_code in {302, 422}) is (permission in granted), name


@pytest.mark.parametrize("person", CAST)
def test_the_navigation_offers_only_what_opens(person: str) -> None:
    client = sign_in(person)
    page = client.get("/").content.decode()
    assert ('href="/audit/"' in page) is (Permission.AUDIT_READ in ROLES[CAST[person]])
    assert ('href="/tasks/new/"' in page) is (Permission.TASKS_WRITE in ROLES[CAST[person]])
    assert ("console/socket.js" in page) is (Permission.AUDIT_READ in ROLES[CAST[person]])


@pytest.mark.parametrize("name", [*WRITES, "theme"])
def test_nothing_is_changed_by_reading(name: str) -> None:
    assert sign_in("ada").get(address(name)).status_code == 405


@pytest.mark.parametrize("name", [*WRITES, "task_form", "agent_edit", "agent_import", "draft_try", "theme"])
def test_a_change_needs_its_csrf_token(name: str) -> None:
    answer = sign_in("ada", csrf=True).post(address(name))
    assert answer.status_code == 403
    assert "The form had expired" in answer.content.decode()


def test_private_pages_stay_out_of_caches_and_frames() -> None:
    make_task()
    answer = sign_in("ada").get("/tasks/")
    assert "no-store" in answer["Cache-Control"]
    assert answer["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/tasks/none/", "/approvals/none/", "/agents/none/", "/nowhere/", "/tasks/new/a/b/"])
def test_what_does_not_exist_is_a_page_of_ours(path: str) -> None:
    answer = sign_in("ada").get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()


# --- theme ------------------------------------------------------------------------------------------------------
def test_the_theme_is_kept_in_a_cookie_and_set_by_the_server() -> None:
    client = sign_in("vera")
    answer = client.post("/theme/", {"theme": "dark", "next": "/tasks/?status=failed"})
    assert answer["Location"] == "/tasks/?status=failed"
    assert client.cookies[THEME_COOKIE].value == "dark"
    assert '<html lang="en-GB" data-theme="dark">' in client.get("/").content.decode()
    client.post("/theme/", {"theme": "system"})
    assert "data-theme" not in client.get("/").content.decode()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:x", "/\\evil.example"])
def test_the_theme_switch_leads_nowhere_else(target: str) -> None:
    assert sign_in("vera").post("/theme/", {"theme": "dark", "next": target})["Location"] == "/"


def test_an_unknown_theme_is_none() -> None:
    client = sign_in("vera")
    client.cookies[THEME_COOKIE] = '"><script>'
    assert "data-theme" not in client.get("/").content.decode()
