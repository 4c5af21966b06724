"""Tokens by page: made within one's own roles, shown once, seen by their owner and by who may see all."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from audit.models import LedgerEvent
from orchestrator_site import tokens
from orchestrator_site.models import ApiToken
from orchestrator_site.people.listing import PAGE_SIZE, find_state, list_tokens
from orchestrator_site.roles import ROLES, Permission
from orchestrator_site.tokens import issue_token
from tests.integration.api_cast import Api, events_of, problem_of
from tests.integration.console_cast import CAST, FETCHER, OUTSIDER, PATCHER, sign_in, text_of, world
from tests.integration.entering_cast import PASSWORD, enter, new_client
from tests.integration.test_people_users import count_queries

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world")
NEW = "/settings/tokens/new/"
SENT = {"name": "nightly", "scopes": ["tasks:read"], "reach": "every", "days": "90"}


@pytest.fixture(autouse=True)
def fresh() -> None:
    tokens.forget_tokens()


def make(person: str, **sent: Any) -> Any:
    return sign_in(person).post(NEW, SENT | sent)


def secret_in(answer: Any) -> str:
    found = re.search(r'id="secret"[^>]*>(orc_[^<]+)<', text_of(answer))
    assert found is not None, text_of(answer)[:2000]
    return found[1]


def token_of(name: str, **more: Any) -> ApiToken:
    owner = User.objects.get(username=name)
    return issue_token(f"{name}'s", owner=owner, scopes=["tasks:read"], now=timezone.now(), **more)[0]


# --- made -----------------------------------------------------------------------------------------------------
def test_a_token_is_made_shown_once_and_works() -> None:
    olga = sign_in("olga")
    answer = olga.post(NEW, SENT | {"reach": "some", "agents": [FETCHER], "days": "7"})
    secret = secret_in(answer)
    assert "no-store" in answer["Cache-Control"]
    row = ApiToken.objects.get()
    assert (row.name, row.owner.username, row.scopes, row.agents) == ("nightly", "olga", ["tasks:read"], [FETCHER])
    assert row.created_by == "user:olga"
    assert row.expires_at is not None
    assert timedelta(days=6) < row.expires_at - timezone.now() <= timedelta(days=7)
    [event] = events_of("token.issued")
    assert (event.actor, event.body["agents"]) == ("user:olga", [FETCHER])
    assert Api(secret).get("tasks").status_code == 200


def test_the_tokens_secret_is_in_that_one_answer_and_nowhere_else() -> None:
    olga, ada = sign_in("olga"), sign_in("ada")
    secret = secret_in(olga.post(NEW, SENT))[len("orc_") + 8 :]  # what the prefix does not tell
    row = ApiToken.objects.get()
    Api(f"orc_{row.prefix}{secret}").get("agents")  # refused for its scope: an event too
    paths = ["/settings/tokens/", f"/settings/tokens/{row.pk}/", NEW, "/settings/tokens/?of=*"]
    shown = [text_of(client.get(path, follow=True)) for client in (olga, ada) for path in paths]
    shown += [text_of(olga.post(f"/settings/tokens/{row.pk}/revoke/", {"reason": "x"}, follow=True))]
    kept = [str(list(LedgerEvent.objects.values())), str(list(ApiToken.objects.values()))]
    carried = [str(olga.cookies), str(dict(olga.session)), str(ada.cookies)]
    assert not [place for place in (*shown, *kept, *carried) if secret in place]
    assert any(row.prefix in place for place in shown)


@pytest.mark.parametrize("person", CAST)
def test_everybody_makes_tokens_of_what_their_own_roles_give_and_no_more(person: str) -> None:
    page = text_of(sign_in(person).get(NEW))
    offered = set(re.findall(r'name="scopes" value="([a-z:]+)"', page))
    assert offered == ROLES[CAST[person]]
    for scope in sorted(set(Permission) - offered):
        assert make(person, scopes=["tasks:read", scope]).status_code == 422, scope
    assert not ApiToken.objects.exists()
    secret_in(make(person, scopes=sorted(offered)))


def test_who_has_no_role_makes_no_token() -> None:
    assert "You have no role" in text_of(sign_in(OUTSIDER).get(NEW))
    assert make(OUTSIDER).status_code == 422
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    "sent",
    [{"name": ""}, {"name": " a\x00"}, {"scopes": []}, {"scopes": ["nonsense"]}, {"reach": "some"}, {"days": "8"},
     {"reach": "some", "agents": ["nobody"]}, {"reach": "other"}],
)  # fmt: skip
def test_what_makes_no_token_is_said_in_the_form(sent: dict[str, Any]) -> None:
    answer = make("olga", **sent)
    assert answer.status_code == 422
    assert 'class="error"' in text_of(answer) or 'role="alert"' in text_of(answer)
    assert not ApiToken.objects.exists()


def test_an_open_browser_alone_makes_no_token(settings: Any) -> None:
    """It would outlast the session, its end and a new password."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    olga = User.objects.get(username="olga")
    olga.set_password(PASSWORD)
    olga.save()
    client = new_client()
    enter(client, "olga")
    answer = client.post(NEW, SENT)
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert not ApiToken.objects.exists()
    confirmed = client.post(answer["Location"], {"password": PASSWORD, "next": NEW})
    assert Api(secret_in(confirmed)).get("tasks").status_code == 200
    assert "no-store" in confirmed["Cache-Control"]
    assert ApiToken.objects.get().name == "nightly"


