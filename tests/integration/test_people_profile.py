"""Profiles: kept by person, told, and what they do to every page; and how soon an open page hears of a change."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from audit.live import consumers
from audit.live.consumers import ConsoleConsumer
from audit.live.streams import TaskEventsConsumer
from orchestrator_site.console import THEME_COOKIE
from orchestrator_site.models import Profile
from orchestrator_site.people import users
from orchestrator_site.people.profiles import read_profile, save_profile
from orchestrator_site.people.zones import list_zones, showing_in
from orchestrator_site.templatetags.console import ago, clock, stamp
from tests.audit_cast import open_session
from tests.integration.api_cast import events_of, open_world
from tests.integration.console_cast import OUTSIDER, make_task, sign_in, text_of, world
from tests.integration.test_feed_console import Tab, hub_stopped

__all__ = ["hub_stopped", "open_world", "world"]
PATH = "/settings/profile/"
AT = datetime(2026, 7, 1, 22, 30, 15, tzinfo=UTC)


def keep(client: Client, **sent: str) -> Any:
    """Send the form; a box that is not ticked is not sent."""
    return client.post(PATH, {"theme": "", "density": "", "time_zone": "", "single_keys": "on"} | sent)


def head_of(client: Client) -> str:
    found = re.search(r"<html[^>]*>", text_of(client.get("/")))
    assert found is not None
    return found[0]


# --- kept -----------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("world")
def test_what_is_chosen_is_on_every_page_and_wherever_one_signs_in() -> None:
    olga = sign_in("olga")
    assert head_of(olga) == '<html lang="en-GB">'
    sent = {"theme": "dark", "density": "cosy", "time_zone": "Asia/Tokyo", "single_keys": ""}
    answer = olga.post(PATH, sent | {"single_keys": "false"})
    assert answer["Location"] == PATH
    wanted = '<html lang="en-GB" data-theme="dark" data-density="cosy" data-time-zone="Asia/Tokyo" data-keys="off">'
    assert head_of(olga) == wanted
    assert head_of(sign_in("olga")) == wanted
    assert head_of(sign_in("vera")) == '<html lang="en-GB">'
    assert "Times in <a" in text_of(olga.get("/"))
    assert "<span data-zone>Asia/Tokyo</span>" in text_of(olga.get("/"))
    assert olga.cookies[THEME_COOKIE].value == "dark"  # for the page that one signs in on
    [event] = events_of("user.profile-changed")
    assert event.actor == "user:olga"
    assert event.body == {"user": "olga", "changed": ["density", "singleKeys", "theme", "timeZone"]}


@pytest.mark.usefixtures("world")
def test_what_is_as_it_was_is_neither_written_nor_told() -> None:
    olga = sign_in("olga")
    keep(olga)
    assert not Profile.objects.exists()
    keep(olga, density="cosy")
    keep(olga, density="cosy")
    assert [event.body["changed"] for event in events_of("user.profile-changed")] == [["density"]]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("sent", [{"time_zone": "Mars/Olympus"}, {"theme": '"><script>'}, {"density": "roomy"}])
def test_a_choice_that_is_none_changes_nothing(sent: dict[str, str]) -> None:
    answer = keep(sign_in("olga"), **sent)
    assert answer.status_code == 422
    assert 'class="error"' in text_of(answer)
    assert not Profile.objects.exists()


@pytest.mark.usefixtures("world")
def test_the_switch_at_the_foot_is_kept_too_and_beats_what_a_browser_remembers() -> None:
    olga = sign_in("olga")
    olga.post("/theme/", {"theme": "dark"})
    other = sign_in("olga")
    other.cookies[THEME_COOKIE] = "light"
    assert 'data-theme="dark"' in head_of(other)
    olga.post("/theme/", {"theme": "system"})
    assert "data-theme" not in head_of(other)
    assert [event.body["changed"] for event in events_of("user.profile-changed")] == [["theme"], ["theme"]]


@pytest.mark.usefixtures("world")
def test_who_has_no_role_has_a_profile_and_a_way_to_it() -> None:
    page = text_of(sign_in(OUTSIDER).get(PATH))
    assert "You have no role yet" in page
    assert re.findall(r'class="nav-link" href="([^"]+)"', page) == [PATH, PATH]  # beside and folded
    assert sign_in(OUTSIDER).post(PATH, {"density": "cosy"}).status_code == 302


# --- times ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("zone", "shown", "name"),
    [
        ("", "1 Jul 2026, 22:30:15", "UTC"),
        ("UTC", "1 Jul 2026, 22:30:15", "UTC"),
        ("Europe/London", "1 Jul 2026, 23:30:15", "Europe/London"),  # summer
        ("Asia/Kolkata", "2 Jul 2026, 04:00:15", "Asia/Kolkata"),
        ("Mars/Olympus", "1 Jul 2026, 22:30:15", "UTC"),
        ("../../etc/passwd", "1 Jul 2026, 22:30:15", "UTC"),
    ],
)
def test_times_are_shown_in_the_readers_zone_and_sent_in_utc(zone: str, shown: str, name: str) -> None:
    with showing_in(zone):
        for show in (stamp, clock, ago):
            tag = str(show(AT))
            assert 'datetime="2026-07-01T22:30:15.000Z"' in tag
            assert f'title="{shown} {name}"' in tag
        assert f">{shown}</time>" in str(stamp(AT))
    assert 'title="1 Jul 2026, 22:30:15 UTC"' in str(stamp(AT))


@pytest.mark.usefixtures("world")
def test_a_page_shows_its_times_in_that_zone_without_scripts() -> None:
    olga, task = sign_in("olga"), make_task()
    save_profile(User.objects.get(username="olga"), time_zone="Asia/Tokyo")
    assert " Asia/Tokyo" in text_of(olga.get(f"/tasks/{task.id}/"))
    assert " Asia/Tokyo" not in text_of(sign_in("vera").get(f"/tasks/{task.id}/"))


def test_there_are_zones_to_choose_from() -> None:
    assert list_zones()[0] == "UTC"
    assert {"Europe/London", "America/New_York", "Asia/Tokyo"} <= set(list_zones())
    assert "Etc/GMT+1" not in list_zones()


@pytest.mark.django_db
def test_the_anonymous_have_the_profile_that_everybody_begins_with() -> None:
    profile = read_profile(type("Nobody", (), {"pk": None}))
    assert (profile.theme, profile.density, profile.time_zone, profile.single_keys) == ("", "", "", True)


# --- open pages -----------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["sessions", "roles", "switch", "password"])
async def test_an_open_socket_hears_of_it_at_the_next_look(
    open_world: None, audit_store: Any, hub_stopped: None, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    assert max(ConsoleConsumer.recheck_seconds, TaskEventsConsumer.recheck_seconds) <= 30
    monkeypatch.setattr(ConsoleConsumer, "recheck_seconds", 0.2)
    tab = Tab(await sync_to_async(open_session)("olga"))
    assert await tab.open()
    await tab.say(op="ping")
    assert await tab.hear() == {"op": "pong"}
    acts: dict[str, Any] = {
        "sessions": lambda: users.end_sessions("olga", reason="x"),
        "roles": lambda: users.set_roles("olga", ["viewer"], reason="x"),  # may not follow the feed
        "switch": lambda: users.switch_off("olga", reason="x"),
        "password": lambda: users.renew_password("olga", reason="x"),
    }
    await sync_to_async(acts[act])()
    assert await tab.hear_close() == (consumers.NOT_ALLOWED if act == "roles" else consumers.SIGNED_OUT)
