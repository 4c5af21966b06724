"""One task's events as a stream: resume, end, refusals, and a client that leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator

from audit import access, documents
from audit.access import Refusal
from audit.events import EventType
from audit.live import hub, streams
from audit.live.streams import TaskEventsConsumer
from audit.sequencer import Sequencer
from tests.audit_cast import record_events

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "Bearer secret"


async def check_token(headers: Mapping[str, str], task_id: str) -> Refusal | None:
    """Know one token and all tasks but "t-unknown"."""
    if headers.get("authorization") != TOKEN:
        return Refusal(status=HTTPStatus.UNAUTHORIZED, code="unauthenticated", detail="A token is needed.")
    if task_id == "t-unknown":
        return Refusal(status=HTTPStatus.NOT_FOUND, code="task_unknown", detail="There is no such task.")
    return None


@pytest.fixture(autouse=True)
async def door(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(access, "check_stream", check_token)
    yield
    await hub.get_hub().stop()
    assert len(streams._open_streams) == 0


@pytest.fixture
def trail(audit_store: Any) -> Any:
    """Give a function that records events of a task, by their types, and ships them at once."""
    sequencer = Sequencer("one")

    def add(*types: str, task_id: str = "t-1") -> None:
        for type_ in types:
            record_events(1, type=EventType(type_), task_id=task_id)
        while sequencer.step():
            pass

    return sync_to_async(add)


class Reader:
    """A client of one stream."""

    def __init__(self, task_id: str = "t-1", *, last: str = "", token: str = TOKEN, **scope: Any) -> None:
        headers = [(b"authorization", token.encode())]
        if last:
            headers.append((b"last-event-id", last.encode()))
        self.call = ApplicationCommunicator(
            TaskEventsConsumer.as_asgi(),
            {
                "type": "http", "method": "GET", "path": "", "query_string": b"", "headers": headers,
                "url_route": {"kwargs": {"task_id": task_id}},
            } | scope,
        )  # fmt: skip
        self.text = ""

    async def open(self) -> int:
        await self.call.send_input({"type": "http.request", "body": b"", "more_body": False})
        start = await self.call.receive_output(timeout=30)
        self.headers = dict(start["headers"])
        return int(start["status"])

    async def read(self, *, until: str = "", seconds: float = 30.0) -> str:
        """Read until the text is there, or to the end of the stream."""
        async with asyncio.timeout(seconds):
            while not until or until not in self.text:
                part = await self.call.receive_output(timeout=seconds)
                self.text += part["body"].decode()
                if not part["more_body"]:
                    await self.call.wait(timeout=30)
                    break
        return self.text

    async def leave(self) -> None:
        await self.call.send_input({"type": "http.disconnect"})
        await self.call.wait(timeout=30)

    def events(self) -> list[dict[str, Any]]:
        blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in self.text.split("\n\n") if block]
        for block in blocks:
            if "data" in block:
                wire = json.loads(block["data"])
                assert (int(block["id"]), block["event"]) == (wire["seq"], wire["type"])
        return [json.loads(block["data"]) for block in blocks if "data" in block]


async def test_it_tells_what_was_and_what_comes_and_ends_with_the_task(trail: Any) -> None:
    await trail("task.submitted", "run.started")
    await trail("task.submitted", task_id="t-2")
    reader = Reader()
    assert await reader.open() == 200
    assert reader.headers[b"content-type"] == b"text/event-stream"
    await reader.read(until="run.started")
    await trail("decision.made", "step.finished")
    await reader.read(until="step.finished")
    await trail("task.succeeded")
    await reader.read()
    assert [event["type"] for event in reader.events()] == [
        "task.submitted", "run.started", "decision.made", "step.finished", "task.succeeded",
    ]  # fmt: skip
    assert [event["seq"] for event in reader.events()] == [1, 2, 4, 5, 6]


async def test_it_resumes_after_the_last_event_that_was_seen(trail: Any) -> None:
    await trail("task.submitted", "run.started", "step.finished")
    reader = Reader(last="2")
    assert await reader.open() == 200
    await reader.read(until="step.finished")
    await trail("task.failed")
    await reader.read()
    assert [event["seq"] for event in reader.events()] == [3, 4]


async def test_a_task_that_has_ended_is_told_and_the_stream_ends(trail: Any) -> None:
    await trail("task.submitted", "task.cancelled", "artifact.read")
    reader = Reader()
    assert await reader.open() == 200
    await reader.read()
    assert len(reader.events()) == 3


async def test_after_the_end_a_client_is_told_to_stay_away(trail: Any) -> None:
    await trail("task.submitted", "task.succeeded")
    reader = Reader(last="2")
    assert await reader.open() == 204
    assert await reader.read() == ""


async def test_a_task_that_is_tried_again_goes_on(trail: Any) -> None:
    await trail("task.submitted", "task.failed", "task.retried")
    reader = Reader()
    assert await reader.open() == 200
    await reader.read(until="task.retried")
    await trail("run.started", "task.succeeded")
    await reader.read()
    assert [event["seq"] for event in reader.events()] == [1, 2, 3, 4, 5]


async def test_a_quiet_stream_beats(trail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskEventsConsumer, "heartbeat_seconds", 0.05)
    await trail("task.submitted")
    reader = Reader()
    await reader.open()
    await reader.read(until=": still here\n\n: still here")
    await reader.leave()


async def test_a_client_that_leaves_is_noticed(trail: Any) -> None:
    await trail("task.submitted")
    reader = Reader()
    await reader.open()
    await reader.read(until="task.submitted")
    assert len(streams._open_streams) == 1
    await reader.leave()
    assert len(streams._open_streams) == 0
    assert hub.get_hub()._watchers == {}


async def test_a_token_that_is_revoked_ends_the_stream(trail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskEventsConsumer, "heartbeat_seconds", 0.05)
    monkeypatch.setattr(TaskEventsConsumer, "recheck_seconds", 0.1)
    await trail("task.submitted")
    reader = Reader()
    await reader.open()
    await reader.read(until="still here")
    monkeypatch.setattr(access, "check_stream", access._no_stream)
    await reader.read()


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"token": "Bearer guess"}, 401, "unauthenticated"),
        ({"task_id": "t-unknown"}, 404, "task_unknown"),
        ({"last": "soon"}, 400, "query_invalid"),
        ({"last": "-1"}, 400, "query_invalid"),
        ({"last": "9" * 400}, 400, "query_invalid"),
        ({"query_string": b"after=1"}, 400, "query_invalid"),
        ({"method": "POST"}, 405, "method_not_allowed"),
    ],
)
async def test_a_refusal_is_a_problem_document(
    options: dict[str, Any], status: int, code: str, audit_store: Any
) -> None:
    reader = Reader(**options)
    assert await reader.open() == status
    problem = json.loads(await reader.read())
    assert reader.headers[b"content-type"] == b"application/problem+json"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["requestId"] == reader.headers[b"x-request-id"].decode()


async def test_by_default_nobody_may_follow(monkeypatch: pytest.MonkeyPatch, audit_store: Any) -> None:
    monkeypatch.setattr(access, "check_stream", access._no_stream)
    assert await Reader().open() == 401


async def test_with_the_store_away_it_says_come_back(audit_store: Any, settings: Any) -> None:
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true"
    documents.disconnect()
    reader = Reader()
    assert await reader.open() == 503
    assert json.loads(await reader.read())["code"] == "audit_unavailable"
    assert reader.headers[b"retry-after"] == b"2"


async def test_a_stream_outlives_an_absence_of_the_store(
    trail: Any, settings: Any, mongodb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskEventsConsumer, "heartbeat_seconds", 0.1)
    await trail("task.submitted")
    reader = Reader()
    await reader.open()
    await reader.read(until="task.submitted")
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true"
    await asyncio.sleep(0.3)
    settings.MONGODB_URI = mongodb
    await trail("task.succeeded")
    await reader.read(seconds=10)
    assert [event["seq"] for event in reader.events()] == [1, 2]


async def test_a_hundred_streams_are_served_at_once(trail: Any) -> None:
    await trail("task.submitted")
    await trail("task.submitted", task_id="t-2")
    readers = [Reader("t-1" if number % 2 else "t-2") for number in range(120)]
    assert await asyncio.gather(*(reader.open() for reader in readers)) == [200] * 120
    await trail("run.started", "task.succeeded")
    await trail("run.started", "task.failed", task_id="t-2")
    await asyncio.gather(*(reader.read() for reader in readers))
    for number, reader in enumerate(readers):
        assert [event["seq"] for event in reader.events()] == ([1, 3, 4] if number % 2 else [2, 5, 6])


async def test_too_many_streams_are_refused(audit_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 0)
    reader = Reader()
    assert await reader.open() == 503
    assert json.loads(await reader.read())["code"] == "too_many_streams"
