"""OpenAI's Responses API: one streamed turn."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from agents.providers.base import (
    Message,
    ModelMessage,
    ModelReply,
    ModelRequest,
    StopReason,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from agents.providers.calling import open_stream
from agents.providers.faults import Vendor, judge_ending, judge_event
from agents.providers.reading import clean, make_call, write_arguments

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

PROVIDER: Final = "openai"
_REASONING: Final = "reasoning.encrypted_content"
_TERMINAL: Final = {"response.completed", "response.incomplete", "response.failed"}


class ResponsesApi:
    """Asks `/responses`. Nothing is kept there: the conversation goes along, the model's reasoning enciphered."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._without_reasoning: set[str] = set()  # models that said so

    async def ask(self, client: "AsyncOpenAI", request: ModelRequest) -> ModelReply:
        """Return the whole answer.

        Raises: what the SDK raises; ProviderError; PromptRefused.
        """
        import openai

        body, limit = self._make_body(request), request.timeout_seconds
        try:
            return await self._stream(client, body, timeout_seconds=limit)
        except openai.APIStatusError as error:
            if "include" not in body or not _minds_reasoning(error):
                raise
        # A refused request costs nothing. Which models reason is known to the vendor alone, so it is asked once.
        self._without_reasoning.add(request.model)
        return await self._stream(client, self._make_body(request), timeout_seconds=limit)

    async def _stream(self, client: "AsyncOpenAI", body: dict[str, Any], *, timeout_seconds: float) -> ModelReply:
        import openai

        done: list[Any] = []
        async with open_stream(
            client, "/responses", body, stream_class=openai.AsyncStream, timeout_seconds=timeout_seconds
        ) as stream:
            async for event in stream:
                kind = event["type"]
                if kind == "response.output_item.done":
                    done.append(event["item"])
                elif kind == "error":
                    raise judge_event(self._vendor, {str(event.get("code"))})
                elif kind in _TERMINAL:
                    return self._read(clean(event["response"]), clean(done))
        raise judge_ending(self._vendor, stream.response.headers.get("content-type", ""))

    def _make_body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model,
            "instructions": request.system,
            "input": [item for message in request.messages for item in _write_message(message)],
            "max_output_tokens": request.max_output_tokens,
            "store": False,
        }
        if request.tools:
            body["tools"] = [
                # Not strict: strict schemas may have no optional field.
                {"type": "function", "name": tool.name, "description": tool.description,
                 "parameters": dict(tool.input_schema), "strict": False}
                for tool in request.tools
            ]  # fmt: skip
        if request.model not in self._without_reasoning:
            body["include"] = [_REASONING]
        return body

    def _read(self, response: dict[str, Any], done: list[Any]) -> ModelReply:
        if response["status"] == "failed":
            raise judge_event(self._vendor, {str((response.get("error") or {}).get("code"))})
        items = response.get("output") or done
        calls = tuple(_read_call(item) for item in items if item["type"] == "function_call")
        parts = [part for item in items if item["type"] == "message" for part in item["content"]]
        return ModelReply(
            message=ModelMessage(
                text="".join(part.get("text") or part.get("refusal") or "" for part in parts),
                tool_calls=calls,
                provider=PROVIDER,
                opaque=list(_hand_back(items)),
            ),
            stop=_find_stop(response, calls, is_refusal=any(part["type"] == "refusal" for part in parts)),
            usage=read_openai_usage(response.get("usage")),
            response_id=str(response.get("id") or ""),
            model=str(response.get("model") or ""),
        )


def _minds_reasoning(error: "APIStatusError") -> bool:
    told = str(error.body).lower()
    return error.status_code in {400, 422} and ("encrypted" in told or "'include'" in told)


def _write_message(message: Message) -> Iterator[dict[str, Any]]:
    match message:
        case UserMessage(text=text):
            yield {"role": "user", "content": text}
        case ToolMessage(call_id=call_id, content=content):
            yield {"type": "function_call_output", "call_id": call_id, "output": content}
        case ModelMessage(provider=provider, opaque=list() as items) if provider == PROVIDER:
            yield from items
        case ModelMessage(text=text, tool_calls=calls):
            if text:
                yield {"role": "assistant", "content": text}
            for call in calls:
                yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": write_json(call)}


def write_json(call: ToolCall) -> str:
    """Return a call's arguments as the text that OpenAI's APIs want."""
    import orjson

    return orjson.dumps(write_arguments(call)).decode()


def _hand_back(items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give the items as the next turn brings them along: without ids, which name nothing where nothing is kept."""
    for item in items:
        if item["type"] == "message":
            text = "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
            phase = {"phase": item["phase"]} if item.get("phase") else {}
            yield {"role": "assistant", "content": text} | phase
        elif item["type"] != "reasoning" or item.get("encrypted_content"):
            yield {name: value for name, value in item.items() if name not in {"id", "status"} and value is not None}


def _read_call(item: dict[str, Any]) -> ToolCall:
    return make_call(call_id=item["call_id"], name=item["name"], raw=item["arguments"])


def _find_stop(response: dict[str, Any], calls: tuple[ToolCall, ...], *, is_refusal: bool) -> StopReason:
    if response["status"] == "incomplete":
        why = (response.get("incomplete_details") or {}).get("reason")
        return StopReason.REFUSED if why == "content_filter" else StopReason.MAX_TOKENS
    if is_refusal:
        return StopReason.REFUSED
    return StopReason.TOOL_CALLS if calls else StopReason.FINISHED


def read_openai_usage(raw: dict[str, Any] | None) -> Usage | None:
    """Return the usage that either of OpenAI's APIs reports; its input includes what came from the cache."""
    if not raw:
        return None
    cached = raw.get("input_tokens_details") or raw.get("prompt_tokens_details") or {}
    return Usage(
        input_tokens=int(raw["input_tokens"] if "input_tokens" in raw else raw["prompt_tokens"]),
        output_tokens=int(raw["output_tokens"] if "output_tokens" in raw else raw["completion_tokens"]),
        cache_read_tokens=int(cached.get("cached_tokens") or 0),
        cache_write_tokens=int(cached.get("cache_write_tokens") or 0),
        raw=raw,
    )
