"""Every address that takes more than reads, sent to for real: what it changes is an event of a named type.

The table is complete by construction: an address that takes an unsafe method and is not in it fails here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agents.editing import drafts as agent_drafts
from agents.registry import get_agent
from agents.skills.base import dump
from audit.events import EventType
from audit.models import LedgerEvent
from audit.sequencer import Sequencer
from orchestrator_site.exports.tables import TABLES
from orchestrator_site.finding.saved import save_view
from orchestrator_site.models import SavedView
from orchestrator_site.tokens import issue_token
from orchestrator_site.webhooks.following import follow
from orchestrator_site.webhooks.models import WebhookDelivery
from tests.integration import entering_ways as ways
from tests.integration.api_cast import INPUT, ORDER, api_of, forget_all
from tests.integration.console_cast import (
    FETCH,
    FETCHER,
    PATCHER,
    make_refused_task,
    make_task,
    make_waiting_task,
    sign_in,
    world,
)
from tests.integration.test_alerts import alert, notice
from tests.integration.webhook_cast import end_task, number, subscribe
from tests.security.test_doors import ADDRESSES
from tests.unit.matrix_cast import send
from toolgate.approvals import decide_approval
from toolgate.editing import drafts as policy_drafts
from toolgate.editing.versions import get_newest
from toolgate.in_force import forget_policy
from toolgate.models import Approval, Grant
from toolgate.publishing import publish_policy

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")

PASSWORD = "correct-horse-battery-staple"
EDITED = "data-extraction-agent"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
WHY = {"reason": "for a test"}
HOOK: dict[str, Any] = {"name": "test", "url": "https://hooks.example/", "kinds": ["task.ended"]}
DENY = {"id": "extra", "agent": "qa-verification-agent", "skill": FETCH, "effect": "deny"}

Sent = tuple[str, Any]  # an address, and what is sent to it
SentBy = tuple[str, Any, Client]  # the same, by a session in which there was something before


@dataclass(frozen=True, slots=True)
class Route:
    """What sends to an address for real, by whom, and what has to be recorded of it."""

    events: set[EventType]
    prepare: Callable[[], Sent | SentBy]
    person: str = "ada"
    has_store: bool = False  # what is numbered by then is in the store


# --- what there has to be before ------------------------------------------------------------------------------
def form_of(path: str, person: str, **changes: Any) -> Sent:
    """Return what a browser sends of a form as it is served."""
    form = sign_in(person).get(path).context["form"]
    values = {bound.html_name: bound.value() for bound in form} | changes
    return path, {name: str(value) for name, value in values.items() if value not in (None, False)}


def waiting() -> Approval:
    rule = {"ruleId": "build-refactor-patch-write", "quorum": 1, "approvers": None, "fourEyes": True}
    terms = [rule | {"expiresSeconds": None, "slaSeconds": None}]
    return make_waiting_task(rule_id="build-refactor-patch-write", terms=terms)[1]


def answer_of(approval: Approval, **more: str) -> dict[str, Any]:
    return {"decision": "approve", "digest": approval.digest, **more}


def grant() -> Grant:
    approval = waiting()
    decide_approval(approval.id, approve=True, user="ana", scope="task", now=timezone.now())
    return Grant.objects.get(approval_id=approval.id)


def view() -> SavedView:
    olga = User.objects.get(username="olga")
    return save_view(olga, "Failed", of="tasks", query="status=failed", now=timezone.now())


def rule_draft(author: str = "ada") -> Any:
    return policy_drafts.put_rule(author, DENY, replaces=None, now=timezone.now())


def publish_more(**more: Any) -> int:
    newest = get_newest()
    rules = [*newest.rules, DENY | more]
    number = publish_policy(rules, author="bob", reason="x", base_version=newest.number, now=timezone.now()).number
    forget_policy()
    return number


def rebased() -> Sent:
    rule_draft()
    publish_more(id="other")
    return "/permissions/draft/rebase/", {}


def agent_draft(timeout: int = 77) -> str:
    config: Any = dump(get_agent(EDITED).config) | {"timeoutSeconds": timeout}
    return agent_drafts.save_draft(EDITED, config, author="ada", now=timezone.now()).id


def agent_path(verb: str) -> str:
    return f"/agents/{EDITED}/{verb}"


def older_agent() -> Sent:
    agent_drafts.publish_draft(agent_draft(), author="ada", reason="x", now=timezone.now())
    return agent_path("versions/1/restore/"), WHY


def trial(verb: str) -> Sent:
    return f"/permissions/shadow/extra/{verb}/", {"version": str(publish_more(shadow=True)), **WHY}


def hook() -> str:
    return subscribe(HOOK["url"]).id


def delivery() -> str:
    hook()
    end_task()
    number()
    follow(now=timezone.now())
    return WebhookDelivery.objects.get().id


def cell() -> Sent:
    pair = {"agent": FETCHER, "skill": FETCH}
    form = sign_in("ada").get("/permissions/", pair).context["form"]
    return "/permissions/cell/keep/", send(form, **pair, **{"limits.callsPerTask": "7"})


def rule_form(path: str, **changes: Any) -> Sent:
    form = sign_in("ada").get(path).context["form"]
    return path, send(form, form.rows, **changes)


def give_password(name: str) -> None:
    user = User.objects.get(username=name)
    user.set_password(PASSWORD)
    user.save()


def user_path(verb: str) -> str:
    return f"/settings/users/{User.objects.get(username='vera').pk}/{verb}/"


def lost_factor() -> Sent:
    Authenticator.objects.create(user=User.objects.get(username="vera"), type=Authenticator.Type.TOTP, data={})
    return user_path("factors"), WHY


def token_of(name: str) -> int:
    owner = User.objects.get(username=name)
    return issue_token("a", owner=owner, scopes=["tasks:read"], now=timezone.now())[0].pk


def login() -> Sent:
    give_password("olga")
    return reverse("account_login"), {"login": "olga", "password": PASSWORD}


def new_password() -> Sent:
    login()
    other = f"{PASSWORD}-2"
    sent = {"oldpassword": PASSWORD, "password1": other, "password2": other}
    return reverse("account_change_password"), sent


def wrong_password() -> Sent:
    login()
    return reverse("account_reauthenticate"), {"password": "wrong"}


def refused_host() -> Sent:
    return f"/tasks/{make_refused_task().id}/allow-host/", {"host": "example.com", **WHY}


def bulk_form() -> Sent:
    return "/tasks/bulk/", {"action": "cancel", "id": make_task(state="queued").id, **WHY}


def export_of(name: str) -> Sent:
    return f"/exports/{name}.csv", None


def imported() -> Sent:
    config: Any = dump(get_agent(EDITED).config) | {"timeoutSeconds": 66}
    return agent_path("import/"), {"file": SimpleUploadedFile("agent.json", orjson.dumps(config))}


def tried() -> Sent:
    path = agent_path(f"drafts/{agent_draft()}/try/")
    return form_of(
        path, "ada", input=orjson.dumps({"files": [{"path": "examples/stock.json", "format": "json"}]}).decode()
    )


def equal() -> Sent:
    approval = waiting()
    return f"/approvals/{approval.id}/decide-equal/", answer_of(approval, ids=approval.id)


def batch(approval: Approval) -> Sent:
    return f"/approvals/{approval.id}/decide/", answer_of(approval)


E = EventType
NOTHING: set[EventType] = set()
CONSOLE: dict[str, Route] = {
    "/theme/": Route({E.USER_PROFILE_CHANGED}, lambda: ("/theme/", {"theme": "dark"})),
    "/settings/profile/": Route(
        {E.USER_PROFILE_CHANGED}, lambda: form_of("/settings/profile/", "olga", density="cosy"), "olga"
    ),
    "/settings/tokens/new/": Route(
        {E.TOKEN_ISSUED},
        lambda: ("/settings/tokens/new/", {"name": "a", "scopes": ["tasks:read"], "reach": "every", "days": "7"}),
        "olga",
    ),
    "/settings/tokens/1/revoke/": Route(
        {E.TOKEN_REVOKED}, lambda: (f"/settings/tokens/{token_of('vera')}/revoke/", WHY)
    ),
    "/settings/users/new/": Route(
        {E.USER_CREATED, E.ROLE_GRANTED}, lambda: ("/settings/users/new/", {"name": "petra", "roles": ["viewer"]})
    ),
    "/settings/users/1/roles/": Route(
        {E.ROLE_REVOKED, E.ROLE_GRANTED}, lambda: (user_path("roles"), WHY | {"roles": ["auditor"]})
    ),
    "/settings/users/1/switch/": Route({E.USER_CHANGED}, lambda: (user_path("switch"), WHY | {"to": "off"})),
    "/settings/users/1/factors/": Route({E.MFA_REMOVED, E.USER_SESSIONS_ENDED}, lost_factor),
    "/settings/users/1/sessions/": Route({E.USER_SESSIONS_ENDED}, lambda: (user_path("sessions"), WHY)),
    "/settings/users/1/password/": Route({E.USER_CHANGED}, lambda: (user_path("password"), WHY)),
    "/accounts/login/": Route({E.USER_LOGGED_IN}, login, "anonymous"),
    "/accounts/logout/": Route({E.USER_LOGGED_OUT}, lambda: (reverse("account_logout"), {})),
    "/accounts/reauthenticate/": Route(  # marks the session alone; a wrong password is a login that failed
        {E.USER_LOGIN_FAILED}, wrong_password, "olga"
    ),
    "/accounts/password/change/": Route({E.USER_CHANGED}, new_password, "olga"),
    "/accounts/2fa/authenticate/": Route({E.USER_LOGGED_IN}, ways.second_factor),
    "/accounts/2fa/reauthenticate/": Route({E.MFA_CODE_USED}, ways.confirmation_by_code),
    "/accounts/2fa/totp/activate/": Route({E.MFA_ADDED}, ways.new_app),
    "/accounts/2fa/totp/deactivate/": Route({E.MFA_REMOVED}, ways.app_to_remove),
    "/accounts/2fa/recovery-codes/generate/": Route({E.MFA_REMOVED, E.MFA_ADDED}, ways.new_codes),
    "/accounts/2fa/passkeys/login/": Route({E.USER_LOGGED_IN}, ways.login_by_passkey),
    "/accounts/2fa/passkeys/add/": Route({E.MFA_ADDED}, ways.new_passkey),
    "/accounts/2fa/passkeys/reauthenticate/": Route(NOTHING, ways.confirmation_by_passkey),  # marks the session alone
    "/accounts/2fa/passkeys/1/remove/": Route({E.MFA_REMOVED}, ways.passkey_to_remove),
    "/accounts/sso/x/login/": Route(NOTHING, lambda: ("/accounts/sso/oidc/login/", {})),  # begins a login
    "/accounts/sso/links/1/unlink/": Route({E.USER_UNLINKED}, ways.link_to_end),
    "/settings/sessions/end-others/": Route({E.USER_SESSIONS_ENDED}, ways.other_sessions),
    "/settings/sessions/1/end/": Route({E.USER_SESSIONS_ENDED}, ways.other_session),
    "/views/save/": Route(
        {E.VIEW_SAVED}, lambda: ("/views/save/", {"list": "tasks", "name": "Failed", "query": "status=failed"}), "olga"
    ),
    "/views/1/rename/": Route({E.VIEW_RENAMED}, lambda: (f"/views/{view().pk}/rename/", {"name": "Broken"}), "olga"),
    "/views/1/delete/": Route({E.VIEW_DELETED}, lambda: (f"/views/{view().pk}/delete/", {}), "olga"),
    "/tasks/new/x/": Route(
        {E.TASK_SUBMITTED},
        lambda: form_of("/tasks/new/qa-verification-agent/", "olga", in_target="examples/project", in_suite="lint"),
        "olga",
    ),
    "/tasks/new/x/x/": Route(
        {E.TASK_SUBMITTED},
        lambda: form_of(f"/tasks/new/{FETCHER}/{FETCH}/", "olga", in_url="https://arxiv.org/abs/1"),
        "olga",
    ),
    "/tasks/x/cancel/": Route(
        {E.TASK_CANCELLED}, lambda: (f"/tasks/{make_task(state='queued').id}/cancel/", {}), "olga"
    ),
    "/tasks/x/retry/": Route({E.TASK_RETRIED}, lambda: (f"/tasks/{make_task(state='failed').id}/retry/", {}), "olga"),
    "/tasks/bulk/": Route({E.BULK_STARTED, E.TASK_CANCELLED, E.BULK_ENDED}, bulk_form, "olga"),
    "/tasks/x/allow-host/": Route({E.POLICY_PUBLISHED, E.TASK_RETRIED}, refused_host),
    "/approvals/grants/x/revoke/": Route(
        {E.GRANT_REVOKED}, lambda: (f"/approvals/grants/{grant().id}/revoke/", {}), "ana"
    ),
    "/approvals/x/decide/": Route({E.APPROVAL_GRANTED, E.TASK_RESUMED}, lambda: batch(waiting()), "ana"),
    "/approvals/x/decide-equal/": Route({E.APPROVAL_GRANTED}, equal, "ana"),
    "/approvals/x/edit/": Route(  # a preview: the edit is kept with the answer
        NOTHING, lambda: form_of(f"/approvals/{waiting().id}/edit/", "ana"), "ana"
    ),
    "/permissions/cell/keep/": Route({E.POLICY_DRAFTED}, cell),
    "/permissions/rules/new/": Route(
        {E.POLICY_DRAFTED},
        lambda: rule_form(
            "/permissions/rules/new/", id="extra", agent="qa-verification-agent", skill=FETCH, effect="deny"
        ),
    ),
    "/permissions/rules/x/edit/": Route(
        {E.POLICY_DRAFTED}, lambda: rule_form("/permissions/rules/market-research-fetch/edit/", effect="deny")
    ),
    "/permissions/rules/x/delete/": Route(
        {E.POLICY_DRAFTED}, lambda: ("/permissions/rules/market-research-fetch/delete/", {})
    ),
    "/permissions/explain/draft/": Route(
        {E.POLICY_DRAFTED},
        lambda: (
            "/permissions/explain/draft/",
            {"agent": FETCHER, "skill": FETCH, "arguments": '{"url": "https://example.com/"}'},
        ),
    ),
    "/permissions/draft/publish/": Route(
        {E.POLICY_PUBLISHED}, lambda: ("/permissions/draft/publish/", WHY | {"revision": str(rule_draft().revision)})
    ),
    "/permissions/draft/rebase/": Route({E.POLICY_DRAFTED}, rebased),
    "/permissions/draft/discard/": Route(
        {E.POLICY_DISCARDED}, lambda: (rule_draft() and "/permissions/draft/discard/", {})
    ),
    "/permissions/draft/rules/x/undo/": Route(
        {E.POLICY_DRAFTED}, lambda: (rule_draft() and "/permissions/draft/rules/extra/undo/", {})
    ),
    "/permissions/whatif/": Route({E.POLICY_REPLAYED}, lambda: (rule_draft() and "/permissions/whatif/", {})),
    "/permissions/shadow/x/promote/": Route({E.POLICY_PUBLISHED}, lambda: trial("promote")),
    "/permissions/shadow/x/drop/": Route({E.POLICY_PUBLISHED}, lambda: trial("drop")),
    "/permissions/versions/1/restore/": Route(
        {E.POLICY_PUBLISHED}, lambda: ("/permissions/versions/1/restore/", WHY | {"base": str(publish_more())})
    ),
    "/agents/x/status/": Route({E.AGENT_PAUSED}, lambda: (agent_path("status/"), WHY | {"status": "paused"})),
    "/agents/x/edit/": Route({E.AGENT_DRAFTED}, lambda: form_of(agent_path("edit/"), "ada", timeoutSeconds="55")),
    "/agents/x/import/": Route({E.AGENT_DRAFTED}, imported),
    "/agents/x/versions/1/restore/": Route({E.AGENT_PUBLISHED}, older_agent),
    "/agents/x/drafts/x/publish/": Route(
        {E.AGENT_PUBLISHED}, lambda: (agent_path(f"drafts/{agent_draft()}/publish/"), WHY)
    ),
    "/agents/x/drafts/x/rebase/": Route({E.AGENT_DRAFTED}, lambda: (agent_path(f"drafts/{agent_draft()}/rebase/"), {})),
    "/agents/x/drafts/x/discard/": Route(
        {E.AGENT_DISCARDED}, lambda: (agent_path(f"drafts/{agent_draft()}/discard/"), {})
    ),
    "/agents/x/drafts/x/try/": Route({E.TASK_SUBMITTED}, tried),
    "/skills/x/status/": Route(
        {E.SKILL_QUARANTINED}, lambda: (f"/skills/{FETCH}/status/", WHY | {"status": "quarantined"})
    ),
    "/fleet/switch/": Route({E.FLEET_STOPPED}, lambda: ("/fleet/switch/", WHY | {"state": "stopped"})),
    "/audit/verify/": Route({E.TRAIL_VERIFIED}, lambda: ("/audit/verify/", {"first": "1"}), "axel", has_store=True),
    "/audit/export/": Route(
        {E.TRAIL_EXPORTED}, lambda: ("/audit/export/", {"format": "jsonl"}), "axel", has_store=True
    ),
    "/settings/webhooks/new/": Route({E.WEBHOOK_CREATED}, lambda: ("/settings/webhooks/new/", HOOK)),
    "/settings/webhooks/callbacks/rotate/": Route(
        {E.WEBHOOK_ROTATED}, lambda: ("/settings/webhooks/callbacks/rotate/", {})
    ),
    "/settings/webhooks/deliveries/x/retry/": Route(
        {E.WEBHOOK_RETRIED}, lambda: (f"/settings/webhooks/deliveries/{delivery()}/retry/", {})
    ),
    "/settings/webhooks/x/edit/": Route(
        {E.WEBHOOK_CHANGED}, lambda: (f"/settings/webhooks/{hook()}/edit/", HOOK | {"name": "other"})
    ),
    "/settings/webhooks/x/switch/": Route(
        {E.WEBHOOK_PAUSED}, lambda: (f"/settings/webhooks/{hook()}/switch/", {"state": "paused"})
    ),
    "/settings/webhooks/x/rotate/": Route({E.WEBHOOK_ROTATED}, lambda: (f"/settings/webhooks/{hook()}/rotate/", {})),
    "/settings/webhooks/x/delete/": Route({E.WEBHOOK_DELETED}, lambda: (f"/settings/webhooks/{hook()}/delete/", {})),
    "/cost/cap/": Route({E.BUDGET_CAPPED}, lambda: ("/cost/cap/", WHY | {"scope": "fleet", "pounds": "5"})),
}


# --- the API --------------------------------------------------------------------------------------------------
FLOW = {"steps": [{"name": "one", "agentId": "normalization-agent", "skillId": "normalizer", "input": INPUT}]}
RULES = {"rules": [DENY]}
UPLOAD = {"file": SimpleUploadedFile("a.csv", b"a,b\n1,2\n")}

API: dict[tuple[str, str], Route] = {
    ("POST", "/api/tasks"): Route({E.TASK_SUBMITTED}, lambda: ("/api/tasks", ORDER), "olga"),
    ("POST", "/api/workflows"): Route({E.TASK_SUBMITTED}, lambda: ("/api/workflows", FLOW), "olga"),
    ("POST", "/api/files"): Route({E.FILE_UPLOADED}, lambda: ("/api/files", UPLOAD), "olga"),
    ("POST", "/api/tasks/x/cancel"): Route(
        {E.TASK_CANCELLED}, lambda: (f"/api/tasks/{make_task(state='queued').id}/cancel", None), "olga"
    ),
    ("POST", "/api/tasks/x/retry"): Route(
        {E.TASK_RETRIED}, lambda: (f"/api/tasks/{make_task(state='failed').id}/retry", None), "olga"
    ),
    ("POST", "/api/tasks/bulk"): Route(
        {E.BULK_STARTED, E.TASK_RETRIED, E.BULK_ENDED},
        lambda: ("/api/tasks/bulk", WHY | {"action": "retry", "ids": [make_task(state="failed").id]}),
        "olga",
    ),
    ("POST", "/api/agents/x/status"): Route(
        {E.AGENT_PAUSED}, lambda: (f"/api/agents/{PATCHER}/status", WHY | {"status": "paused"})
    ),
    ("POST", "/api/skills/x/status"): Route(
        {E.SKILL_QUARANTINED}, lambda: (f"/api/skills/{FETCH}/status", WHY | {"status": "quarantined"})
    ),
    ("POST", "/api/fleet"): Route({E.FLEET_STOPPED}, lambda: ("/api/fleet", WHY | {"state": "stopped"})),
    ("POST", "/api/approvals/x/decision"): Route(
        {E.APPROVAL_GRANTED}, lambda: (f"/api/approvals/{waiting().id}/decision", {"decision": "approve"}), "ana"
    ),
    ("POST", "/api/grants/x/revoke"): Route(
        {E.GRANT_REVOKED}, lambda: (f"/api/grants/{grant().id}/revoke", None), "ana"
    ),
    ("POST", "/api/alerts"): Route({E.ALERT_FIRED}, lambda: ("/api/alerts", notice(alert()))),
    ("POST", "/api/webhooks"): Route({E.WEBHOOK_CREATED}, lambda: ("/api/webhooks", HOOK)),
    ("PATCH", "/api/webhooks/x"): Route({E.WEBHOOK_PAUSED}, lambda: (f"/api/webhooks/{hook()}", {"active": False})),
    ("DELETE", "/api/webhooks/x"): Route({E.WEBHOOK_DELETED}, lambda: (f"/api/webhooks/{hook()}", None)),
    ("POST", "/api/webhooks/x/rotate"): Route({E.WEBHOOK_ROTATED}, lambda: (f"/api/webhooks/{hook()}/rotate", None)),
    ("POST", "/api/webhooks/deliveries/x/retry"): Route(
        {E.WEBHOOK_RETRIED}, lambda: (f"/api/webhooks/deliveries/{delivery()}/retry", None)
    ),
    ("POST", "/api/policy/versions"): Route(
        {E.POLICY_PUBLISHED}, lambda: ("/api/policy/versions", RULES | WHY | {"baseVersion": 1})
    ),
    ("POST", "/api/policy/versions/1/restore"): Route(
        {E.POLICY_PUBLISHED}, lambda: ("/api/policy/versions/1/restore", WHY | {"baseVersion": publish_more()})
    ),
    ("POST", "/api/policy/explain"): Route(  # a question, too long for an address
        NOTHING,
        lambda: ("/api/policy/explain", {"agentId": FETCHER, "skillId": FETCH, "input": {"url": "https://a.example"}}),
    ),
    ("POST", "/api/policy/lint"): Route(NOTHING, lambda: ("/api/policy/lint", RULES)),  # the same
    ("POST", "/api/policy/what-if"): Route({E.POLICY_REPLAYED}, lambda: ("/api/policy/what-if", RULES)),
    ("PUT", "/api/policy/draft"): Route(
        {E.POLICY_DRAFTED}, lambda: ("/api/policy/draft", RULES | {"baseVersion": 1, "revision": 0})
    ),
    ("DELETE", "/api/policy/draft"): Route({E.POLICY_DISCARDED}, lambda: (rule_draft() and "/api/policy/draft", None)),
    ("POST", "/api/policy/draft/publish"): Route(
        {E.POLICY_PUBLISHED}, lambda: ("/api/policy/draft/publish", WHY | {"revision": rule_draft().revision})
    ),
}

# What is only read, and is an event all the same: payloads and exports. Files and transcripts, which need their
# stores, are in test_api_files, test_console_task_page and test_transcript_reading.
READS: dict[str, Route] = {
    "/agents/x/export/": Route({E.AGENT_EXPORTED}, lambda: (agent_path("export/"), None)),
    **{f"/exports/{table.name}.x": Route({E.LIST_EXPORTED}, partial(export_of, table.name)) for table in TABLES},
    "/tasks/x/result.json": Route(
        {E.PAYLOAD_READ}, lambda: (f"/tasks/{make_task(result={'a': 1}).id}/result.json", None), "olga"
    ),
}


@pytest.fixture(autouse=True)
def fresh(settings: Any, tmp_path: Any) -> None:
    forget_all()
    cache.clear()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MFA_TOTP_TOLERANCE = 1
    settings.WORKSPACE_ROOT = tmp_path
    (tmp_path / "uploads").mkdir()


def record_of(act: Callable[[], Any]) -> tuple[Any, list[LedgerEvent]]:
    """Return what an act came to, with the events that it recorded."""
    last = LedgerEvent.objects.order_by("-id").values_list("id", flat=True).first() or 0
    return act(), list(LedgerEvent.objects.filter(id__gt=last).order_by("id"))


def check(answer: Any, events: list[LedgerEvent], route: Route) -> None:
    assert answer.status_code < 400, answer.content[:2000]
    assert {event.type for event in events} >= route.events, (answer.status_code, answer.content[:2000])
    assert route.events or not events
    for event in events:
        assert event.actor == f"user:{route.person}" or event.actor in {"user:olga", "system", "anonymous"}


@pytest.mark.parametrize("address", sorted(CONSOLE))
def test_what_a_page_changes_is_an_event(address: str, request: pytest.FixtureRequest) -> None:
    route = CONSOLE[address]
    if route.has_store:
        request.getfixturevalue("audit_store")
        sequencer = Sequencer("one")
        while sequencer.step():
            pass
    path, sent, *sender = route.prepare()
    client = sender[0] if sender else Client() if route.person == "anonymous" else sign_in(route.person)
    check(*record_of(lambda: client.post(path, sent)), route)


@pytest.mark.parametrize("address", sorted(READS))
def test_what_is_taken_out_is_an_event(address: str) -> None:
    route = READS[address]
    path, *_ = route.prepare()
    client = sign_in(route.person)
    check(*record_of(lambda: client.get(path)), route)


@pytest.mark.parametrize(("method", "address"), sorted(API))
def test_what_the_api_changes_is_an_event(method: str, address: str) -> None:
    route = API[method, address]
    path, sent, *_ = route.prepare()
    api = api_of(route.person)
    if sent is UPLOAD:
        check(*record_of(lambda: api.upload(**UPLOAD)), route)
        return
    more = {} if sent is None else {"data": orjson.dumps(sent), "content_type": "application/json"}
    check(*record_of(lambda: api.send(method, path, **more)), route)


def test_these_tests_know_every_address_that_takes_more_than_reads() -> None:
    """An address takes a method if it does not say 405 to who may do everything."""
    give_password("ada")  # without one there is no form to change it
    ada, api, found = sign_in("ada"), api_of("ada"), set[Any]()
    for address in ADDRESSES:
        for method in UNSAFE:
            if address.startswith("/api/") and "/docs" not in address:
                if api.send(method, address).status_code != 405:
                    found.add((method, address))
            elif ada.generic(method, address).status_code != 405:
                found.add(address)
                ada = sign_in("ada")  # the walk goes through the door out, too
    open_to_all = {"/health", "/ready", "/api/docs/", "/api/docs/openapi.json"}
    assert found - open_to_all == {*CONSOLE, *API}
