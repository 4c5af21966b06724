"""Who may open what: every address of the console, for the anonymous, the outsider and each role."""

from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone

from agents.editing.drafts import save_draft
from agents.registry import get_agent
from agents.skills.base import dump
from orchestrator_site import console_urls
from orchestrator_site.console import THEME_COOKIE
from orchestrator_site.roles import ROLES, Permission
from tests.integration.console_cast import (
    CAST,
    FETCH,
    FETCHER,
    OUTSIDER,
    make_task,
    make_waiting_task,
    sign_in,
    text_of,
    world,
)
from toolgate.editing.drafts import find_open_draft, remove_rule
from toolgate.models import PolicyDraft
from toolgate.publishing import publish_policy
from toolgate.queries import current_rules
from toolgate.replay.runs import start_what_if

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
    "approval_edit": Permission.APPROVALS_DECIDE,
    "grants": Permission.APPROVALS_READ,
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
    "skill": Permission.AGENTS_READ,
    "fleet": Permission.AGENTS_READ,
    "cost": Permission.BUDGET_READ,
    "permissions": Permission.POLICY_READ,
    "permission_cell": Permission.POLICY_READ,
    "rule": Permission.POLICY_READ,
    "rule_new": Permission.POLICY_WRITE,
    "rule_edit": Permission.POLICY_WRITE,
    "explain": Permission.POLICY_READ,
    "what_if": Permission.POLICY_READ,
    "shadow": Permission.POLICY_READ,
    "policy_draft": Permission.POLICY_READ,
    "policy_draft_of": Permission.POLICY_READ,
    "policy_history": Permission.POLICY_READ,
    "policy_version": Permission.POLICY_READ,
    "policy_compare": Permission.POLICY_READ,
}
WRITES = {
    "task_cancel": Permission.TASKS_WRITE,
    "task_retry": Permission.TASKS_WRITE,
    "task_allow_host": Permission.POLICY_WRITE,
    "approval_decide": Permission.APPROVALS_DECIDE,
    "approval_batch": Permission.APPROVALS_DECIDE,
    "grant_revoke": Permission.APPROVALS_DECIDE,
    "agent_status": Permission.FLEET_STOP,
    "skill_status": Permission.FLEET_STOP,
    "fleet_switch": Permission.FLEET_STOP,
    "agent_restore": Permission.AGENTS_WRITE,
    "draft_publish": Permission.AGENTS_WRITE,
    "draft_rebase": Permission.AGENTS_WRITE,
    "draft_discard": Permission.AGENTS_WRITE,
    "cost_cap": Permission.BUDGET_WRITE,
    "permission_keep": Permission.POLICY_WRITE,
    "rule_delete": Permission.POLICY_WRITE,
    "explain_draft": Permission.POLICY_WRITE,
    "what_if_start": Permission.POLICY_READ,
    "shadow_promote": Permission.POLICY_WRITE,
    "shadow_drop": Permission.POLICY_WRITE,
    "policy_draft_publish": Permission.POLICY_WRITE,
    "policy_draft_rebase": Permission.POLICY_WRITE,
    "policy_draft_discard": Permission.POLICY_WRITE,
    "policy_draft_undo": Permission.POLICY_WRITE,
    "policy_restore": Permission.POLICY_WRITE,
}
FORMS = {"task_form", "run_form", "approval_edit", "agent_edit", "agent_import", "draft_try", "rule_new", "rule_edit"}
PAIR = {"agent": FETCHER, "skill": FETCH}
BODIES = {"permission_keep": PAIR, "explain_draft": PAIR | {"arguments": '{"url": "https://example.com/"}'}}
HEADERS = {"permission_cell": {"HX-Request": "true"}}  # a fragment; to others the page that holds it
# In test_console_audit, test_explorer and test_trail_runs.
READS_OF_THE_STORE = {
    "event",
    "event_list",
    "event_proof",
    "live",
    "live_range",
    "trail_export",
    "trail_run",
    "trail_verify",
}
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
        "grant_id": "none",
        "agent_id": agent.id,
        "draft_id": _find_policy_draft().id if name == "policy_draft_of" else draft.id,
        "version": 1,
        "number": 1,
        "rule_id": _find_trial() if name.startswith("shadow") else "market-research-fetch",
        "what_if_id": _find_what_if() if name == "what_if" else "none",
        "skill_id": "documentParser",
        "name": "result.json",
        "seq": 1,
        "run_id": "none",
    }
    pattern = next(pattern for pattern in PATTERNS if pattern.name == name)
    wanted = pattern.pattern.converters
    path = reverse(f"console:{name}", kwargs={key: arguments[key] for key in wanted})
    return f"{path}?{urlencode(PAIR)}" if name == "permission_cell" else path


