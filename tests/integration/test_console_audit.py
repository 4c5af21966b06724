"""The audit trail and the live feed in the console, on a real audit store and with it away."""

from typing import Any

import pytest

from audit import documents
from audit.exploring import queries
from audit.models import LedgerEvent
from audit.sequencer import Sequencer
from tests.audit_cast import record_events
from tests.integration.console_cast import console_world, make_task, sign_in

HOSTILE = "<script>alert(1)</script>\u202e"


@pytest.fixture
def trail(transactional_db: None, settings: Any, audit_store: Any) -> Any:
    """Give the world with its events numbered and shipped."""
    with console_world(settings):
        ship()
        yield


@pytest.fixture
def away(db: None, settings: Any) -> Any:
    """Give the world with an audit store that does not answer."""
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true&serverSelectionTimeoutMS=200"
    documents.disconnect()
    queries.forget_head()
    with console_world(settings):
        yield
    documents.disconnect()
    queries.forget_head()


def ship() -> int:
    """Number and ship what waits, and return the last number."""
    sequencer = Sequencer(holder="test")
    while sequencer.step():
        pass
    last: int = LedgerEvent.objects.exclude(seq=None).count()
    return last


def page_of(path: str, person: str = "axel") -> str:
    answer = sign_in(person).get(path)
    assert answer.status_code == 200
    page: str = answer.content.decode()
    return page


@pytest.mark.usefixtures("trail")
def test_the_list_shows_what_happened_newest_first() -> None:
    page = page_of("/audit/")
    assert page.index("</svg>policy.published</span>") < page.index("</svg>agent.published</span>")


@pytest.mark.usefixtures("trail")
def test_the_list_is_filtered_and_paged_by_its_address() -> None:
    record_events(120, decision="deny")
    record_events(3, decision="allow", start=500)
    ship()
    client = sign_in("axel")
    first = client.get("/audit/?decision=deny").context["page"]
    older = client.get(f"/audit/?decision=deny&before={first.next_before}").context["page"]
    seen = [event["seq"] for event in (*first.events, *older.events)]
    assert len(seen) == 100
    assert seen == sorted(seen, reverse=True)
    assert {event["decision"] for event in first.events} == {"deny"}
    assert [event["taskId"] for event in client.get("/audit/?task=t-7").context["page"].events] == ["t-7"]


@pytest.mark.usefixtures("trail")
@pytest.mark.parametrize(
    ("query", "words"),
    [("type=nonsense", "no kind"), ("decision=maybe", "no decision"), ("agent=a%20b", "not an id"),
     ("since=yesterday", "not a time")],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_named_and_left_out(query: str, words: str) -> None:
    assert words in page_of(f"/audit/?{query}")


@pytest.mark.usefixtures("trail")
def test_an_entry_shows_its_place_in_the_chain() -> None:
    page = page_of("/audit/1/")
    assert "The hash was computed anew" in page
    assert sign_in("axel").get("/audit/999999/").status_code == 404


@pytest.mark.usefixtures("trail")
def test_an_entry_that_was_changed_says_so(audit_store: Any) -> None:
    audit_store.update_one({"seq": 2}, {"$set": {"actor": "user:nobody"}})
    assert "The hash does not match" in page_of("/audit/2/")


@pytest.mark.usefixtures("trail")
def test_what_is_in_an_event_is_inert() -> None:
    record_events(1, start=900, actor=f"user:{HOSTILE}", agent_id="a/../b", body={"note": HOSTILE})
    last = ship()
    for path in ("/audit/", f"/audit/{last}/", "/live/"):
        page = page_of(path)
        assert "<script>alert" not in page
        assert "\u202e" not in page


@pytest.mark.usefixtures("trail")
def test_the_feed_begins_with_the_newest_and_names_where_it_stands() -> None:
    last = ship()
    page = page_of("/live/")
    assert f'data-last="{last}"' in page
    assert f'data-seq="{last}"' in page


@pytest.mark.usefixtures("trail")
def test_a_gap_is_filled_in_pages() -> None:
    record_events(700)
    last = ship()
    client = sign_in("axel")
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        answer = client.get(f"/live/events/?after={after}&to={last}").json()
        seen += [item["seq"] for item in answer["items"]]
        after = answer["next"]
    assert seen == list(range(1, last + 1))


@pytest.mark.usefixtures("trail")
@pytest.mark.parametrize("query", ["", "after=-1&to=5", "after=x&to=5", "after=1", "after=1&to=99999999999999999999"])
def test_a_range_that_is_none_is_refused(query: str) -> None:
    answer = sign_in("axel").get(f"/live/events/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_query")


# --- the store is away ------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("path", ["/audit/", "/live/"])
def test_with_the_store_away_the_page_says_what_was_kept(path: str) -> None:
    page = page_of(path)
    assert "does not answer" in page
    assert "ledger" in page


@pytest.mark.usefixtures("away")
def test_with_the_store_away_an_entry_and_a_range_say_so_too() -> None:
    client = sign_in("axel")
    assert client.get("/audit/1/").status_code == 503
    assert client.get("/live/events/?after=0&to=5").json()["code"] == "audit_unavailable"


@pytest.mark.usefixtures("away")
def test_with_the_store_away_every_other_page_works_and_warns() -> None:
    Sequencer(holder="test").step()
    task = make_task()
    for path in ("/", "/tasks/", f"/tasks/{task.id}/", "/approvals/", "/agents/", "/skills/", "/tasks/new/"):
        page = page_of(path, "ada")
        assert "The audit store does not answer" in page, path
        assert "nothing is lost" in page, path
