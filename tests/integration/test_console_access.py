"""Who may open what: every address of the console, for the anonymous, the outsider and each role."""

from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone

from agents.bulk.actions import Action
from agents.bulk.planning import Selection, start_bulk
from agents.editing.drafts import save_draft
from agents.registry import get_agent
from agents.skills.base import dump
from orchestrator_site import console_urls
from orchestrator_site.console import THEME_COOKIE
from orchestrator_site.exports.tables import TABLES
from orchestrator_site.models import ApiToken
from orchestrator_site.roles import ROLES, Permission, Role
from orchestrator_site.tokens import issue_token
from orchestrator_site.webhooks.models import WebhookSubscription
from orchestrator_site.webhooks.views import make_key
from tests.integration.api_cast import make_person
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
from tests.integration.webhook_cast import make_delivery, subscribe
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
    "help": Permission.TASKS_READ,
    "find": Permission.TASKS_READ,
    "views": Permission.TASKS_READ,
    "task_list": Permission.TASKS_READ,
    "task": Permission.TASKS_READ,
    "task_new": Permission.TASKS_WRITE,
    "bulk_plan": Permission.TASKS_WRITE,
    "bulk": Permission.TASKS_READ,
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
    "system": Permission.SYSTEM_READ,
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
    "webhook_list": Permission.WEBHOOKS_READ,
    "webhook": Permission.WEBHOOKS_READ,
    "webhook_new": Permission.WEBHOOKS_WRITE,
    "webhook_edit": Permission.WEBHOOKS_WRITE,
    "webhook_secret": Permission.WEBHOOKS_WRITE,
    "delivery_list": Permission.WEBHOOKS_READ,
    "delivery": Permission.WEBHOOKS_READ,
    "token": Permission.TOKENS_WRITE,  # another's
    "user": Permission.USERS_WRITE,
    "user_list": Permission.USERS_WRITE,
    "user_new": Permission.USERS_WRITE,
}
OWN = {"profile", "roles", "security", "sessions", "token_list", "token_new"}  # of whoever is signed in
OWN_WRITES = {"session_end", "sessions_end"}  # theirs too; in test_sessions
WRITES = {
    "view_save": Permission.TASKS_READ,
    "view_rename": Permission.TASKS_READ,
    "view_delete": Permission.TASKS_READ,
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
    "webhook_switch": Permission.WEBHOOKS_WRITE,
    "webhook_rotate": Permission.WEBHOOKS_WRITE,
    "webhook_delete": Permission.WEBHOOKS_WRITE,
    "callbacks_rotate": Permission.WEBHOOKS_WRITE,
    "delivery_retry": Permission.WEBHOOKS_WRITE,
    "token_revoke": Permission.TOKENS_WRITE,  # another's
    "user_password": Permission.USERS_WRITE,
    "user_roles": Permission.USERS_WRITE,
    "user_factors": Permission.USERS_WRITE,
    "user_sessions": Permission.USERS_WRITE,
    "user_switch": Permission.USERS_WRITE,
}
FORMS = {
    "webhook_new",
    "webhook_edit",
    "bulk_plan",
    "profile",
    "token_new",
    "user_new",
    "task_form",
    "run_form",
    "approval_edit",
    "agent_edit",
    "agent_import",
    "draft_try",
    "rule_new",
    "rule_edit",
}
PAIR = {"agent": FETCHER, "skill": FETCH}
BODIES = {
    "view_save": {"list": "tasks"},
    "permission_keep": PAIR,
    "explain_draft": PAIR | {"arguments": '{"url": "https://example.com/"}'},
}
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
OWNED = {"view_rename", "view_delete"}  # in test_finding: their owner's alone
FILES = {
    "task_result": Permission.TASKS_READ,
    "task_transcript": Permission.TASKS_READ,
    "artifact": Permission.TASKS_READ,
    "agent_export": Permission.AGENTS_READ,
    **{f"export_{table.name}": table.permission for table in TABLES},
}


def address(name: str) -> str:
    """Return the address of a page about things that exist."""
    task, approval = make_waiting_task()
    agent = get_agent("data-extraction-agent")
    webhook = WebhookSubscription.objects.first() or subscribe("https://hooks.example/")
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
        "subscription_id": webhook.id,
        "delivery_id": make_delivery(webhook).id,
        "pk": 1,
        "view_id": 1,
        "token_id": _find_token().pk,
        "user_id": _find_user().pk,
        "bulk_id": _find_bulk(task.id) if name == "bulk" else "none",
        "format": "csv",
    }
    pattern = next(pattern for pattern in PATTERNS if pattern.name == name)
    wanted = pattern.pattern.converters
    path = reverse(f"console:{name}", kwargs={key: arguments[key] for key in wanted})
    queries = {"permission_cell": PAIR, "webhook_secret": {"key": make_key(webhook, user="ada")}}
    return f"{path}?{urlencode(queries[name])}" if name in queries else path


def _find_bulk(task_id: str) -> str:
    """Return a bulk run that somebody started."""
    selection = Selection(task_ids=(task_id,))
    now = timezone.now()
    return start_bulk(Action.CANCEL, selection, reason="a test", asked_by="olga", snapshot="", now=now).id


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


def _find_user() -> User:
    """Return a user who is none of the cast."""
    return User.objects.filter(username="bob").first() or make_person("bob", Role.VIEWER)


def _find_token() -> ApiToken:
    """Return a token of theirs."""
    return issue_token("bob's", owner=_find_user(), scopes=["tasks:read"], now=timezone.now())[0]


def test_these_tests_know_every_address() -> None:
    known = {*PAGES, *OWN, *OWN_WRITES, *WRITES, *FILES, *READS_OF_THE_STORE, "theme"}
    assert {pattern.name for pattern in PATTERNS} == known


@pytest.mark.parametrize("name", sorted({*PAGES, *OWN, *OWN_WRITES, *WRITES, *FILES, *READS_OF_THE_STORE}))
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


@pytest.mark.parametrize("person", [*CAST, OUTSIDER])
def test_everybody_opens_what_is_their_own(person: str) -> None:
    client = sign_in(person)
    for name in OWN:
        answer = client.get(address(name))
        assert answer.status_code == 200, name
        assert 'href="/settings/profile/"' in text_of(answer), name
        assert ('href="/settings/users/"' in text_of(answer)) is (person == "ada"), name


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
    for name in WRITES.keys() - OWNED:
        permission = WRITES[name]
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


@pytest.mark.parametrize("name", [*WRITES, *sorted(OWN_WRITES), "theme"])
def test_nothing_is_changed_by_reading(name: str) -> None:
    answer = sign_in("ada").get(address(name))
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    if name in WRITES:  # a browser shows an empty answer as an error of its own
        assert "There is nothing to read here" in text_of(answer)


@pytest.mark.parametrize("name", [*WRITES, *sorted(OWN_WRITES | FORMS), "theme"])
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
