"""API tokens: issued once, verified cheaply, noticed when revoked; the commands around them."""

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator_site import tokens
from orchestrator_site.exceptions import NameInvalid, ScopeUnknown, TokenInvalid, TokenNotFound
from orchestrator_site.models import ApiToken
from orchestrator_site.roles import ROLES, Permission, Role
from tests.integration.api_cast import CAST, ORDER, Api, api_of, events_of, make_token, problem_of, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")


def run(*arguments: str) -> tuple[str, str]:
    """Run a command and return what it wrote on stdout and stderr."""
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


# --- what is kept ---------------------------------------------------------------------------------------------
def test_a_token_is_not_kept_and_its_issue_is_audited() -> None:
    token = make_token("olga", "tasks:read", "tasks:write")
    assert re.fullmatch(r"orc_[A-Za-z0-9_-]{43}", token)
    row = ApiToken.objects.get()
    assert (row.prefix, len(row.digest), row.scopes) == (token[4:12], 64, ["tasks:read", "tasks:write"])
    assert all(token not in str(value) for value in vars(row).values())
    [event] = events_of("token.issued")
    assert event.body["scopes"] == ["tasks:read", "tasks:write"]
    assert event.body["owner"] == "olga"
    assert token[12:] not in str(event.body)


def test_two_tokens_are_never_the_same() -> None:
    assert len({make_token("olga", "tasks:read") for _ in range(20)}) == 20


@pytest.mark.parametrize("scopes", [[], [""], ["tasks:read", "tasks:own"], ["TASKS:READ"], ["*"]])
def test_an_unknown_scope_is_named(scopes: list[str]) -> None:
    with pytest.raises(ScopeUnknown, match="Known are: agents:read"):
        tokens.issue_token("x", owner=User.objects.get(username="olga"), scopes=scopes, now=timezone.now())


@pytest.mark.parametrize("name", ["", " x", "a\nb", "x" * 101, "a\0"])
def test_a_name_has_to_be_readable(name: str) -> None:
    with pytest.raises(NameInvalid):
        tokens.issue_token(name, owner=User.objects.get(username="olga"), scopes=["all"], now=timezone.now())


# --- what it opens --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("person", CAST)
def test_a_token_never_grants_more_than_its_owners_roles(person: str) -> None:
    grant = tokens.verify_token(make_token(person, "all"), now=timezone.now())
    assert grant.granted == ROLES[CAST[person]]


def test_a_token_grants_no_more_than_its_scopes() -> None:
    api = api_of("ada", "tasks:read")
    assert api.get("tasks").status_code == 200
    problem = problem_of(api.post("tasks", ORDER), 403, "forbidden")
    assert "tasks:write" in problem["detail"]


def test_use_beyond_the_scope_is_audited_each_time() -> None:
    api = api_of("vera", "all")
    for _ in range(2):
        problem_of(api.post("tasks", ORDER), 403, "forbidden")
    assert [(event.actor, event.decision) for event in events_of("token.refused")] == [("user:vera", "deny")] * 2
    assert events_of("token.refused")[0].body["path"] == "/api/tasks"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "bearer x", "Basic b2xnYTpvbGdh", "Bearer orc_", "Token {}", "Bearer {}x", "Bearer  {}",
     "Bearer {} ", "Bearer orc_" + "A" * 43, "Bearer " + "x" * 9000, "Bearer orc_\u00e9" + "A" * 42],
)  # fmt: skip
def test_anything_but_a_token_is_no_entry(header: str) -> None:
    api = Api(None)
    answer = api._client.get("/api/tasks", headers={"Authorization": header.format(make_token("ada"))})
    problem_of(answer, 401, "unauthenticated")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_a_token_with_the_right_prefix_and_another_end_is_no_entry() -> None:
    token = make_token("ada")
    with pytest.raises(TokenInvalid):
        tokens.verify_token(token[:-1] + ("A" if token[-1] != "A" else "B"), now=timezone.now())


def test_an_expired_token_is_no_entry_even_while_it_is_remembered() -> None:
    now = timezone.now()
    token = make_token("ada", expires_at=now + timedelta(seconds=10))
    tokens.verify_token(token, now=now)
    with pytest.raises(TokenInvalid):
        tokens.verify_token(token, now=now + timedelta(seconds=10))


def test_a_revoked_token_is_no_entry_in_this_process_at_once() -> None:
    token = make_token("ada")
    api = Api(token)
    assert api.get("tasks").status_code == 200
    tokens.revoke_token(token[4:12], reason="leaked", revoked_by="user:ada", now=timezone.now())
    problem_of(api.get("tasks"), 401, "unauthenticated")
    [event] = events_of("token.revoked")
    assert (event.actor, event.body["reason"]) == ("user:ada", "leaked")


