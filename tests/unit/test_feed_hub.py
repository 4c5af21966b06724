"""The hub against a store in memory: order, gaps, filters, sharing, and a store that fails."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from audit import bell
from audit.events import EventType
from audit.exceptions import StoreUnavailable
from audit.live.hub import MAX_ITEMS, Hub
from audit.live.items import FeedFilters, read_filters, to_item
from audit.live.standing import list_standings

NO_FILTERS = FeedFilters()


def make_wire(seq: int, **changes: Any) -> dict[str, Any]:
    event = {
        "seq": seq, "id": f"e-{seq}", "type": "decision.made", "at": "2026-11-23T12:00:00.000000Z",
        "actor": "agent:a", "taskId": f"t-{seq % 10}", "agentId": f"agent-{seq % 2}", "skillId": "normalizer",
        "decision": "allow", "reason": "allowed", "body": {}, "hash": "",
    }  # fmt: skip
    return event | changes


class FakeStore:
    """Events by number, with the two reads that the hub makes."""

    def __init__(self, *seqs: int) -> None:
        self.events = {seq: make_wire(seq) for seq in seqs}
        self.away = False
        self.numbered = 2**53  # how far the ledger gave numbers out
        self.reads = 0

    def add(self, *seqs: int, **changes: Any) -> None:
        self.events |= {seq: make_wire(seq, **changes) for seq in seqs}
        bell.shipped.ring()

    def read_range(self, *, after: int, to: int, limit: int) -> list[dict[str, Any]]:
        self._check()
        return [self.events[seq] for seq in range(after + 1, min(to, after + limit) + 1) if seq in self.events]

    def find_end(self) -> int:
        self._check()
        return min(self.numbered, max(self.events, default=0))

    def _check(self) -> None:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("the audit store does not answer")


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Give a function that starts a hub over a store; all are stopped afterwards."""
    hubs: list[Hub] = []

    async def start_hub(store: FakeStore, **options: Any) -> Hub:
        hub = Hub(read_range=store.read_range, find_end=store.find_end, **{"poll_seconds": 0.05} | options)
        hub.start()
        hubs.append(hub)
        return hub

    yield start_hub
    for hub in hubs:
        await hub.stop()


async def reach(hub: Hub, head: int) -> None:
    async with asyncio.timeout(5):
        while hub.head < head:
            await hub.wait_change(hub.version)


def frames(hub: Hub, cursor: int, filters: FeedFilters = NO_FILTERS) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in hub.collect(cursor, filters).frames]


def seqs(frame: dict[str, Any]) -> list[int]:
    return [item["seq"] for item in frame["items"]]


async def test_a_reader_gets_what_came_after_its_cursor(start: Any) -> None:
    store = FakeStore(*range(1, 6))
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        (frame,) = frames(hub, 2)
        assert (frame["op"], seqs(frame), frame["head"], frame["skipped"]) == ("ev", [3, 4, 5], 5, 0)
        assert frames(hub, 5) == []
        store.add(6, 7)
        await reach(hub, 7)
        assert seqs(frames(hub, 5)[0]) == [6, 7]


async def test_readers_at_the_same_place_share_one_frame(start: Any) -> None:
    hub = await start(FakeStore(1, 2, 3))
    with hub.reading():
        await hub.wait_ready()
        assert hub.collect(1, NO_FILTERS) is hub.collect(1, FeedFilters())


async def test_the_bell_is_faster_than_the_poll(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, poll_seconds=30.0)
    with hub.reading():
        await hub.wait_ready()
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(store.add, 2)
        await reach(hub, 2)
        assert asyncio.get_running_loop().time() - began < 1.0


