"""Anthropic's Messages API: one streamed turn."""

import hashlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from agents.providers.base import (
    Message,
    ModelMessage,
    ModelReply,
    ModelRequest,
    ProviderMisspoke,
    StopReason,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from agents.providers.calling import PLACEHOLDER_KEY, SdkProvider, open_stream
from agents.providers.faults import Fault, Vendor, judge_ending, judge_event, judge_status, judge_transport
from agents.providers.reading import clean, clean_text, make_call, write_arguments

if TYPE_CHECKING:
    from anthropic import APIStatusError, AsyncAnthropic

PROVIDER: Final = "anthropic"
_OWN_URL: Final = "https://api.anthropic.com"
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOTHING: Final = "(nothing)"  # an empty text is not accepted
_STOPS: Final = {
    "end_turn": StopReason.FINISHED,
    "stop_sequence": StopReason.FINISHED,
    "tool_use": StopReason.TOOL_CALLS,
    "max_tokens": StopReason.MAX_TOKENS,
    "model_context_window_exceeded": StopReason.MAX_TOKENS,
    "refusal": StopReason.REFUSED,
}


class AnthropicProvider(SdkProvider["AsyncAnthropic"]):
    """Anthropic, or a server that speaks like it."""

    name = PROVIDER

    def __init__(self, *, api_key: str, base_url: str = "") -> None:
        title = "the server at ANTHROPIC_BASE_URL" if base_url else "Anthropic"
        vendor = Vendor(name=PROVIDER, title=title, key_setting="ANTHROPIC_API_KEY", url_setting="ANTHROPIC_BASE_URL")
        super().__init__(vendor, lambda: _make_client(api_key or PLACEHOLDER_KEY, base_url or _OWN_URL))

    async def _ask(self, client: "AsyncAnthropic", request: ModelRequest) -> ModelReply:
        import anthropic

        answer, body, limit = _AnswerSoFar(), _make_body(request), request.timeout_seconds
        async with open_stream(
            client, "/v1/messages", body, stream_class=anthropic.AsyncStream, timeout_seconds=limit
        ) as stream:
            async for event in stream:
                answer.add(event)
                if answer.is_whole:
                    break
        if answer.stop:
            return self._read(answer)
        raise judge_ending(self._vendor, stream.response.headers.get("content-type", ""))

    def _read(self, answer: "_AnswerSoFar") -> ModelReply:
        if answer.stop not in _STOPS:
            raise ProviderMisspoke(f"{self._vendor.subject} stopped for a reason that its API does not have.")
        blocks, calls = answer.read()
        return ModelReply(
            message=ModelMessage(
                text="".join(block["text"] for block in blocks if block["type"] == "text"),
                tool_calls=calls,
                provider=PROVIDER,
                opaque=blocks,
            ),
            stop=_STOPS[answer.stop],
            usage=_read_usage(answer.usage),
            response_id=answer.id,
            model=answer.model,
        )

    def _judge(self, error: Exception) -> Fault:
        import anthropic

        match error:
            case anthropic.APIStatusError(status_code=status) if status < 300:  # an error event of a stream
                return judge_event(self._vendor, _find_codes(error))
            case anthropic.APIStatusError(status_code=status):
                return judge_status(self._vendor, status, codes=_find_codes(error), headers=error.response.headers)
            case anthropic.APIConnectionError():
                return judge_transport(self._vendor, error.__cause__)
        return judge_transport(self._vendor, error)


def _make_client(api_key: str, base_url: str) -> "AsyncAnthropic":
    import anthropic

    return anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url, max_retries=0, open_telemetry=False)


def _find_codes(error: "APIStatusError") -> set[str]:
    # An account without credit is told so in words only.
    exhausted = {"billing_error"} if "credit balance" in str(error.api_message) else set()
    return {str(error.type), str(error.error_code)} | exhausted


# --- asked ----------------------------------------------------------------------------------------------------
def _make_body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "system": request.system,
        "messages": _write_messages(request.messages),
        "max_tokens": request.max_output_tokens,
    }
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": dict(tool.input_schema)}
            for tool in request.tools
        ]
    return body


