"""Spans of real runs on a real server, as a collector of OpenTelemetry's protocol gets them over HTTP."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from llmock.scenarios import Reply, ToolCall
from llmock.testing import LLMockServer

from audit.tracing import span_of_task, trace_of
from tests.otlp_receiver import Receiver, Seen, run_receiver
from tests.running import RunningServer, free_port

KEY = "canary-key-of-a-provider-7d1f"
INPUT = "canary-of-the-input-5b20"
SAID = "canary-of-the-answer-9e4c"
COLLECTOR_TOKEN = "canary-of-the-collector-31aa"
CANARIES = (KEY, INPUT, SAID, COLLECTOR_TOKEN)
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARSE = {"filePath": "examples/meeting-notes.md", "format": "markdown"}
ANSWER = {
    "summary": f"1. Two deliveries were late. {SAID}",
    "format": "key_findings",
    "metrics": {"compression": 0, "readTime": 0, "sources": 0},
    "warnings": [],
}
ORDER = {
    "source": {"type": "file", "content": PARSE["filePath"]},
    "format": "key_findings",
    "constraints": {"audience": INPUT},
}


@contextmanager
def traced_server(folder: Path, collector: str, **environment: str) -> Iterator[RunningServer]:
    server = RunningServer(
        folder / "var", OTEL_EXPORTER_OTLP_ENDPOINT=collector, OTEL_BSP_SCHEDULE_DELAY="100", **environment
    )
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Receiver]]:
    """A server that sends its spans, and a model that calls one skill and then answers."""
    folder = tmp_path_factory.mktemp("traced")
    headers = folder / "headers"
    headers.write_text(f"authorization=Bearer%20{COLLECTOR_TOKEN}\n")
    with run_receiver() as receiver, LLMockServer() as models:
        models.state.scenarios.add(Reply(tool_calls=(ToolCall("documentParser", PARSE),)))
        models.state.scenarios.add(Reply(text=json.dumps(ANSWER)))
        settings = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": models.base_url("openai"),
            "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(headers),
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        with traced_server(folder, receiver.url, **settings) as server:
            yield server, receiver


def run_agent(server: RunningServer, **headers: str) -> Any:
    """Submit a task of the summarising agent, and return it when it has ended."""
    with server.client() as client:
        answer = client.post("/api/tasks", json={"agentId": "summarization-agent", "input": ORDER}, headers=headers)
        task = answer.json()
        while task["status"] in {"queued", "running"}:
            time.sleep(0.05)
            task = client.get(f"/api/tasks/{task['taskId']}").json()
    return task


def test_a_run_is_one_trace_from_the_request_to_the_answer(scene: tuple[RunningServer, Receiver]) -> None:
    server, receiver = scene
    task = run_agent(server, traceparent=f"00-{TRACE}-{CALLER}-01")
    assert (task["status"], task["traceId"]) == ("succeeded", TRACE), task["error"]

    def is_whole(spans: list[Seen]) -> bool:
        return any(span.name.startswith("invoke_agent") for span in spans)

    spans = [span for span in receiver.wait_for(is_whole) if span.trace_id == TRACE]
    (request,) = [span for span in spans if span.name == "POST /api/tasks"]
    (submitted,) = [span for span in spans if span.name == "submit summarization-agent"]
    (run,) = [span for span in spans if span.name == "invoke_agent summarization-agent"]
    turns = [span for span in spans if span.name.startswith("chat ")]
    (decision,) = [span for span in spans if span.name == "authorise documentParser"]
    (call,) = [span for span in spans if span.name == "execute_tool documentParser"]

    assert (request.parent_id, request.kind, request.attributes["http.route"]) == (CALLER, 2, "/api/tasks")
    assert request.attributes["http.response.status_code"] == 202
    assert (submitted.parent_id, submitted.span_id) == (request.span_id, span_of_task(task["taskId"]))
    assert (run.parent_id, run.attributes["orchestrator.task.id"]) == (submitted.span_id, task["taskId"])
    assert {span.parent_id for span in (*turns, decision, call)} == {run.span_id}
    assert run.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert run.attributes["orchestrator.run.ending"] == "succeeded"
    assert len(turns) == 2
    assert {span.attributes["gen_ai.provider.name"] for span in turns} == {"openai"}
    assert {span.attributes["gen_ai.request.model"] for span in turns} == {"gpt-6-luna"}
    assert all(span.attributes["gen_ai.response.model"] for span in turns)
    assert sorted(span.attributes["gen_ai.response.finish_reasons"] for span in turns) == [["finished"], ["tool_calls"]]
    assert all(span.attributes["gen_ai.usage.input_tokens"] > 0 for span in turns)
    assert decision.attributes["orchestrator.decision.effect"] == "allow"
    assert call.attributes["gen_ai.tool.call.id"]
    assert run.resource["service.name"] == "orchestrator"
    assert run.resource["deployment.environment.name"] == "test"
    assert any(span.name == "number_events" for span in receiver.spans)


def test_the_steps_of_a_workflow_are_in_its_trace(scene: tuple[RunningServer, Receiver]) -> None:
    server, receiver = scene
    schema = {"seen": {"type": "string"}}
    steps = [
        {
            "name": name,
            "agentId": "normalization-agent",
            "skillId": "normalizer",
            "input": {"data": {"seen": name}, "schema": schema},
        }
        for name in ("one", "two")
    ]
    with server.client() as client:
        # An id of the client's own is no trace's: the trace has a digest of it, everywhere the same.
        headers = {"X-Request-Id": "nightly-import.7"}
        task = client.post("/api/workflows", json={"steps": steps}, headers=headers).json()
    assert task["traceId"] == "nightly-import.7"
    trace = trace_of(task["traceId"])

    def runs(spans: list[Seen]) -> list[Seen]:
        ours = [span for span in spans if span.trace_id == trace]
        return [span for span in ours if span.name == "invoke_agent normalization-agent"]

    receiver.wait_for(lambda spans: len(runs(spans)) == 2)
    submitted = [
        span for span in receiver.spans if span.name == "submit normalization-agent" and span.trace_id == trace
    ]
    assert {span.parent_id for span in runs(receiver.spans)} == {span.span_id for span in submitted}
    assert {span.parent_id for span in submitted} == {span_of_task(task["taskId"])}


def test_the_trail_of_the_run_is_in_the_same_trace(scene: tuple[RunningServer, Receiver]) -> None:
    server, _ = scene
    with server.client() as client:
        (task, *_) = client.get("/api/tasks?agentId=summarization-agent").json()["results"]
        assert task["traceId"] == TRACE
    log = server.output.read_text().splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    ours = {line["action"] for line in lines if line.get("trace_id") == TRACE}
    assert {"http.answered", "run.ended"} <= ours


def test_no_span_holds_what_was_said_or_a_secret(scene: tuple[RunningServer, Receiver]) -> None:
    server, receiver = scene
    with server.client() as client:
        client.get(f"/api/tasks?cursor={INPUT}", headers={"traceparent": f"00-{TRACE}-{SAID}-01"})
    receiver.wait_for(lambda spans: any(span.attributes.get("http.response.status_code") == 400 for span in spans))
    sent = b"".join(receiver.raw)
    assert b"summarization-agent" in sent
    assert [canary for canary in CANARIES if canary.encode() in sent] == []
    assert {headers["authorization"] for headers in receiver.headers} == {f"Bearer {COLLECTOR_TOKEN}"}


@pytest.mark.parametrize("mute", [False, True], ids=["dead", "hanging"])
def test_a_collector_that_fails_costs_spans_and_nothing_else(tmp_path: Path, mute: bool) -> None:
    order = {"agentId": "normalization-agent", "skillId": "normalizer"}
    input_ = {"data": {"due": "4/1/26"}, "schema": {"due": {"type": "date"}}}
    with run_receiver(mute=True) as receiver:
        collector = receiver.url if mute else f"http://127.0.0.1:{free_port()}"
        with traced_server(tmp_path, collector, OTEL_BSP_MAX_QUEUE_SIZE="512") as server, server.client() as client:
            started = time.monotonic()
            ids = [server.submit(client, **order, input=input_) for _ in range(40)]
            states = [client.get(f"/api/tasks/{id_}").json()["status"] for id_ in ids]
            while not set(states) <= {"succeeded", "failed"}:
                assert time.monotonic() - started < 20, states
                states = [client.get(f"/api/tasks/{id_}").json()["status"] for id_ in ids]
            assert set(states) == {"succeeded"}
            stopping = time.monotonic()
            assert server.terminate() == 0, server.log()
            assert time.monotonic() - stopping < 6
        assert bool(receiver.raw) is mute
