"""The explorer: who sees what an entry held, what that leaves behind, and how an entry is tied to others."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit.events import EventType
from audit.exploring import reading, search
from audit.ledger import record
from audit.models import ArchivedSegment, LedgerEvent, TreeHead
from audit.transactions import write_transaction
from tests.audit_cast import NOW, make_event, record_events
from tests.integration.console_cast import console_world, sign_in
from tests.integration.test_console_audit import page_of, ship

SECRET = "the launch code is 0000"
MAY_NOT_READ = ("olga", "ana")
MAY_READ = ("axel", "ada")


@pytest.fixture
def trail(transactional_db: None, settings: Any, audit_store: Any) -> Iterator[int]:
    """Give the number of an entry that holds a secret, caused by the one before and the cause of the one after."""
    with console_world(settings):
        reading.forget_readings()
        cause = make_event(1, task_id="t-1")
        held = make_event(2, task_id="t-1", cause_id=cause.id, body={"decisionId": "d-77", "note": SECRET})
        effect = make_event(3, task_id="t-1", cause_id=held.id, decision="deny")
        with write_transaction():
            record(cause, held, effect)
        ship()
        yield LedgerEvent.objects.get(event_id=held.id).seq or 0
        reading.forget_readings()


def readings() -> list[tuple[str, Any]]:
    rows = LedgerEvent.objects.filter(type=EventType.PAYLOAD_READ).order_by("id")
    return [(row.actor, seq) for row in rows for seq in row.body["seqs"]]


@pytest.mark.parametrize("person", MAY_NOT_READ)
def test_without_the_right_an_entry_shows_that_it_was_and_not_what_it_held(trail: int, person: str) -> None:
    page = page_of(f"/audit/{trail}/", person)
    assert SECRET not in page
    assert "d-77" in page  # ids lead to other pages
    assert "normalization-agent" in page
    assert re.search(r"<code>note</code> \d+ B", page)
    assert readings() == []


@pytest.mark.parametrize("person", MAY_READ)
def test_whoever_sees_a_payload_leaves_one_trace_for_some_minutes(
    trail: int, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sign_in(person)
    for _ in range(3):
        assert SECRET in client.get(f"/audit/{trail}/").content.decode()
    client.get(f"/audit/{trail}/", headers={"HX-Request": "true"})
    assert readings() == [(f"user:{person}", trail)]
    later = timezone.now() + reading.QUIET + timedelta(seconds=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    client.get(f"/audit/{trail}/")
    assert readings() == [(f"user:{person}", trail)] * 2


def test_the_list_says_who_acted(trail: int) -> None:
    page = page_of(f"/audit/?q={trail}")
    assert '<td class="actor" title="agent:normalization-agent">normalization-agent</td>' in page


def test_the_list_says_once_what_a_person_did(trail: int) -> None:
    with write_transaction():
        record(make_event(9, type=EventType.USER_LOGGED_IN, actor="user:olga", agent_id=""))
    ship()
    page = page_of("/audit/?type=user.logged-in")
    assert re.search(r"<td class=\"actor\"[^>]*>olga</td>\s*<td[^>]*>signed in</td>", page)


@pytest.mark.parametrize("number", ["9" * 15, "9" * 30])
def test_a_number_that_no_entry_has_is_no_page(trail: int, number: str) -> None:
    client = sign_in("axel")
    for path in (f"/audit/{number}/", f"/audit/{number}/proof.json"):
        assert client.get(path).status_code == 404, path


def test_no_list_shows_a_payload_to_anybody(trail: int) -> None:
    for person in (*MAY_READ, *MAY_NOT_READ):
        for path in ("/audit/", "/live/", f"/live/events/?after=0&to={trail}"):
            assert SECRET not in page_of(path, person)
    assert readings() == []


def test_reading_that_somebody_read_is_no_reading(trail: int) -> None:
    page_of(f"/audit/{trail}/")
    page_of(f"/audit/{ship()}/")
    assert len(readings()) == 1


def test_an_entry_names_its_cause_its_effects_and_its_neighbours(trail: int) -> None:
    page = page_of(f"/audit/{trail}/")
    for title, seq in (("Cause", trail - 1), ("Led to", trail + 1)):
        assert re.search(rf"<dt>{title}</dt><dd><a href=\"/audit/{seq}/\"", page), title
    assert re.search(rf"<dt>Before, in its task</dt><dd><a href=\"/audit/{trail - 1}/\"", page)
    assert re.search(rf"<dt>After, in its task</dt><dd><a href=\"/audit/{trail + 1}/\"", page)
    assert "it leads to the root that was signed" in page


def test_to_htmx_an_entry_is_a_panel(trail: int) -> None:
    panel = sign_in("axel").get(f"/audit/{trail}/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in panel
    assert f"Entry #{trail}" in panel
    assert ">Permalink<" in panel


@pytest.mark.parametrize("text", ["d-77", "t-1"])
def test_an_id_finds_the_entries_that_carry_it(trail: int, text: str) -> None:
    rows = sign_in("olga").get(f"/audit/?q={text}").context["rows"]
    assert trail in [row["seq"] for row in rows]


def test_an_erased_entry_says_so_and_still_proves_itself(trail: int, audit_store: Any) -> None:
    audit_store.update_one({"seq": trail}, {"$set": {"actor": None, "body": None, "salt": None}})
    page = page_of(f"/audit/{trail}/")
    assert "were erased" in page
    assert "it leads to the root that was signed" in page
    assert '<em class="muted">erased</em>' in page_of(f"/audit/?q={trail}")
    assert readings() == []


def test_an_entry_that_was_archived_is_no_missing_one(trail: int, audit_store: Any) -> None:
    audit_store.delete_one({"seq": 1})
    assert sign_in("axel").get("/audit/1/").status_code == 404
    TreeHead.objects.update(archived_seq=1)
    ArchivedSegment.objects.create(
        after_seq=0, to_seq=1, root="", file="events-1.jsonl.gz", sha256="", archived_at=NOW, cleared=True
    )
    assert "was archived with its proofs in <code>events-1.jsonl.gz" in page_of("/audit/1/")


def test_a_rare_search_says_how_far_it_is_goes_on_by_itself_and_can_be_stopped(
    trail: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_events(300, agent_id="coder")
    ship()
    monkeypatch.setattr(search, "_MAX_READ", 100)
    monkeypatch.setattr(search, "_FIRST_WINDOW", 50)
    monkeypatch.setattr(search, "_MAX_WINDOW", 50)
    client, path = sign_in("olga"), "/audit/"
    query, rounds, found = "?agent=coder&decision=deny", 0, []
    while True:
        answer = client.get(path + query)
        found += [row["seq"] for row in answer.context["rows"]]
        if not answer.context["search"]["is_partial"]:
            break
        page, rounds = answer.content.decode(), rounds + 1
        assert re.search(r"Searched [\d,]+ of [\d,]+ entries, nothing yet", page)
        assert 'hx-trigger="load delay:50ms"' in page
        query = answer.context["search"]["next"]
    assert rounds >= 2
    assert found == []
    stopped = client.get(path + client.get("/audit/?agent=coder&decision=deny").context["search"]["stop"])
    assert 'hx-trigger="load' not in stopped.content.decode()
    assert stopped.context["rows"] == []


def test_an_entry_is_proven_by_a_file_that_is_recorded(trail: int) -> None:
    assert sign_in("olga").get(f"/audit/{trail}/proof.json").status_code == 403
    answer = sign_in("axel").get(f"/audit/{trail}/proof.json")
    proof = answer.json()
    assert (answer.status_code, proof["event"]["seq"], proof["leafIndex"]) == (200, trail, trail - 1)
    assert SECRET in answer.content.decode()
    [event] = LedgerEvent.objects.filter(type=EventType.TRAIL_EXPORTED)
    assert (event.actor, event.body["format"], event.body["to"]) == ("user:axel", "proof", trail)
    assert sign_in("axel").get("/audit/900000/proof.json").status_code == 404