def _write_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the turns; what a user and the tools say between two answers is one turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if isinstance(message, ModelMessage) else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += _write_blocks(message)
        else:
            turns.append({"role": role, "content": _write_blocks(message)})
    return turns


def _write_blocks(message: Message) -> list[dict[str, Any]]:
    match message:
        case UserMessage(text=text):
            return [_text(text)]
        case ToolMessage(call_id=call_id, content=content, is_error=is_error):
            result = {"type": "tool_result", "tool_use_id": _fit_id(call_id), "content": content}
            return [result | ({"is_error": True} if is_error else {})]
        case ModelMessage(provider=provider, opaque=[_, *_] as blocks) if provider == PROVIDER:
            return list(blocks)
        case ModelMessage(text=text, tool_calls=calls):
            said = [_text(text)] if text or not calls else []
            return said + [_write_call(call) for call in calls]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text if text.strip() else _NOTHING}


def _write_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": _fit_id(call.id), "name": call.name, "input": write_arguments(call)}


def _fit_id(call_id: str) -> str:
    """Return the id of a call as Anthropic takes it; other vendors' may hold more characters."""
    return call_id if _ID.fullmatch(call_id) else "call_" + hashlib.sha256(call_id.encode()).hexdigest()[:32]


# --- answered -------------------------------------------------------------------------------------------------
class _AnswerSoFar:
    """What the events of one answer have brought."""

    def __init__(self) -> None:
        self.id = self.model = ""
        self.stop = ""
        self.is_whole = False
        self.usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}  # of the tool calls, as text

    def add(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "message_start":
                self.id = event["message"]["id"]
                self.model = str(event["message"].get("model") or "")
                self._add_usage(event["message"].get("usage"))
            case "content_block_start":
                self._blocks[event["index"]] = event["content_block"]
            case "content_block_delta":
                self._add_delta(event["index"], event["delta"])
            case "message_delta":
                self.stop = event["delta"].get("stop_reason") or self.stop
                self._add_usage(event.get("usage"))
            case "message_stop":
                self.is_whole = bool(self.stop)

    def _add_usage(self, usage: dict[str, Any] | None) -> None:
        """Take the newer counts: each is a total, and one that is left out has not changed."""
        self.usage |= {name: count for name, count in (usage or {}).items() if count is not None}

    def _add_delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        match delta["type"]:
            case "input_json_delta":
                self._arguments.setdefault(index, []).append(delta["partial_json"])
            case "text_delta":
                block["text"] += delta["text"]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]

    def read(self) -> tuple[list[dict[str, Any]], tuple[ToolCall, ...]]:
        """Return the blocks, as the next turn brings them along, and the tool calls among them."""
        blocks, calls = [], []
        for index, block in sorted(self._blocks.items()):
            found = clean(block)
            if found["type"] == "tool_use":
                call = self._read_call(found, index)
                calls.append(call)
                found["input"] = write_arguments(call)
            if found["type"] != "text" or found["text"].strip():  # an empty text is not taken back
                blocks.append(found)
        return blocks, tuple(calls)

    def _read_call(self, block: dict[str, Any], index: int) -> ToolCall:
        written = self._arguments.get(index)
        if written is None:
            return ToolCall(id=block["id"], name=block["name"], arguments=block["input"])
        return make_call(call_id=block["id"], name=block["name"], raw=clean_text("".join(written)))


def _read_usage(raw: dict[str, Any]) -> Usage | None:
    """Return the usage; Anthropic counts what was read from or written to a cache beside the input."""
    if not raw:
        return None
    read, written = (int(raw.get(f"cache_{kind}_input_tokens") or 0) for kind in ("read", "creation"))
    return Usage(
        input_tokens=int(raw["input_tokens"]) + read + written,
        output_tokens=int(raw["output_tokens"]),
        cache_read_tokens=read,
        cache_write_tokens=written,
        raw=raw,
    )