def _find_policy_draft() -> PolicyDraft:
    """Return a draft of the policy that is nobody's of the cast."""
    return find_open_draft("bob") or remove_rule("bob", "content-parse", now=timezone.now())


def _find_trial() -> str:
    """Return a rule on trial, published if there is none yet."""
    number, rules = current_rules()
    trial = {"id": "trial", "agent": "*", "skill": FETCH, "effect": "deny", "shadow": True}
    if trial["id"] not in {rule["id"] for rule in rules}:
        publish_policy([*rules, trial], author="bob", reason="a trial", base_version=number, now=timezone.now())
    return str(trial["id"])


def _find_what_if() -> str:
    """Return a what-if that somebody asked for."""
    number, rules = current_rules()
    return start_what_if(rules[1:], base_version=number, asked_by="bob", since=None, now=timezone.now()).id


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
    seen = {name: client.get(address(name), headers=HEADERS.get(name)).status_code for name in PAGES}
    assert seen == {name: 200 if permission in granted else 403 for name, permission in PAGES.items()}


@pytest.mark.parametrize("person", CAST)
def test_each_role_changes_what_its_permissions_say(person: str) -> None:
    client = sign_in(person)
    granted = ROLES[CAST[person]]
    for name, permission in WRITES.items():
        # Done, or told what is missing in the form; else refused.
        answer = client.post(address(name), BODIES.get(name))
        assert (answer.status_code in {302, 422}) is (permission in granted), name
        assert permission in granted or answer.status_code == 403, name


@pytest.mark.parametrize("person", CAST)
def test_the_navigation_offers_only_what_opens(person: str) -> None:
    client = sign_in(person)
    page = client.get("/").content.decode()
    assert ('href="/audit/"' in page) is (Permission.AUDIT_READ in ROLES[CAST[person]])
    assert ('href="/tasks/new/"' in page) is (Permission.TASKS_WRITE in ROLES[CAST[person]])
    assert ("console/socket.js" in page) is (Permission.AUDIT_READ in ROLES[CAST[person]])


@pytest.mark.parametrize("name", [*WRITES, "theme"])
def test_nothing_is_changed_by_reading(name: str) -> None:
    answer = sign_in("ada").get(address(name))
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    if name in WRITES:  # a browser shows an empty answer as an error of its own
        assert "There is nothing to read here" in text_of(answer)


@pytest.mark.parametrize("name", [*WRITES, *sorted(FORMS), "theme"])
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
@pytest.mark.parametrize(
    "path", ["/tasks/%00/", "/approvals/?agent=%00", "/permissions/explain/?decision=%00", "/permissions/whatif/%00/"]
)
def test_an_address_with_a_nul_is_malformed(path: str) -> None:
    """PostgreSQL has no such text: asked for it, the page would be one of our own failures."""
    assert sign_in("ada").get(path).status_code == 400


def test_a_form_with_a_nul_names_no_decision() -> None:
    assert sign_in("ada").post("/permissions/explain/draft/", {"decision": "\0"}).status_code == 404


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
