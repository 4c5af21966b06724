"""Models that say what a test has them say: in the place of the switchboard, with its three questions."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from agents.providers.base import ModelMessage, ModelReply, ModelRequest, ProviderError, StopReason, ToolCall, Usage
from agents.providers.switchboard import ModelRef, parse_ref

SOME = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=40)
Line = ModelReply | ProviderError | Callable[[ModelRequest], ModelReply]
LUNA, HAIKU = "openai:gpt-6-luna", "anthropic:claude-haiku-5-5"


def says(text: str, *, usage: Usage | None = SOME) -> ModelReply:
    """Return a last message."""
    return ModelReply(message=ModelMessage(text=text), stop=StopReason.FINISHED, usage=usage)


def answers(output: Mapping[str, Any]) -> ModelReply:
    """Return an answer."""
    return says(orjson.dumps(output).decode())


def calls(*wanted: tuple[str, str, Mapping[str, Any] | None]) -> ModelReply:
    """Return a reply that wants tools: each an id, a name and arguments."""
    tool_calls = tuple(ToolCall(id=id_, name=name, arguments=arguments) for id_, name, arguments in wanted)
    message = ModelMessage(text="", tool_calls=tool_calls)
    return ModelReply(
        message=message,
        stop=StopReason.TOOL_CALLS,
        usage=Usage(input_tokens=100, output_tokens=20, cache_read_tokens=40),
    )


class Models:
    """Says its `lines` in order, whatever model is asked, and keeps the requests; `hold` stops it before it speaks."""

    def __init__(self, *lines: Line) -> None:
        self.lines = list(lines)
        self.requests: list[tuple[str, ModelRequest]] = []
        self.refs = [LUNA]
        self.hold: threading.Event | None = None
        self.cancelled = 0

    def list_candidates(self, tier: str) -> list[ModelRef]:
        return [parse_ref(ref) for ref in self.refs]

    async def complete(self, ref: ModelRef, request: ModelRequest) -> ModelReply:
        self.requests.append((str(ref), request))
        line = self.lines.pop(0)
        try:
            while self.hold is not None and not self.hold.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(line, ProviderError):
            raise line
        return line(request) if callable(line) else line

    async def aclose(self) -> None:
        pass


DONE = answers({"done": "yes"})
CALL = ("call-1", "scripted", {"name": "x"})
