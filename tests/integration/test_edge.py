"""What reaches Django and what does not: one running server, asked over the wire."""

import asyncio
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from tests.running import RunningServer

ORDER = {
    "agentId": "normalization-agent",
    "skillId": "normalizer",
    "input": {"data": {"n": "7"}, "schema": {"n": {"type": "number"}}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("edge") / "var", MAX_TASKS_PER_SECOND="10000").start()
    yield server
    server.stop()


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def send_raw(server: RunningServer, request: bytes) -> bytes:
    """Send bytes as they are and return the whole answer."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
            if b"\r\n\r\n" in answer and b"content-length: 0" in answer.lower():
                break
        return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# --- request ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/api/tasks", "/metrics", "/no/such/page", "/api/tasks/none/events"])
def test_each_answer_has_the_id_that_the_client_sent(client: httpx2.Client, path: str) -> None:
    answer = client.get(path, headers={"X-Request-Id": "client-chose-1"})
    assert answer.headers.get_list("x-request-id") == ["client-chose-1"]


def test_a_strange_id_is_replaced_in_header_and_problem_alike(server: RunningServer) -> None:
    answer = httpx2.get(f"{server.url}/api/tasks", headers={"X-Request-Id": "<script>"})
    assert answer.status_code == 401
    assert answer.headers["x-request-id"] == answer.json()["requestId"] != "<script>"


def test_a_request_is_logged_with_its_id(server: RunningServer, client: httpx2.Client) -> None:
    client.post("/api/tasks", json=ORDER, headers={"X-Request-Id": "logged-with-this"})
    lines = [json.loads(line) for line in server.output.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == "logged-with-this"]
    assert (line["action"], line["method"], line["path"], line["status"]) == (
        "http.answered",
        "POST",
        "/api/tasks",
        202,
    )
    assert server.token not in server.output.read_text()


# --- heads and bodies -----------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server: RunningServer) -> None:
    head = b"POST /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 12000001\r\n\r\n"
    answer = send_raw(server, head)
    assert status_of(answer) == 413
    assert b"body_too_large" in answer


def test_a_body_of_unknown_length_is_read_whole(client: httpx2.Client) -> None:
    body = json.dumps(ORDER).encode()
    answer = client.post(
        "/api/tasks", content=iter([body[:10], body[10:]]), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    "target",
    [
        b"/api/tasks?limit=\xff\xfe",
        b"/api/tasks?\xc3\xa9=1",
        b"/\xff\xfe",
        b"/%ff%fe",
        b"/%00",
        b"/api/tasks/%00",
        b"/api/tasks/" + b"a" * 5000,
        b"//example.com/..%2f..",
        b"/static/../../etc/passwd",
        b"/static/%2e%2e/%2e%2e/etc/passwd",
        b"*",
        b"http://example.com/",
    ],
)
def test_no_target_fails_the_server(server: RunningServer, target: bytes) -> None:
    authorised = b"Authorization: Bearer " + server.token.encode()
    request = b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + authorised + b"\r\n\r\n"
    assert status_of(send_raw(server, request)) < 500


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Forwarded-Host: evil.example\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
def test_no_head_fails_the_server(server: RunningServer, head: bytes) -> None:
    assert status_of(send_raw(server, head)) < 500


def test_slow_clients_do_not_hold_up_others(server: RunningServer, client: httpx2.Client) -> None:
    """Ten clients that never finish their bodies: more than there are threads."""
    slow = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(10)]
    try:
        for connection in slow:
            connection.sendall(b"POST /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        assert client.post("/api/tasks", json=ORDER, timeout=5).status_code == 202
    finally:
        for connection in slow:
            connection.close()


def test_a_hundred_open_streams_do_not_hold_up_posts(server: RunningServer, client: httpx2.Client) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    task_id = server.submit(client, **ORDER, runAt=tomorrow)

    async def open_streams_and_post() -> list[int]:
        headers = {"Authorization": f"Bearer {server.token}"}
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=20, limits=limits) as many:
            streams = [many.stream("GET", f"/api/tasks/{task_id}/events") for _ in range(100)]
            answers = await asyncio.gather(*(stream.__aenter__() for stream in streams))
            assert {answer.status_code for answer in answers} == {200}
            posted = [await many.post("/api/tasks", json=ORDER, timeout=5) for _ in range(20)]
            assert (await many.post(f"/api/tasks/{task_id}/cancel")).status_code == 202
            texts = await asyncio.gather(*(answer.aread() for answer in answers))  # they end with the task
            assert all(b"event: task.cancelled" in text for text in texts)
            return [answer.status_code for answer in posted]

    assert asyncio.run(open_streams_and_post()) == [202] * 20


# --- sockets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, "http://evil.example", "http://127.0.0.1:1"])
async def test_a_socket_from_elsewhere_is_refused(server: RunningServer, origin: Origin | None) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{server.port}/ws/console/", origin=origin)
    assert refused.value.response.status_code == 403


async def test_a_socket_without_a_session_is_told_to_sign_in(server: RunningServer) -> None:
    origin = Origin(f"http://127.0.0.1:{server.port}")
    async with connect(f"ws://127.0.0.1:{server.port}/ws/console/", origin=origin) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(connection.recv(), 10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


async def test_a_socket_to_nowhere_is_refused(server: RunningServer) -> None:
    origin = Origin(f"http://127.0.0.1:{server.port}")
    with pytest.raises(InvalidStatus):
        await connect(f"ws://127.0.0.1:{server.port}/ws/nowhere/", origin=origin)


# --- metrics --------------------------------------------------------------------------------------------------

EMITTED = {
    "agent_tasks_started",
    "agent_tasks_completed",
    "agent_tasks_failed",
    "agent_active_tasks",
    "agent_task_duration_seconds",
    "skill_access_allowed",
    "skill_access_denied",
    "permission_escalation_requests",
    "task_approval_requests",
    "approval_response_time_seconds",
    "active_permissions_granted",
    "pending_approvals_count",
    "audit_violations_logged",
}


def scrape(client: httpx2.Client) -> str:
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_each_metric_is_there_once(client: httpx2.Client) -> None:
    names = [family.name for family in text_string_to_metric_families(scrape(client))]
    assert set(names) >= EMITTED
    assert len(names) == len(set(names))


def test_a_task_is_counted(server: RunningServer, client: httpx2.Client) -> None:
    def allowed() -> float:
        samples = [s for family in text_string_to_metric_families(scrape(client)) for s in family.samples]
        labels = {"skill": "normalizer", "agent": "normalization-agent"}
        return sum(s.value for s in samples if s.name == "skill_access_allowed_total" and s.labels == labels)

    before = allowed()
    task_id = server.submit(client, **ORDER)
    with client.stream("GET", f"/api/tasks/{task_id}/events") as stream:
        assert any(b"task.succeeded" in piece for piece in stream.iter_bytes())
    assert allowed() == before + 1


def test_metrics_need_a_token_with_the_scope(server: RunningServer) -> None:
    without = httpx2.get(f"{server.url}/metrics")
    assert (without.status_code, without.json()["code"]) == (401, "unauthenticated")
    assert without.headers["www-authenticate"] == "Bearer"
    token = server.manage("issue_token", "narrow", "--scopes", "tasks:read").split()[-1]
    lacking = httpx2.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {token}"})
    assert (lacking.status_code, lacking.json()["code"]) == (403, "forbidden")
    assert httpx2.post(f"{server.url}/metrics").status_code == 405
