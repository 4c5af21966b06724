"""A vendor in memory, which says what a test or a demonstration tells it to."""

import asyncio
from collections import deque
from dataclasses import dataclass

from agents.providers.base import (
    ModelMessage,
    ModelReply,
    ModelRequest,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    StopReason,
    ToolCall,
    Usage,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    outcome: ModelReply | ProviderError
    after_seconds: float


class ScriptedProvider:
    """Gives the scripted replies and errors, in order, and remembers what it was asked in `requests`."""

    def __init__(self, *outcomes: ModelReply | ProviderError, name: str = "openai") -> None:
        self.name = name
        self.requests: list[ModelRequest] = []
        self._turns: deque[_Turn] = deque()
        self.add(*outcomes)

    def add(self, *outcomes: ModelReply | ProviderError, after_seconds: float = 0.0) -> None:
        """Script more turns, each of which takes `after_seconds`."""
        self._turns.extend(_Turn(outcome=outcome, after_seconds=after_seconds) for outcome in outcomes)

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Return or raise what comes next in the script.

        Raises: ProviderError; ProviderRejected when the script is over.
        """
        self.requests.append(request)
        if not self._turns:
            raise ProviderRejected(f"The script of {self.name} is over: it was asked more often than it has turns.")
        turn = self._turns.popleft()
        try:
            async with asyncio.timeout(request.timeout_seconds):
                await asyncio.sleep(turn.after_seconds)
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} did not answer whole within {request.timeout_seconds:g} s.") from None
        if isinstance(turn.outcome, ProviderError):
            raise turn.outcome
        return turn.outcome

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def make_reply(
    text: str = "",
    *calls: ToolCall,
    stop: StopReason | None = None,
    usage: Usage | None = Usage(input_tokens=10, output_tokens=5),  # noqa: B008  (it is immutable)
) -> ModelReply:
    """Return a reply that says `text`, calls tools, or both."""
    natural = StopReason.TOOL_CALLS if calls else StopReason.FINISHED
    message = ModelMessage(text=text, tool_calls=calls, provider="scripted")
    return ModelReply(message=message, stop=stop or natural, usage=usage, response_id="scripted")
