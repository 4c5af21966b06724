"""One vendor each, and a way to tell it what to answer next: real servers behind the SDKs, and the one in memory."""

from collections.abc import Callable
from typing import Any, Protocol

from llmock.pytest_plugin import LLMock
from llmock.scenarios import Reply, ToolCall

from agents.providers import base
from agents.providers.anthropic import AnthropicProvider
from agents.providers.base import Provider, StopReason
from agents.providers.faults import Vendor, judge_status
from agents.providers.openai import OpenAIProvider
from agents.providers.testing import ScriptedProvider, make_reply

KEY = "sk-canary-5f2a9c71d3"


class World(Protocol):
    """A provider and who plays its vendor."""

    @property
    def provider(self) -> Provider: ...

    def say(self, text: str, *, stop: StopReason | None = None) -> None: ...
    def call(self, *calls: tuple[str, dict[str, Any]], text: str | None = None) -> None: ...
    def call_wrongly(self, kind: str) -> None: ...
    def fail(self, status: int, *, retry_after: float | None = None) -> None: ...
    def cut(self, kind: str, *, after_chunks: int) -> None: ...
    def stall(self, seconds: float) -> None: ...
    def dawdle(self, seconds: float) -> None: ...
    def drip(self, seconds: float) -> None: ...
    def count_requests(self) -> int: ...


class LlmockWorld:
    """llmock, a real HTTP server that speaks the vendors' formats."""

    def __init__(self, llmock: LLMock, provider: Provider) -> None:
        self.llmock = llmock.tool_mode("off")
        self.provider = provider

    def say(self, text: str, *, stop: StopReason | None = None) -> None:
        self.llmock.add(Reply(text=text, finish_reason="length" if stop is StopReason.MAX_TOKENS else None))

    def call(self, *calls: tuple[str, dict[str, Any]], text: str | None = None) -> None:
        self.llmock.add(Reply(text=text, tool_calls=tuple(ToolCall(name, arguments) for name, arguments in calls)))

    def call_wrongly(self, kind: str) -> None:
        self.llmock.tool_mode("auto").break_tool_call(kind)

    def fail(self, status: int, *, retry_after: float | None = None) -> None:
        self.llmock.fail(status, retry_after=retry_after)

    def cut(self, kind: str, *, after_chunks: int) -> None:
        self.llmock._stream_fault(kind, after_chunks, 1, None)

    def stall(self, seconds: float) -> None:
        self.llmock.stall(seconds=seconds)

    def dawdle(self, seconds: float) -> None:
        self.llmock.slow_first_token(seconds)

    def drip(self, seconds: float) -> None:
        """Write a word at a time, with pauses, for so long."""
        self.llmock.pace(200).reply("word " * int(seconds / 0.2))

    def count_requests(self) -> int:
        return len(self.llmock.requests)


class ScriptedWorld:
    """The provider in memory."""

    def __init__(self) -> None:
        self.provider: ScriptedProvider = ScriptedProvider()
        self._vendor = Vendor(name="scripted", title="The script", key_setting="KEY", url_setting="URL")

    def say(self, text: str, *, stop: StopReason | None = None) -> None:
        self.provider.add(make_reply(text, stop=stop))

    def call(self, *calls: tuple[str, dict[str, Any]], text: str | None = None) -> None:
        made = [base.ToolCall(id=f"c{n}", name=name, arguments=given) for n, (name, given) in enumerate(calls)]
        self.provider.add(make_reply(text or "", *made))

    def call_wrongly(self, kind: str) -> None:
        broken = base.ToolCall(id="c0", name="look_up", arguments=None, raw='{"city": "P')
        strange = base.ToolCall(id="c0", name="llmock_unknown_tool", arguments={})
        self.provider.add(make_reply("", broken if kind == "malformed_arguments" else strange))

    def fail(self, status: int, *, retry_after: float | None = None) -> None:
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        fault = judge_status(self._vendor, status, codes=set(), headers=headers)
        assert isinstance(fault, base.ProviderError)
        self.provider.add(fault)

    def cut(self, kind: str, *, after_chunks: int) -> None:
        fault = base.ProviderMisspoke if kind == "malformed" else base.ProviderInterrupted
        self.provider.add(fault("as scripted"))

    def stall(self, seconds: float) -> None:
        self.provider.add(make_reply("late"), after_seconds=seconds)

    def dawdle(self, seconds: float) -> None:
        self.stall(seconds)

    def drip(self, seconds: float) -> None:
        self.stall(seconds)

    def count_requests(self) -> int:
        return len(self.provider.requests)


def _openai(api: Any) -> Callable[[LLMock], World]:
    return lambda mock: LlmockWorld(mock, OpenAIProvider(api_key=KEY, base_url=mock.base_url("openai"), api=api))


WORLDS: dict[str, Callable[[LLMock], World]] = {
    "responses": _openai("responses"),
    "chat": _openai("chat"),
    "anthropic": lambda mock: LlmockWorld(mock, AnthropicProvider(api_key=KEY, base_url=mock.base_url("anthropic"))),
    "scripted": lambda mock: ScriptedWorld(),
}
