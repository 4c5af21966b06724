"""`GET /api/audit`: strict about what is asked, and the wire form in what it answers."""

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from rest_framework.test import APIRequestFactory, force_authenticate

from audit import documents
from audit.api import AuditEventList
from audit.sequencer import Sequencer
from tests.audit_cast import record_events

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def trail(audit_store: Any) -> Any:
    """Seven events: five allowed of five tasks, two refused."""
    record_events(5)
    record_events(2, start=5, decision="deny", agent_id="market-research-agent", type="task.failed")
    sequencer = Sequencer("one")
    while sequencer.step():
        pass
    return audit_store


def get(query: str = "", *, scope: str | None = "audit:read") -> tuple[int, Any]:
    """Return the status and the body of an answer to one whose token has the scope."""
    request = APIRequestFactory().get(f"/api/audit{query}")
    request.request_id = "r-1"  # type: ignore[attr-defined]
    user = SimpleNamespace(is_authenticated=True, is_active=True, username="axel")
    if scope is not None:
        force_authenticate(request, user=user, token=SimpleNamespace(granted={scope}))
    response = AuditEventList.as_view()(request)
    response.render()
    return response.status_code, orjson.loads(response.content)


def test_it_lists_the_newest_first() -> None:
    status, body = get()
    assert status == 200
    assert [event["seq"] for event in body["results"]] == [7, 6, 5, 4, 3, 2, 1]
    assert body["next"] is None
    assert list(body["results"][0]) == [
        "seq", "id", "type", "at", "actor", "taskId", "agentId", "skillId", "decision", "reason", "body", "hash",
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
    assert get(scope="tasks:read")[0] == 403
    assert get(scope=None)[0] == 401
