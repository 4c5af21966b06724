"""Answers as the vendors really write them, for the scripted vendor server."""

from typing import Any

from tests.providers.vendor_server import Answer, stream

CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look_up", "status": "completed"}


def message(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a message among the output items of the Responses API."""
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(parts)} | more


def said(text: str) -> dict[str, Any]:
    """Return a part of a message that is text."""
    return {"type": "output_text", "text": text, "annotations": []}


def responses(*items: dict[str, Any], status: str = "completed", **more: Any) -> Answer:
    """Return a streamed answer of the Responses API."""
    response: dict[str, Any] = {"id": "resp_1", "object": "response", "status": status, "output": list(items)} | more
    return stream(
        {"type": "response.created", "response": response | {"status": "in_progress", "output": []}},
        {"type": f"response.{status}", "response": response},
    )


def chat(*deltas: dict[str, Any], finish: str | None = "stop", usage: dict[str, Any] | None = None) -> Answer:
    """Return a streamed answer of Chat Completions, without usage unless it is given."""
    chunks: list[dict[str, Any]] = [
        {"id": "c-1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks.append({"id": "c-1", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if usage:
        chunks.append({"id": "c-1", "choices": [], "usage": usage})
    answer = stream(*chunks)
    return Answer(body=answer.body + b"data: [DONE]\n\n")


def anthropic(
    *blocks: tuple[dict[str, Any], dict[str, Any] | None],
    stop: str | None = "end_turn",
    usage: dict[str, Any] | None = None,
    late_usage: dict[str, Any] | None = None,
) -> Answer:
    """Return a streamed answer of Messages: each block as it starts, and one delta of it or none."""
    start: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "stop_reason": None,
    }
    usage = usage or {"input_tokens": 3, "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start | {"usage": usage}}]
    for index, (block, delta) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        if delta:
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    ending = {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": late_usage or {"output_tokens": 5}}
    return stream(*events, ending, {"type": "message_stop"}, named=True)
