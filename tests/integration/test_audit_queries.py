"""Pages, ranges and entries from a real store, each the same as a plain sift of all events would give."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit import documents
from audit.canonical import canonical_bytes
from audit.exceptions import StoreUnavailable
from audit.exploring import search
from audit.exploring.filters import Filters
from audit.exploring.queries import get_head_seq, read_range, read_task
from audit.exploring.search import list_events
from audit.ids import collect_ids
from audit.models import TreeHead
from audit.proof.leaves import seal
from audit.wire import format_at
from tests.audit_cast import NOW

pytestmark = pytest.mark.django_db

COUNT = 3_000
AGENTS = [f"agent-{n}" for n in range(7)]
TYPES = ["task.submitted", "decision.made", "step.finished"]


@pytest.fixture(scope="module")
def chain() -> list[dict[str, Any]]:
    """Events a second apart; of three types, seven agents, and one rare agent; the clock stumbles in the middle."""
    made: list[dict[str, Any]] = []
    for seq in range(1, COUNT + 1):
        at = NOW + timedelta(seconds=seq) - (timedelta(minutes=30) if 1500 < seq < 1600 else timedelta())
        document: dict[str, Any] = {
            "_id": f"e-{seq}", "type": TYPES[seq % 3], "at": format_at(at), "actor": f"user:{['olga', 'ana'][seq % 2]}",
            "taskId": f"t-{seq // 5}", "agentId": "agent-rare" if seq in (17, 18) else AGENTS[seq % 7],
            "skillId": ["normalizer", None][seq % 2], "decision": "deny" if seq % 11 == 0 else None, "reason": None,
            "traceId": f"trace-{seq // 100}", "causeId": f"e-{seq - 1}" if seq % 10 == 0 else None,
            "body": canonical_bytes({"n": seq, "decisionId": f"d-{seq // 2}"}).decode(),
        }  # fmt: skip
        document["ids"] = collect_ids(document)
        seal(document, seq=seq, salt=f"{seq:032x}")
        made.append(document)
    return made


@pytest.fixture
def store(audit_store: Any, chain: list[dict[str, Any]]) -> Any:
    audit_store.insert_many(chain)
    return audit_store


def all_pages(filters: Filters, *, limit: int) -> list[int]:
    """Return the numbers of all events on all pages, in the order shown."""
    seqs: list[int] = []
    before: int | None = None
    while True:
        page = list_events(filters, before=before, limit=limit)
        assert len(page.events) <= limit
        seqs += [event["seq"] for event in page.events]
        if page.next_before is None:
            return seqs
        assert before is None or page.next_before < before
        before = page.next_before


CASES = [
    Filters(),
    Filters(agent_id="agent-3"),
    Filters(agent_id="agent-rare"),
    Filters(agent_id="nobody"),
    Filters(task_id="t-100"),
    Filters(type="decision.made"),
    Filters(type="task."),
    Filters(type="decision.", agent_id="agent-2"),
    Filters(type="approval."),
    Filters(skill_id="normalizer"),
    Filters(actor="user:ana"),
    Filters(actor="user:ana", skill_id="normalizer"),
    Filters(decision="deny"),
    Filters(text="e-1509"),
    Filters(text="d-700"),
    Filters(text="d-700", decision="deny"),
    Filters(text="trace-12", type="step.", since=NOW + timedelta(seconds=1_220)),
    Filters(text="t-44"),
    Filters(text="agent-rare"),
    Filters(text="normalizer"),
    Filters(text="olga", type="task.submitted"),
    Filters(text="nowhere"),
    Filters(text="2222"),
    Filters(text="#17", agent_id="agent-3"),
    Filters(agent_id="agent-3", type="decision.made", decision="deny"),
    Filters(task_id="t-100", type="decision.made"),
    Filters(since=NOW + timedelta(seconds=2_900)),
    Filters(until=NOW + timedelta(seconds=100)),
    Filters(since=NOW + timedelta(seconds=1_490), until=NOW + timedelta(seconds=1_650)),
    Filters(since=NOW - timedelta(minutes=6), until=NOW + timedelta(seconds=40), type="task.submitted"),
    Filters(since=NOW + timedelta(days=1)),
    Filters(until=NOW - timedelta(days=1)),
]


@pytest.mark.parametrize("filters", CASES)
def test_pages_give_what_a_plain_sift_gives(filters: Filters, store: Any, chain: list[dict[str, Any]]) -> None:
    def wanted(document: dict[str, Any]) -> bool:
        at: datetime = datetime.fromisoformat(document["at"])
        named = (document["_id"], document["taskId"], document["traceId"], document["causeId"], document["agentId"],
                 document["skillId"], document["actor"].removeprefix("user:"), f"d-{document['seq'] // 2}",
                 str(document["seq"]), f"#{document['seq']}")  # fmt: skip
        exact = {"taskId": filters.task_id, "agentId": filters.agent_id, "skillId": filters.skill_id,
                 "actor": filters.actor, "decision": filters.decision}  # fmt: skip
        return (
            all(not value or document[name] == value for name, value in exact.items())
            and (
                document["type"] == filters.type
                or ((filters.type[-1:] in ("", ".")) and document["type"].startswith(filters.type))
            )
            and (not filters.text or filters.text in named)
            and (filters.since is None or at >= filters.since)
            and (filters.until is None or at < filters.until)
        )

    expected = [document["seq"] for document in reversed(chain) if wanted(document)]
    assert all_pages(filters, limit=1_000) == expected
    assert all_pages(filters, limit=70) == expected


def test_a_search_that_costs_too_much_is_given_in_parts(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MAX_READ", 100)
    monkeypatch.setattr(search, "_FIRST_WINDOW", 50)
    filters = Filters(agent_id="agent-rare", type=TYPES[17 % 3])
    first = list_events(Filters(type=TYPES[17 % 3], agent_id="agent-rare"), limit=5)
    assert first.events
    broad = Filters(type="decision.made", since=NOW, until=NOW + timedelta(seconds=60))
    assert all_pages(broad, limit=5) == [seq for seq in range(59, 0, -1) if TYPES[seq % 3] == "decision.made"]
    assert all_pages(filters, limit=5) == [17]


def test_a_search_says_how_far_it_has_looked(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MAX_READ", 100)
    monkeypatch.setattr(search, "_FIRST_WINDOW", 50)
    page = list_events(Filters(agent_id="agent-rare", actor="user:ana"), limit=5)
    looked = []
    while page.is_partial:
        assert not page.events
        assert page.next_before == page.reached
        looked.append(page.reached)
        page = list_events(Filters(agent_id="agent-rare", actor="user:ana"), before=page.next_before, limit=5)
    assert looked == sorted(set(looked), reverse=True)
    assert len(looked) > 5
    assert [event["seq"] for event in page.events] == [17]
    assert (page.reached, page.next_before) == (1, None)


def test_what_was_archived_is_not_looked_for(store: Any, chain: list[dict[str, Any]]) -> None:
    store.delete_many({"seq": {"$lte": 2_000}})
    TreeHead.objects.create(name="main", seq=COUNT, shipped_seq=COUNT, archived_seq=2_000)
    page = list_events(Filters(until=NOW + timedelta(seconds=2_100)), limit=200)
    assert [event["seq"] for event in page.events] == list(range(2_099, 2_000, -1))
    assert (page.lowest, page.next_before) == (2_001, None)


def test_a_hole_in_the_store_hides_no_others(store: Any) -> None:
    store.delete_many({"seq": {"$gt": 100, "$lte": 2_950}})
    seqs = all_pages(Filters(), limit=10)
    assert seqs == [*range(3_000, 2_950, -1), *range(100, 0, -1)]


def test_a_range_is_bounded_and_in_order(store: Any) -> None:
    assert [event["seq"] for event in read_range(after=10, to=15)] == [11, 12, 13, 14, 15]
    assert [event["seq"] for event in read_range(after=10, to=5_000, limit=3)] == [11, 12, 13]
    assert read_range(after=COUNT, to=COUNT + 500) == []


def test_a_task_is_read_whole(store: Any) -> None:
    assert [event["seq"] for event in read_task("t-100")] == [500, 501, 502, 503, 504]
    assert [event["seq"] for event in read_task("t-100", after=502)] == [503, 504]


def test_the_head_follows_the_store(store: Any, chain: list[dict[str, Any]]) -> None:
    assert get_head_seq() == COUNT
    store.insert_one(chain[0] | {"_id": "next", "seq": COUNT + 1})
    assert get_head_seq() == COUNT + 1


def test_an_empty_store_has_an_empty_page(audit_store: Any) -> None:
    assert get_head_seq() == 0
    assert list_events(Filters()).events == []


def test_a_store_that_is_away_is_noticed_within_seconds(settings: Any, audit_store: Any) -> None:
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true"
    documents.disconnect()
    started = datetime.now(UTC)
    for read in (lambda: list_events(Filters()), lambda: read_range(after=0, to=5)):
        with pytest.raises(StoreUnavailable):
            read()
    assert datetime.now(UTC) - started < timedelta(seconds=4)


def test_a_store_that_has_no_address_yet_is_away(settings: Any, tmp_path: Any) -> None:
    settings.MONGODB_URI = ""
    settings.MONGODB_URI_FILE = tmp_path / "none"
    with pytest.raises(StoreUnavailable, match="address"):
        get_head_seq()


def test_the_address_is_read_anew_when_it_changes(settings: Any, audit_store: Any, mongodb: str, tmp_path: Any) -> None:
    settings.MONGODB_URI, settings.MONGODB_URI_FILE = "", tmp_path / "mongodb.uri"
    settings.MONGODB_URI_FILE.write_text("mongodb://127.0.0.1:9/?directConnection=true")
    with pytest.raises(StoreUnavailable):
        get_head_seq()
    settings.MONGODB_URI_FILE.write_text(mongodb)
    assert get_head_seq() == 0


def test_windows_cover_every_number_once() -> None:
    windows = list(search._windows(10_001, 1, first=10))
    assert windows[0] == (9_991, 10_001)
    assert windows[-1][0] == 1
    assert all(upper == lower for (lower, _), (_, upper) in itertools.pairwise(windows))