# --- seen and revoked -----------------------------------------------------------------------------------------
def test_a_person_sees_their_own_and_an_admin_sees_all() -> None:
    token_of("olga"), token_of("vera")
    assert "vera&#x27;s" not in text_of(sign_in("olga").get("/settings/tokens/?of=*"))
    everybodys = text_of(sign_in("ada").get("/settings/tokens/?of=*"))
    assert "vera&#x27;s" in everybodys
    assert "olga&#x27;s" in everybodys
    assert "vera&#x27;s" not in text_of(sign_in("ada").get("/settings/tokens/?of=olga"))
    assert sign_in("ada").get("/settings/tokens/?of=nobody").status_code == 404


@pytest.mark.parametrize("person", [*CAST, OUTSIDER])
def test_anothers_token_is_seen_and_revoked_by_who_may(person: str) -> None:
    row = token_of("bob") if User.objects.filter(username="bob").exists() else _token_of_bob()
    client, path = sign_in(person), f"/settings/tokens/{row.pk}/"
    may = person == "ada"
    assert client.get(path).status_code == (200 if may else 403)
    assert client.post(f"{path}revoke/", {"reason": "leaked"}).status_code == (302 if may else 403)
    row.refresh_from_db()
    assert (row.revoked_at is not None) is may


def _token_of_bob() -> ApiToken:
    User.objects.create_user("bob")
    return token_of("bob")


def test_ones_own_token_is_revoked_with_a_reason_and_for_good() -> None:
    olga = sign_in("olga")
    secret = secret_in(olga.post(NEW, SENT))
    api, path = Api(secret), f"/settings/tokens/{ApiToken.objects.get().pk}/revoke/"
    assert api.get("tasks").status_code == 200
    assert olga.post(path, {"reason": " "}).status_code == 422
    assert api.get("tasks").status_code == 200
    assert "leaked in a log" in text_of(olga.post(path, {"reason": "leaked in a log"}, follow=True))
    problem_of(api.get("tasks"), 401, "unauthenticated")
    [event] = events_of("token.revoked")
    assert (event.actor, event.body["reason"]) == ("user:olga", "leaked in a log")
    olga.post(path, {"reason": "again"})
    assert len(events_of("token.revoked")) == 1


def test_a_page_says_which_scopes_no_role_gives_any_more() -> None:
    row = token_of("olga")
    User.objects.get(username="olga").groups.clear()
    page = text_of(sign_in("ada").get(f"/settings/tokens/{row.pk}/"))
    assert "no role of olga gives it" in page


def test_the_states_of_a_token() -> None:
    now = timezone.now()
    row = token_of("olga", expires_at=now + timedelta(days=1))
    assert find_state(row, now=now) == "valid"
    assert find_state(row, now=now + timedelta(days=1)) == "expired"
    row.owner.is_active = False
    assert find_state(row, now=now) == "idle"
    row.revoked_at = now
    assert find_state(row, now=now) == "revoked"


# --- ten thousand ---------------------------------------------------------------------------------------------
def insert(count: int, *, owner: User) -> None:
    now = timezone.now()
    ApiToken.objects.bulk_create(
        ApiToken(
            prefix=f"{number:08x}", digest=f"{owner.pk:08x}{number:056x}", name=f"token {number}", owner=owner,
            scopes=["tasks:read"], created_at=now, created_by="system",
        )
        for number in range(count)
    )  # fmt: skip


def test_ten_thousand_tokens_cost_a_page_no_more_than_fifty() -> None:
    ada, olga = User.objects.get(username="ada"), User.objects.get(username="olga")
    insert(PAGE_SIZE + 1, owner=olga)
    client = sign_in("ada")
    few = count_queries(client, "/settings/tokens/?of=*")
    insert(10_000, owner=ada)
    assert count_queries(client, "/settings/tokens/?of=*") <= few <= 20
    page = text_of(client.get("/settings/tokens/?of=*"))
    assert page.count('scope="row"') == PAGE_SIZE
    for whose in (None, ada):
        rows = list_tokens(owner=whose).rows
        plan = str(list_tokens_plan(whose))
        assert "SCAN orchestrator_site_apitoken USING" not in plan or whose is None
        assert "TEMP B-TREE" not in plan, plan
        assert rows[0].pk > rows[-1].pk
    oldest = list_tokens(owner=olga, before=list_tokens(owner=olga).next)
    assert (len(oldest.rows), oldest.next) == (1, None)


def list_tokens_plan(owner: User | None) -> str:
    rows = ApiToken.objects.order_by("-pk") if owner is None else ApiToken.objects.filter(owner=owner).order_by("-pk")
    return rows[: PAGE_SIZE + 1].explain()


def test_the_command_limits_a_token_to_agents(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("issue_token", "ci", "--scopes", "tasks:read", "--agents", f"{PATCHER},{FETCHER}")
    assert ApiToken.objects.get().agents == sorted([PATCHER, FETCHER])
    assert f"for {PATCHER}, {FETCHER} alone" in capsys.readouterr().err
    for wrong in ("nobody", ""):
        with pytest.raises(Exception, match="There is no agent"):
            call_command("issue_token", "ci", "--scopes", "tasks:read", "--agents", wrong)
    assert ApiToken.objects.count() == 1
