"""OpenAI's Chat Completions, as many local servers speak it: one streamed turn.

How the bound on the output is named: servers beside OpenAI's own are sent `max_tokens`, because Ollama and others
take `max_completion_tokens` without a word and then write without bound; OpenAI's own is sent
`max_completion_tokens`, because its newer models refuse the older name. A server that refuses the one is sent the
other from then on. Both at once are refused by OpenAI.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from agents.providers.base import (
    Message,
    ModelMessage,
    ModelReply,
    ModelRequest,
    ProviderInterrupted,
    ProviderMisspoke,
    StopReason,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from agents.providers.calling import open_stream
from agents.providers.faults import Vendor, judge_ending
from agents.providers.reading import clean, clean_text, make_call
from agents.providers.responses import PROVIDER, read_openai_usage, write_json

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_OLD_LIMIT: Final = "max_tokens"
_NEW_LIMIT: Final = "max_completion_tokens"
_STOPS: Final = {
    "stop": StopReason.FINISHED,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "length": StopReason.MAX_TOKENS,
    "content_filter": StopReason.REFUSED,
}


@dataclass(slots=True)
class _CallSoFar:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _AnswerSoFar:
    """What the chunks of one answer have brought."""

    def __init__(self) -> None:
        self.id = self.model = ""
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.finish = ""
        self.usage: dict[str, Any] | None = None
        self._calls: dict[int, _CallSoFar] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        self.id = self.id or chunk.get("id") or ""
        self.model = self.model or str(chunk.get("model") or "")
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            self.text.append(delta.get("content") or "")
            self.refusal.append(delta.get("refusal") or "")
            self.finish = choice.get("finish_reason") or self.finish
            for part in delta.get("tool_calls") or []:
                self._add_call(part)

    def _add_call(self, part: dict[str, Any]) -> None:
        index = part.get("index") or 0
        known = self._calls.get(index)
        # Some servers give every call the index 0: another id is then another call.
        if known is not None and part.get("id") and known.id and part["id"] != known.id:
            index = len(self._calls)
        call = self._calls.setdefault(index, _CallSoFar())
        function = part.get("function") or {}
        call.id = call.id or part.get("id") or ""
        call.name = call.name or function.get("name") or ""
        call.arguments.append(function.get("arguments") or "")

    def read_calls(self) -> Iterator[ToolCall]:
        """Give the calls; ids that the server left out or used twice are made."""
        seen: set[str] = set()
        for call in self._calls.values():
            call_id = call.id if call.id and call.id not in seen else f"call_{secrets.token_hex(8)}"
            seen.add(call_id)
            raw = clean_text("".join(call.arguments))
            yield make_call(call_id=clean_text(call_id), name=clean_text(call.name), raw=raw)


class ChatApi:
    """Asks `/chat/completions`."""

    def __init__(self, vendor: Vendor, *, is_own: bool) -> None:
        """`is_own`: the server is OpenAI's, and not one that speaks like it."""
        self._vendor = vendor
        self._limit_name = _NEW_LIMIT if is_own else _OLD_LIMIT
        self._reports_usage = is_own

    async def ask(self, client: "AsyncOpenAI", request: ModelRequest) -> ModelReply:
        """Return the whole answer.

        Raises: what the SDK raises; ProviderError.
        """
        import openai

        named = self._limit_name
        try:
            return await self._stream(client, request)
        except openai.APIStatusError as error:
            if not _minds(error, named):
                raise
        self._limit_name = _NEW_LIMIT if named == _OLD_LIMIT else _OLD_LIMIT
        return await self._stream(client, request)

    async def _stream(self, client: "AsyncOpenAI", request: ModelRequest) -> ModelReply:
        import openai

        body = _make_body(request) | {self._limit_name: request.max_output_tokens}
        body["stream_options"] = {"include_usage": True}
        answer, limit = _AnswerSoFar(), request.timeout_seconds
        async with open_stream(
            client, "/chat/completions", body, stream_class=openai.AsyncStream, timeout_seconds=limit
        ) as stream:
            async for chunk in stream:
                answer.add(chunk)
        if not answer.finish:
            raise judge_ending(self._vendor, stream.response.headers.get("content-type", ""))
        return self._read(answer)

    def _read(self, answer: _AnswerSoFar) -> ModelReply:
        calls = tuple(answer.read_calls())
        refusal = clean_text("".join(answer.refusal))
        message = ModelMessage(text=clean_text("".join(answer.text)) or refusal, tool_calls=calls, provider=PROVIDER)
        stop = self._find_stop(answer.finish, calls, is_refusal=bool(refusal))
        usage = self._read_usage(answer)
        return ModelReply(message=message, stop=stop, usage=usage, response_id=answer.id, model=answer.model)

    def _find_stop(self, finish: str, calls: tuple[ToolCall, ...], *, is_refusal: bool) -> StopReason:
        if finish not in _STOPS:
            raise ProviderMisspoke(f"{self._vendor.subject} stopped for a reason that its API does not have.")
        if is_refusal:
            return StopReason.REFUSED
        stop = _STOPS[finish]
        # Many servers say "stop" although they call tools.
        return StopReason.TOOL_CALLS if calls and stop is StopReason.FINISHED else stop

    def _read_usage(self, answer: _AnswerSoFar) -> Usage | None:
        """Return the usage, which comes last: where it has come before, an answer without it was cut off."""
        usage = read_openai_usage(clean(answer.usage))
        if usage is None and self._reports_usage:
            raise ProviderInterrupted(f"The answer of {self._vendor.title} ended before its usage.")
        self._reports_usage = usage is not None
        return usage


def _minds(error: "APIStatusError", name: str) -> bool:
    return error.status_code in {400, 422} and f"'{name}'" in str(error.body)


def _make_body(request: ModelRequest) -> dict[str, Any]:
    system = {"role": "system", "content": request.system}
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [system, *(_write_message(message) for message in request.messages)],
    }
    if request.tools:
        body["tools"] = [
            {"type": "function",
             "function": {"name": t.name, "description": t.description, "parameters": dict(t.input_schema)}}
            for t in request.tools
        ]  # fmt: skip
    return body


def _write_message(message: Message) -> dict[str, Any]:
    match message:
        case UserMessage(text=text):
            return {"role": "user", "content": text}
        case ToolMessage(call_id=call_id, content=content):
            return {"role": "tool", "tool_call_id": call_id, "content": content}
        case ModelMessage(text=text, tool_calls=()):
            return {"role": "assistant", "content": text}
        case ModelMessage(text=text, tool_calls=calls):
            return {"role": "assistant", "content": text or None, "tool_calls": [_write_call(call) for call in calls]}


def _write_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": write_json(call)}}
