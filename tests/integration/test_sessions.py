"""Sessions: a new key at each login, who may end which, and what an end reaches."""

from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from audit.live.consumers import ConsoleConsumer
from orchestrator_site.entering.browsers import describe_browser
from orchestrator_site.entering.sessions import end_sessions
from tests.audit_cast import open_session
from tests.integration.api_cast import events_of
from tests.integration.entering_cast import Clock, confirm, door, enter, is_in, make_user, new_client
from tests.integration.test_feed_console import Tab

__all__ = ["door"]
COOKIE = django_settings.SESSION_COOKIE_NAME
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture
def olga(door: Clock) -> User:
    return make_user("olga", "operator")


def test_a_login_changes_the_sessions_key(olga: User) -> None:
    client = new_client()
    client.session["seen"] = "before"
    session = client.session
    session["seen"] = "before"
    session.save()
    planted = str(session.session_key)
    client.cookies[COOKIE] = planted
    enter(client, "olga")
    assert is_in(client)
    assert client.cookies[COOKIE].value != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_a_person_sees_their_sessions_this_one_first(olga: User) -> None:
    make_user("vera", "viewer")
    clients = [new_client(headers={"user-agent": FIREFOX}), new_client(headers={"user-agent": "curl/8.1"})]
    for client in clients:
        enter(client, "olga")
    enter(new_client(), "vera")
    page = clients[1].get(reverse("console:sessions"))
    seen = [(session.browser, session.is_this, session.address) for session in page.context["sessions"]]
    assert seen == [("curl", True, "127.0.0.1"), ("Firefox on Linux", False, "127.0.0.1")]


def test_what_has_run_out_is_gone_with_the_next_login(olga: User) -> None:
    old, here = new_client(), new_client()
    enter(old, "olga")
    assert is_in(old)
    key = str(old.session.session_key)
    Session.objects.filter(pk=key).update(expire_date=timezone.now())
    enter(here, "olga")
    assert is_in(here)
    assert not Session.objects.filter(pk=key).exists()
    assert not UserSession.objects.filter(session_key=key).exists()
    assert Session.objects.count() == UserSession.objects.count() == 1


def test_a_session_is_ended_from_another(olga: User) -> None:
    here, there = new_client(), new_client()
    enter(here, "olga")
    enter(there, "olga")
    other = next(s for s in here.get(reverse("console:sessions")).context["sessions"] if not s.is_this)
    address = reverse("console:session_end", args=[other.id])
    assert here.post(address)["Location"].startswith(reverse("account_reauthenticate"))
    assert is_in(there)
    confirm(here)
    assert here.post(address)["Location"] == reverse("console:sessions")
    assert not is_in(there)
    assert is_in(here)
    assert [(event.actor, event.body) for event in events_of("user.sessions-ended")] == [
        ("user:olga", {"user": "olga", "sessions": 1, "reason": ""})
    ]


def test_nobody_ends_the_session_of_somebody_else(olga: User) -> None:
    make_user("mallory")
    victim, thief = new_client(), new_client()
    enter(victim, "olga")
    enter(thief, "mallory")
    confirm(thief)
    target = victim.get(reverse("console:sessions")).context["sessions"][0].id
    assert thief.post(reverse("console:session_end", args=[target])).status_code == 404
    assert is_in(victim)


def test_all_others_are_ended_at_once_also_those_never_seen(olga: User) -> None:
    here, there = new_client(), new_client()
    enter(here, "olga")
    enter(there, "olga")
    unseen = open_session("olga")
    confirm(here)
    assert "2 other sessions are ended" in here.post(reverse("console:sessions_end"), follow=True).content.decode()
    assert not is_in(there)
    assert is_in(here)
    assert not Session.objects.filter(session_key=unseen).exists()


def test_the_list_opens_nobody_elses_sessions(olga: User) -> None:
    """Anybody may begin sessions at the login page: a page that opened them all would stand still for them."""
    client = new_client()
    enter(client, "olga")
    client.get(reverse("console:sessions"))
    make_user("vera", "viewer")
    for _ in range(20):
        open_session("vera")
    opened: list[str] = []
    original = Session.get_decoded

    def note(session: Session) -> Any:
        opened.append(session.session_key)
        return original(session)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "get_decoded", note)
        assert len(client.get(reverse("console:sessions")).context["sessions"]) == 1
    assert opened == [client.cookies[COOKIE].value]


def test_an_administrator_ends_every_session_of_a_person(olga: User) -> None:
    client = new_client()
    enter(client, "olga")
    assert end_sessions(olga) == 1
    assert not is_in(client)
    assert end_sessions(olga) == 0
    assert len(events_of("user.sessions-ended")) == 1


def test_a_changed_password_ends_the_others_and_lists_none_of_them(olga: User) -> None:
    here, there = new_client(), new_client()
    enter(here, "olga")
    enter(there, "olga")
    new = "another-horse-and-battery"
    form = {"oldpassword": "correct-horse-battery", "password1": new, "password2": new}
    assert here.post(reverse("account_change_password"), form).status_code == 302
    assert not is_in(there)
    assert [session.is_this for session in here.get(reverse("console:sessions")).context["sessions"]] == [True]


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/150.0 Safari/537.36 Edg/150.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.1", "curl"),
        ("<script>", "an unknown browser"),
        ("", "an unknown browser"),
    ],
)
def test_a_browser_is_named_in_two_words(agent: str, words: str) -> None:
    assert describe_browser(agent) == words


# --- open sockets ---------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("act", "code"), [("the session is ended", 4401), ("the role is taken", 4403)])
async def test_an_open_socket_closes(monkeypatch: pytest.MonkeyPatch, act: str, code: int) -> None:
    """By roles and sessions as they are; the 30 s of production are a tenth of one here."""
    assert ConsoleConsumer.recheck_seconds <= 30
    monkeypatch.setattr(ConsoleConsumer, "recheck_seconds", 0.1)
    user = await sync_to_async(make_user)("olga", "operator")
    tab = Tab(await sync_to_async(open_session)("olga"))
    assert await tab.open()
    if act == "the session is ended":
        await sync_to_async(end_sessions)(user)
    else:
        await sync_to_async(user.groups.clear)()
    assert await tab.hear_close() == code
