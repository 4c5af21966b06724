"""What the stand-in for a provider sends: the bytes of OpenAI's Responses API and of Chat Completions.

The events are those that OpenAI sends for one message or for function calls, in its order and with its fields.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

DELTA_CHARACTERS = 16  # how much of a text or of arguments one event brings
INPUT_TOKENS, OUTPUT_TOKENS = 400, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the stand-in does: in each of `turns` turns it wants `calls` calls of the tool, then it answers.

    It answers at once by an event that says so, and with all the rest after `delay_seconds`, or if it is to `hold`
    then only once another script is set.
    """

    answer: str = "{}"
    turns: int = 0
    calls: int = 1
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    delay_seconds: float = 0.0
    hold: bool = False

    def to_json(self) -> bytes:
        """Return it as the stand-in is told it."""
        return orjson.dumps(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One answer: what is sent at once, and what after the delay."""

    content_type: str
    first: bytes
    rest: bytes


def speak_responses(script: Script, turn: int, *, model: str, stream: bool) -> Spoken:
    """Return the answer of the Responses API to the request that begins turn number `turn`, from 0."""
    items = [_message(script.answer)] if turn >= script.turns else [_call(script, turn, n) for n in range(script.calls)]
    response: dict[str, Any] = {
        "id": f"resp_{turn}", "object": "response", "created_at": 1764000000, "status": "completed",
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "model": model,
        "output": items, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "store": False, "truncation": "disabled", "text": {"format": {"type": "text"}},
        "usage": {
            "input_tokens": INPUT_TOKENS, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT_TOKENS, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }  # fmt: skip
    if not stream:
        return Spoken(content_type="application/json", first=b"", rest=orjson.dumps(response))
    begun = response | {"status": "in_progress", "output": [], "usage": None}
    first = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    rest = [event for index, item in enumerate(items) for event in _tell_item(index, item)]
    rest.append({"type": "response.completed", "response": response})
    return Spoken(content_type="text/event-stream", first=_write(first, 0), rest=_write(rest, len(first)))


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def _call(script: Script, turn: int, number: int) -> dict[str, Any]:
    id_ = f"{turn}_{number}"
    arguments = orjson.dumps(script.arguments).decode()
    return {
        "id": f"fc_{id_}", "type": "function_call", "status": "completed",
        "call_id": f"call_{id_}", "name": script.tool, "arguments": arguments,
    }  # fmt: skip


def _tell_item(index: int, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    where = {"item_id": item["id"], "output_index": index}
    is_call = item["type"] == "function_call"
    empty: dict[str, Any] = {"arguments": ""} if is_call else {"content": []}
    begun = item | {"status": "in_progress"} | empty
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    if is_call:
        kind = "response.function_call_arguments"
        yield from ({"type": f"{kind}.delta", **where, "delta": piece} for piece in _cut(item["arguments"]))
        yield {"type": f"{kind}.done", **where, "name": item["name"], "arguments": item["arguments"]}
    else:
        part, where = item["content"][0], {**where, "content_index": 0}
        yield {"type": "response.content_part.added", **where, "part": part | {"text": ""}}
        for piece in _cut(part["text"]):
            yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
        yield {"type": "response.content_part.done", **where, "part": part}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _cut(text: str) -> list[str]:
    return [text[at : at + DELTA_CHARACTERS] for at in range(0, len(text), DELTA_CHARACTERS)]


def _write(events: list[dict[str, Any]], number: int) -> bytes:
    numbered = (event | {"sequence_number": n} for n, event in enumerate(events, number))
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in numbered)


def speak_chat(script: Script, turn: int, *, model: str, stream: bool) -> Spoken:
    """Return the answer of Chat Completions to the request that begins turn number `turn`, from 0."""
    message: dict[str, Any] = {"role": "assistant", "content": script.answer}
    if turn < script.turns:
        message = {"role": "assistant", "content": None, "tool_calls": [_chat_call(script, turn, 0)]}
    finish = "tool_calls" if turn < script.turns else "stop"
    usage = {
        "prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS
    }  # fmt: skip
    frame = {"id": f"chatcmpl-{turn}", "created": 1764000000, "model": model}
    if not stream:
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        whole = frame | {"object": "chat.completion", "choices": [choice], "usage": usage}
        return Spoken(content_type="application/json", first=b"", rest=orjson.dumps(whole))
    frame |= {"object": "chat.completion.chunk"}
    deltas = [{"tool_calls": message["tool_calls"]}] if turn < script.turns else [
        {"content": piece} for piece in _cut(script.answer)
    ]  # fmt: skip
    chunks = [frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append(frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append(frame | {"choices": [], "usage": usage})
    start = frame | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    first, *rest = [b"data: %b\n\n" % orjson.dumps(chunk) for chunk in (start, *chunks)]
    return Spoken(content_type="text/event-stream", first=first, rest=b"".join(rest) + b"data: [DONE]\n\n")


def _chat_call(script: Script, turn: int, number: int) -> dict[str, Any]:
    arguments = orjson.dumps(script.arguments).decode()
    function = {"name": script.tool, "arguments": arguments}
    return {"index": number, "id": f"call_{turn}_{number}", "type": "function", "function": function}