@pytest.mark.parametrize("change", ["revoke", "deactivate", "demote"])
def test_other_processes_notice_a_change_when_what_they_remember_is_stale(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr(tokens, "monotonic", lambda: moment)
    api = api_of("olga", "all")
    assert api.post("tasks", ORDER).status_code == 202
    user = User.objects.get(username="olga")
    if change == "revoke":
        ApiToken.objects.update(revoked_at=timezone.now())
    elif change == "deactivate":
        User.objects.filter(pk=user.pk).update(is_active=False)
    else:
        user.groups.clear()
    moment += tokens.FRESH_SECONDS
    assert api.post("tasks", ORDER).status_code == (403 if change == "demote" else 401)
    assert tokens.FRESH_SECONDS <= 5


def test_verifying_again_asks_the_store_nothing() -> None:
    token = make_token("olga")
    tokens.verify_token(token, now=timezone.now())
    with CaptureQueriesContext(connection) as captured:
        tokens.verify_token(token, now=timezone.now())
    assert len(captured) == 0


def test_the_last_use_is_written_at_most_once_a_minute() -> None:
    token, now = make_token("olga"), timezone.now()

    def use(seconds: int) -> Any:
        tokens.forget_tokens()
        tokens.verify_token(token, now=now + timedelta(seconds=seconds))
        return ApiToken.objects.get().last_used_at

    assert use(0) == now
    assert use(59) == now
    assert use(60) == now + timedelta(seconds=60)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_KNOWN", 3)
    for _ in range(5):
        tokens.verify_token(make_token("olga"), now=timezone.now())
    assert len(tokens._known) <= 3


# --- the commands ---------------------------------------------------------------------------------------------
def test_the_command_prints_the_token_alone_on_stdout() -> None:
    out, err = run("issue_token", "ci", "--scopes", "tasks:read,agents:read", "--user", "olga", "--expires-days", "7")
    assert Api(out.strip()).get("agents").status_code == 200
    row = ApiToken.objects.get()
    assert (row.name, row.owner.username, row.scopes) == ("ci", "olga", ["agents:read", "tasks:read"])
    assert row.expires_at is not None
    assert timedelta(days=6, hours=23) < row.expires_at - timezone.now() <= timedelta(days=7)
    assert out.strip() not in err


def test_the_owner_is_the_first_admin_and_all_is_every_scope() -> None:
    out, _ = run("issue_token", "ops", "--scopes", "all")
    grant = tokens.verify_token(out.strip(), now=timezone.now())
    assert (grant.owner.username, grant.granted) == ("ada", frozenset(Permission))


def test_the_command_warns_of_scopes_that_the_owner_lacks() -> None:
    _, err = run("issue_token", "x", "--scopes", "tasks:read,policy:write", "--user", "vera")
    assert "policy:write" in err
    assert "tasks:read:" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scopes", "nonsense"], "There is no scope nonsense"),
        (["--scopes", ","], "There is no scope"),
        (["--scopes", "all", "--user", "nobody"], "no active user nobody"),
        (["--scopes", "all", "--expires-days", "0"], "1 to 3650"),
        (["--scopes", "all", "--expires-days", "-1"], "1 to 3650"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        run("issue_token", "x", *arguments)
    assert not ApiToken.objects.exists()


def test_without_an_admin_the_command_says_how_to_make_one() -> None:
    User.objects.filter(groups__name=Role.ADMIN).update(is_active=False)
    with pytest.raises(CommandError, match="user create"):
        run("issue_token", "x", "--scopes", "all")


def test_a_token_is_revoked_by_its_prefix_and_listed() -> None:
    token = make_token("olga", "tasks:read")
    listed, _ = run("revoke_token", "--list")
    assert token[4:12] in listed
    assert token not in listed
    run("revoke_token", token[4:12], "--reason", "left the team")
    assert ApiToken.objects.get().revoke_reason == "left the team"
    first = ApiToken.objects.get().revoked_at
    run("revoke_token", token)  # twice changes nothing
    assert ApiToken.objects.get().revoked_at == first
    assert len(events_of("token.revoked")) == 1


def test_revoking_what_there_is_not_changes_nothing() -> None:
    make_token("olga")
    with pytest.raises(CommandError, match="No tokens begin"):
        run("revoke_token", "nothing1")
    with pytest.raises(TokenNotFound):
        tokens.revoke_token("", reason="", revoked_by="system", now=timezone.now())
