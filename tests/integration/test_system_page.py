"""The system page: what is alive, what is not, and what was known of it last."""

import re
from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.utils import timezone

from agents.models import ProviderCircuit, Worker
from audit import documents
from audit.exploring.verifying import start_verification
from audit.lease import HEAD
from audit.models import RunState, TrailRun, TreeHead
from orchestrator_site.system import views
from orchestrator_site.system.figures import Figure
from orchestrator_site.webhooks.models import WebhookDelivery, WebhookSubscription
from tests import servers
from tests.integration.console_cast import FETCHER, make_task, sign_in, world

__all__ = ["world"]
pytestmark = pytest.mark.usefixtures("world", "fresh_figures")


@pytest.fixture
def fresh_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what earlier tests have read."""
    fresh = {name: Figure(figure._read, apart=figure._apart) for name, figure in views.FIGURES.items()}
    monkeypatch.setattr(views, "FIGURES", fresh)


@pytest.fixture
def no_store(settings: Any) -> Iterator[None]:
    """Point at an audit store that nobody has started."""
    settings.MONGODB_URI = f"mongodb://127.0.0.1:{servers.find_free_port()}/?directConnection=true"
    documents.disconnect()
    yield
    documents.disconnect()


def read_page(name: str = "olga") -> str:
    """Return the page's text without its markup, as one line."""
    answer = sign_in(name).get("/system/")
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def make_worker(name: str, *, beat: int, lease: int, slots: int = 40) -> None:
    now = timezone.now()
    Worker.objects.create(
        id=name, host="h", pid=1, slots=slots, started_at=now - timedelta(hours=1),
        beat_at=now - timedelta(seconds=beat), lease_expires_at=now + timedelta(seconds=lease),
    )  # fmt: skip


def test_a_store_that_dies_leaves_its_last_figures_and_their_time(settings: Any) -> None:
    with servers.run_mongodb() as server:
        settings.MONGODB_URI = f"mongodb://127.0.0.1:{server.port}/?directConnection=true"
        documents.disconnect()
        alive = read_page()
        assert (alive.count("Answers"), "Not read since" in alive) == (2, False)
        version = re.search(r"MongoDB ([\d.]+)", alive)
        server.stop()
        began = monotonic()
        dead = read_page()
        assert monotonic() - began < 5
    documents.disconnect()
    assert version is not None
    assert f"Away MongoDB {version[1]}" in dead
    assert re.search(
        r"\d\d:\d\d:\d\d · (it does not answer in time|the audit store does not answer); not read since", dead
    )
    assert "1 of 11 figures could not be read" in dead
    assert "Relational store Answers SQLite" in dead  # the others are as they were


@pytest.mark.usefixtures("no_store")
def test_a_figure_that_was_never_read_says_so() -> None:
    assert "never in this process · the audit store does not answer" in read_page()


@pytest.mark.usefixtures("no_store")
def test_a_dead_worker_stands_first_and_a_silent_one_is_told() -> None:
    make_worker("w-living", beat=1, lease=29, slots=7)
    make_worker("w-silent", beat=20, lease=10)
    make_worker("w-dead", beat=60, lease=-30)
    make_task(state="running", worker_id="w-living", ended_at=None)
    page = read_page()
    assert page.index("w-dead Dead") < page.index("w-silent Silent") < page.index("w-living Living 1 of 7")


@pytest.mark.usefixtures("no_store")
def test_without_a_worker_it_says_what_to_do() -> None:
    assert "No worker is registered, so queued tasks wait. Start one with manage.py worker" in read_page()


@pytest.mark.usefixtures("no_store")
def test_the_queue_is_told_by_what_it_waits_for() -> None:
    now = timezone.now()
    later = now + timedelta(minutes=5)
    make_task(state="queued", run_at=None, fence=0, age=timedelta(hours=2))
    make_task(state="queued", run_at=later, fence=1)
    make_task(state="queued", run_at=later, fence=0, priority=3)
    make_task(state="awaiting_approval")
    for _ in range(5):
        make_task(state="running", worker_id="w")
    page = read_page()
    assert "3 queued · 5 running · 1 waiting for a person" in page
    assert "3 0 0 1" in page  # the priority, due, again, later
    assert "0 1 1 0" in page
    assert "The oldest was submitted 2 h ago" in page
    assert f"{FETCHER} 3 5 of 5 At its limit" in page


@pytest.mark.usefixtures("no_store")
def test_circuits_sequencer_and_background_are_told(settings: Any) -> None:
    settings.OPENAI_API_KEY = "k"
    ProviderCircuit.objects.create(provider="openai", state="open", since=timezone.now(), why="provider_overloaded")
    until = timezone.now() + timedelta(seconds=10)
    TreeHead.objects.create(
        name=HEAD, holder="host:7", lease_expires_at=until, seq=12, shipped_seq=5, store_fault="it refused the login"
    )
    run = start_verification(first=1, last=12, asked_by="axel", now=timezone.now())
    TrailRun.objects.filter(id=run.id).update(state=RunState.RUNNING, beat_at=timezone.now() - timedelta(minutes=2))
    page = read_page()
    assert "OpenAI Left alone" in page
    assert "provider overloaded" in page
    assert "host:7 , lease until" in page
    assert "to #5, 7 behind" in page
    assert "It refused the login. Events wait in the ledger" in page
    assert "Verify Left by its worker" in page


@pytest.mark.usefixtures("no_store")
def test_a_look_of_htmx_gets_the_board_alone_and_links_are_there_when_set(settings: Any) -> None:
    settings.GRAFANA_URL, settings.ALERTMANAGER_URL = "https://grafana.example/d/1", ""
    olga = sign_in("olga")
    part = olga.get("/system/", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div class="stack" id="system"')
    page = olga.get("/system/").content.decode()
    assert 'href="https://grafana.example/d/1"' in page
    assert "ALERTMANAGER_URL is not set" in page


@pytest.mark.usefixtures("no_store")
def test_webhooks_that_wait_or_were_given_up_are_told() -> None:
    now = timezone.now()
    WebhookSubscription.objects.create(
        id="s1", name="pager", url="https://hooks.example/", is_active=False, since=now, created_at=now
    )
    for number, state in enumerate(("pending", "failed", "delivered")):
        WebhookDelivery.objects.create(
            id=f"d{number}", receiver="s1", channel="s1", event_id=f"e{number}", kind="task", type="task.failed",
            payload="{}", state=state, next_at=now, created_at=now - timedelta(hours=3),
        )  # fmt: skip
    page = read_page()
    assert "Subscriptions 1, 1 paused pager" in page
    assert "Waiting 1, the oldest made 3 h ago Given up 1" in page