async def test_without_a_bell_it_polls(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        store.events[2] = make_wire(2)
        await reach(hub, 2)


async def test_without_readers_it_leaves_the_store_alone(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, poll_seconds=0.01)
    await asyncio.sleep(0.2)
    assert store.reads == 0
    with hub.reading():
        await hub.wait_ready()
    await asyncio.sleep(0.1)
    reads = store.reads
    await asyncio.sleep(0.2)
    assert store.reads == reads
    store.add(2)
    with hub.reading():
        await reach(hub, 2)
        assert seqs(frames(hub, 1)[0]) == [2]


async def test_a_cursor_older_than_the_ring_gets_a_gap_first(start: Any) -> None:
    store = FakeStore(*range(1, 51))
    hub = await start(store, ring_size=10)
    with hub.reading():
        await hub.wait_ready()
        gap, frame = frames(hub, 20)
        assert gap == {"op": "gap", "after": 20, "to": 40}
        assert seqs(frame) == list(range(41, 51))


async def test_it_begins_near_the_end_of_a_long_trail(start: Any) -> None:
    store = FakeStore(*range(1, 2_001))
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        gap, frame = frames(hub, 0)
        assert gap == {"op": "gap", "after": 0, "to": 1_500}
        assert (frame["head"], frame["skipped"], len(frame["items"])) == (2_000, 300, MAX_ITEMS)


async def test_how_a_hub_stands_is_told_from_another_thread(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = await start(FakeStore(*range(1, 2_001)))
    monkeypatch.setattr("audit.live.hub._hubs", {asyncio.get_running_loop(): hub})
    [asleep] = await asyncio.to_thread(list_standings, 2_000)
    assert (asleep.head, asleep.lag, asleep.readers) == (0, 0, 0)
    with hub.reading():
        await hub.wait_ready()
        frames(hub, 0)
        [standing] = await asyncio.to_thread(list_standings, 2_004)
    assert (standing.head, standing.lag, standing.readers, standing.store_ok) == (2_000, 4, 1, True)
    assert (standing.skipped, standing.passed_over) == (300, 0)


async def test_more_than_a_frame_holds_is_counted_never_dropped_silently(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        store.add(*range(2, 452))
        await reach(hub, 451)
        (frame,) = frames(hub, 1)
        assert (frame["skipped"], seqs(frame)) == (250, list(range(252, 452)))


async def test_it_waits_for_a_number_that_comes_late(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, hole_seconds=5.0)
    with hub.reading():
        await hub.wait_ready()
        store.add(3, 4)
        await asyncio.sleep(0.3)
        assert hub.head == 1
        store.add(2)
        await reach(hub, 4)
        assert seqs(frames(hub, 1)[0]) == [2, 3, 4]


async def test_a_number_that_never_comes_is_shown_as_a_gap(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, hole_seconds=0.1)
    with hub.reading():
        await hub.wait_ready()
        store.add(4, 5)
        await reach(hub, 5)
        gap, frame = frames(hub, 1)
        assert gap == {"op": "gap", "after": 1, "to": 3}
        assert seqs(frame) == [4, 5]
        assert [frame["op"] for frame in frames(hub, 4)] == ["ev"]


async def test_what_came_before_a_gap_is_told_before_it(start: Any) -> None:
    """A screen that comes back takes nothing that is older than what it was told last."""
    store = FakeStore(1)
    hub = await start(store, hole_seconds=0.1)
    with hub.reading():
        await hub.wait_ready()
        store.add(2, 3, 6, 7)
        await reach(hub, 7)
        before, gap, after = frames(hub, 1)
        assert (seqs(before), before["head"]) == ([2, 3], 3)
        assert gap == {"op": "gap", "after": 3, "to": 5}
        assert (seqs(after), after["head"]) == ([6, 7], 7)
        assert [(frame["op"], frame.get("after")) for frame in frames(hub, 4)] == [("gap", 4), ("ev", None)]


async def test_a_hole_wider_than_a_window_does_not_stop_it(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, hole_seconds=0.05)
    with hub.reading():
        await hub.wait_ready()
        store.add(1_300)
        await reach(hub, 1_300)
        assert seqs(frames(hub, 1)[-1]) == [1_300]


async def test_filters_narrow_the_items_but_not_the_head(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        store.add(2, 3, 4)
        await reach(hub, 4)
        (frame,) = frames(hub, 1, read_filters({"agentId": "agent-1"}))
        assert (seqs(frame), frame["head"]) == ([3], 4)
        (frame,) = frames(hub, 1, read_filters({"taskId": ["t-8", "t-9"]}))
        assert (seqs(frame), frame["head"]) == ([], 4)


async def test_the_heartbeat_moves_the_head_and_shows_only_to_those_who_ask(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        store.add(2, 3, type="sequencer.beat", agentId=None, decision=None)
        await reach(hub, 3)
        assert [(seqs(frame), frame["head"]) for frame in frames(hub, 1)] == [([], 3)]
        assert not hub.collect(1, NO_FILTERS).tells
        assert seqs(frames(hub, 1, read_filters({"type": "sequencer.beat"}))[0]) == [2, 3]


async def test_a_forged_number_beyond_the_ledger_leads_nobody_astray(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, hole_seconds=0.01)
    with hub.reading():
        await hub.wait_ready()
        store.numbered = 1
        store.add(3, 400, 2**60)
        await asyncio.sleep(0.3)
        assert hub.head == 1
        store.numbered = 2
        store.add(2)
        await reach(hub, 2)
        assert [seqs(frame) for frame in frames(hub, 1)] == [[2, 3]]


TAMPERED: list[dict[str, Any]] = [
    {"type": None}, {"type": {"$x": [1]}}, {"type": 7, "agentId": None}, {"actor": None, "agentId": None, "body": None},
    {"actor": {"x": 1}, "agentId": ["y"]}, {"at": None}, {"at": 5.5}, {"taskId": b"\xff"}, {"skillId": "{0.__class__}"},
    {"decision": ["allow"]}, {"body": []}, {"body": "text"}, {"body": {"kind": ["review"]}}, {"agentId": "x" * 10**6},
]  # fmt: skip


@pytest.mark.parametrize("changes", TAMPERED, ids=str)
async def test_no_document_stops_the_feed(start: Any, changes: dict[str, Any]) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        store.add(2, **changes)
        store.add(3)
        await reach(hub, 3)
        (frame,) = frames(hub, 1)
        assert seqs(frame) == [2, 3]
        assert len(json.dumps(frame)) < 3_000


@pytest.mark.parametrize("seq", [None, "2", 2.5, 2.0])
async def test_a_number_that_was_made_none_is_a_gap(start: Any, seq: Any) -> None:
    store = FakeStore(1)
    hub = await start(store, hole_seconds=0.05)
    with hub.reading():
        await hub.wait_ready()
        store.events[2] = make_wire(2) | {"seq": seq}
        store.add(3)
        await reach(hub, 3)
        gap, frame = frames(hub, 1)
        assert (gap["after"], gap["to"], seqs(frame)) == (1, 2, [3])


def test_an_item_holds_nothing_of_the_body() -> None:
    secret = {"kind": "call", "arguments": {"token": "hunter2"}, "result": "hunter2"}
    for type_ in EventType:
        assert "hunter2" not in json.dumps(to_item(make_wire(1, type=type_.value, body=secret)))


async def test_a_store_that_goes_away_is_told_and_loses_nothing(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.reading():
        await hub.wait_ready()
        store.away = True
        store.add(2, 3)
        async with asyncio.timeout(2):
            while hub.store_ok:
                await hub.wait_change(hub.version)
        assert hub.store_changed_at.endswith("Z")
        store.away = False
        await reach(hub, 3)
        assert hub.store_ok
        assert seqs(frames(hub, 1)[0]) == [2, 3]


async def test_a_watcher_hears_of_its_own_task_only(start: Any) -> None:
    store = FakeStore(1)
    hub = await start(store)
    with hub.watching("t-2") as news, hub.watching("t-3") as other:
        await hub.wait_ready()
        store.add(2)
        async with asyncio.timeout(2):
            await news.wait()
        assert not other.is_set()
    assert hub._watchers == {}


async def test_five_hundred_readers_all_get_everything_in_order(start: Any) -> None:
    store = FakeStore()
    hub = await start(store)
    received: list[list[int]] = [[] for _ in range(500)]

    async def read(mine: list[int]) -> None:
        cursor = 0
        with hub.reading():
            while cursor < 1_000:
                version = hub.version
                for frame in frames(hub, cursor):
                    mine += seqs(frame)
                    assert not frame["skipped"]
                cursor = hub.head
                await hub.wait_change(version) if cursor < 1_000 else None

    readers = [asyncio.create_task(read(mine)) for mine in received]
    async with asyncio.timeout(60):
        for start_seq in range(1, 1_001, 40):
            store.add(*range(start_seq, start_seq + 40))
            while min(map(len, received)) <= start_seq - 120:  # nobody is left so far behind that a frame would skip
                await asyncio.sleep(0.01)
        await asyncio.gather(*readers)
    assert all(mine == list(range(1, 1_001)) for mine in received)


def test_an_erased_person_is_not_shown_as_the_system() -> None:
    item = to_item(make_wire(1, type="task.submitted") | {"actor": None})
    assert item["text"] == "was given a task by an erased person"


@pytest.mark.parametrize(
    ("changes", "subject", "text"),
    [
        ({}, "agent-1", "called normalizer"),
        ({"decision": "ask"}, "agent-1", "asked to call normalizer"),
        ({"decision": "deny"}, "agent-1", "was refused normalizer"),
        ({"type": "task.succeeded"}, "agent-1", "finished"),
        ({"type": "task.submitted", "actor": "user:olga"}, "agent-1", "was given a task by olga"),
        ({"type": "user.logged-in", "actor": "user:ana", "agentId": None}, "ana", "signed in"),
        ({"type": "step.finished"}, "agent-1", "finished normalizer"),
        ({"type": "step.finished", "skillId": None}, "agent-1", "finished a turn of its model"),
        (
            {"type": "approval.asked", "skillId": "report", "body": {"kind": "review"}},
            "agent-1",
            "asks a person to approve its report",
        ),
        ({"type": "budget.capped", "actor": "user:ada", "agentId": None}, "ada", "set the cap of the fleet"),
        ({"type": "budget.capped", "actor": "user:ada"}, "agent-1", "was given a cap by ada"),
        ({"type": "of.the-future", "actor": "system", "agentId": None, "skillId": None}, "system", "of.the-future"),
    ],
)
def test_an_item_reads_as_a_sentence(changes: dict[str, Any], subject: str, text: str) -> None:
    item = to_item(make_wire(1, **changes))
    assert (item["subject"], item["text"]) == (subject, text)


def test_every_event_type_has_a_text_of_its_own() -> None:
    texts = {to_item(make_wire(1, type=type_.value))["text"] for type_ in EventType}
    assert len(texts) == len(EventType)
    assert not texts & set(EventType)


def test_an_item_tells_the_state_of_its_task() -> None:
    assert to_item(make_wire(1, type="task.parked"))["status"] == "awaiting_approval"
    assert to_item(make_wire(1))["status"] is None


@pytest.mark.parametrize(
    "given",
    [
        [],
        "x",
        {"nope": "x"},
        {"agentId": 1},
        {"agentId": ""},
        {"agentId": "x" * 65},
        {"type": ["a"] * 33},
        {"type": {}},
    ],
)
def test_filters_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_filters(given)


def test_a_type_that_ends_in_a_dot_means_all_that_begin_so() -> None:
    filters = read_filters({"type": ["task.", "run.lost"]})
    items = [make_wire(1, type=type_) for type_ in ("task.failed", "run.lost", "run.started")]
    assert [item["type"] for item in items if filters.let_through(item)] == ["task.failed", "run.lost"]


async def test_a_reader_that_asks_for_ever_other_filters_fills_no_memory(start: Any) -> None:
    hub = await start(FakeStore(1, 2, 3))
    with hub.reading():
        await hub.wait_ready()
        for number in range(1_000):
            assert hub.collect(1, FeedFilters(tasks=frozenset({f"t-{number}"}))).frames
        assert len(hub._batches) < 200
