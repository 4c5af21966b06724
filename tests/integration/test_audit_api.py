"""`GET /api/audit`: strict about what is asked, and the wire form in what it answers."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from rest_framework.test import APIRequestFactory, force_authenticate

from audit import documents
from audit.events import EventType
from audit.exploring.api import AuditEventList
from audit.exploring.reading import forget_readings
from audit.models import LedgerEvent
from audit.sequencer import Sequencer
from tests.audit_cast import record_events

WHOLE = frozenset({"audit:read", "audit:payload"})
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def trail(audit_store: Any) -> Any:
    """Seven events: five allowed of five tasks, two refused."""
    forget_readings()
    record_events(5)
    record_events(2, start=5, decision="deny", agent_id="market-research-agent", type=EventType.TASK_FAILED)
    sequencer = Sequencer("one")
    while sequencer.step():
        pass
    return audit_store


def get(query: str = "", *, scopes: frozenset[str] = WHOLE) -> tuple[int, Any]:
    """Return the status and the body of an answer to one whose token has the scopes."""
    request = APIRequestFactory().get(f"/api/audit{query}")
    request.request_id = "r-1"  # type: ignore[attr-defined]
    user = SimpleNamespace(is_authenticated=True, is_active=True, get_username=lambda: "axel")
    if scopes:
        force_authenticate(request, user=user, token=SimpleNamespace(granted=scopes, agents=None))
    response = AuditEventList.as_view()(request)
    response.render()
    return response.status_code, orjson.loads(response.content)


def test_it_lists_the_newest_first() -> None:
    status, body = get()
    assert status == 200
    assert [event["seq"] for event in body["results"]] == [7, 6, 5, 4, 3, 2, 1]
    assert body["next"] is None
    assert list(body["results"][0]) == [
        "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "traceId",
        "causeId", "body", "hash", "redacted",
    ]  # fmt: skip
    assert body["results"][-1]["body"] == {"number": 0}


def test_pages_follow_each_other() -> None:
    seqs, cursor = [], ""
    while True:
        _, body = get(f"?limit=3{cursor}")
        seqs.append([event["seq"] for event in body["results"]])
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    assert seqs == [[7, 6, 5], [4, 3, 2], [1]]


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("?agentId=market-research-agent", [7, 6]),
        ("?taskId=t-2", [3]),
        ("?type=decision.made&limit=1", [5]),
        ("?decision=deny", [7, 6]),
        ("?decision=deny&taskId=t-5", [6]),
        ("?since=2026-11-23T12:00:00Z", [7, 6, 5, 4, 3, 2, 1]),
        ("?since=2026-11-23T12:00:00.000001Z", []),
        ("?until=2026-11-23T12:00:00Z", []),
        ("?until=2026-11-23T13:00:01%2B01:00&limit=2", [7, 6]),
        ("?cursor=3", [2, 1]),
        ("?cursor=999999999999999", [7, 6, 5, 4, 3, 2, 1]),
    ],
)
def test_it_narrows_the_list(query: str, seqs: list[int]) -> None:
    status, body = get(query)
    assert status == 200
    assert [event["seq"] for event in body["results"]] == seqs


@pytest.mark.parametrize(
    "query",
    [
        "?page=2", "?limit=0", "?limit=1001", "?limit=-1", "?limit=many", "?limit=", "?limit=%C2%B2",
        "?limit=1&limit=2",
        "?limit=99999999999999999999", "?cursor=abc", "?cursor=-1", "?agentId=", "?agentId=a%00b", "?taskId=../x",
        "?taskId=" + "x" * 65, "?type=nope", "?decision=maybe", "?since=yesterday", "?since=2026-11-23",
        "?since=2026-11-23T12:00:00", "?until=0001-01-01T00:00:00Z", "?until=9999-12-31T23:59:59-23:59",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_a_400(query: str) -> None:
    status, body = get(query)
    assert (status, body["code"]) == (400, "query_invalid")
    assert body["detail"]


def test_the_store_away_is_a_503(settings: Any) -> None:
    settings.MONGODB_URI = "mongodb://127.0.0.1:9/?directConnection=true"
    documents.disconnect()
    status, body = get()
    assert (status, body["code"]) == (503, "audit_unavailable")


def test_it_needs_the_scope() -> None:
    assert get(scopes=frozenset({"tasks:read"}))[0] == 403
    assert get(scopes=frozenset())[0] == 401


def test_a_token_without_the_scope_sees_no_bodies_and_leaves_no_trace() -> None:
    _, body = get(scopes=frozenset({"audit:read"}))
    assert {(event["redacted"], event["body"]) for event in body["results"]} == {(True, None)}
    assert [event["actor"] for event in body["results"]] == ["agent:normalization-agent"] * 7
    assert not LedgerEvent.objects.filter(type="payload.read").exists()


def test_a_page_with_bodies_is_recorded_once() -> None:
    for _ in range(2):
        assert get("?limit=3")[1]["results"][0]["body"] == {"number": 6}
    [read] = LedgerEvent.objects.filter(type="payload.read")
    assert (read.actor, read.body["seqs"]) == ("user:axel", [7, 6, 5])


@pytest.mark.parametrize(
    ("query", "seqs"),
    [("?type=task.", [7, 6]), ("?skillId=normalizer&limit=1", [7]), ("?q=t-3", [4]), ("?q=%232", [2]),
     ("?actor=agent:normalization-agent&decision=deny", [7, 6]), ("?actor=olga", [])],
)  # fmt: skip
def test_it_narrows_by_nouns_names_and_ids(query: str, seqs: list[int]) -> None:
    status, body = get(query)
    assert (status, [event["seq"] for event in body["results"]]) == (200, seqs)
