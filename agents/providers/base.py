"""What a model is asked and what it answers, in words that no vendor owns. PURE.

ProviderError
├── ProviderUnavailable   nobody could be reached, or the vendor failed: another vendor may do the work
│   ├── ProviderOverloaded    429, 503, 529: carries when to come back
│   ├── ProviderExhausted     the account there has no credit left: only the other vendor helps
│   └── ProviderInterrupted   the answer was cut off on its way; what it cost is unknown
├── ProviderTimeout       no whole answer in time; what it cost is unknown
├── ProviderMisspoke      an answer that cannot be read; what it cost is unknown
├── ProviderRejected      this request will never work there: bad key, no such model, prompt too long
└── ProviderMissing       no vendor of the tier is configured: nothing was asked
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


# --- asked ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A skill as the model sees it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]  # JSON Schema of an object


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """The model wants a tool. `arguments` is None where it wrote no JSON object; `raw` is what it wrote then."""

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessage:
    """What the orchestrator says to the model: the task, or what is wrong with its answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMessage:
    """What the model said. `opaque` is the vendor's own form of it, to be handed back to that vendor unread."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    provider: str = ""
    opaque: Any = None  # JSON-ready


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMessage:
    """What came of one tool call."""

    call_id: str
    name: str
    content: str
    is_error: bool = False


Message = UserMessage | ModelMessage | ToolMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One turn of a conversation. The messages alternate as every vendor wants: all results after their calls."""

    model: str  # the vendor's name for it, without the provider
    system: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    max_output_tokens: int  # really sent, so that the worst case is a true bound
    timeout_seconds: float  # until the whole answer is there


# --- answered -------------------------------------------------------------------------------------------------
class StopReason(StrEnum):
    """Why the model stopped."""

    FINISHED = "finished"
    TOOL_CALLS = "tool_calls"
    MAX_TOKENS = "max_tokens"
    REFUSED = "refused"  # the model or the vendor's filter will not do it: never tried elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as billed. `input_tokens` is all of the prompt, also what was read from or written to a cache."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict)  # as the vendor reported it

    def to_wire(self) -> dict[str, Any]:
        """Return it JSON-ready, as it is stored."""
        return {
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "cacheReadTokens": self.cache_read_tokens,
            "cacheWriteTokens": self.cache_write_tokens,
            "raw": dict(self.raw),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """A whole answer. Its `usage` is None only where the server never reports any (some local ones do not)."""

    message: ModelMessage
    stop: StopReason
    usage: Usage | None
    response_id: str = ""
    model: str = ""  # as the vendor names what answered


class Provider(Protocol):
    """One vendor. `complete` is cancelled like any coroutine: the connection is closed within a second."""

    name: str

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Return the whole answer to one turn.

        Raises: ProviderError.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


# --- gone wrong -----------------------------------------------------------------------------------------------
class ProviderError(Exception):
    """No usable answer. `code` is from a closed set, `billed` says whether the vendor may charge for it."""

    code = "provider_error"
    retryable = False  # another attempt, later, may succeed
    elsewhere = False  # the other vendor may do it now
    billed = False

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, billed: bool | None = None):
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        if billed is not None:
            self.billed = billed


class ProviderUnavailable(ProviderError):
    """The vendor cannot be reached or failed on its side, before any answer."""

    code = "provider_unavailable"
    retryable = True
    elsewhere = True


class ProviderOverloaded(ProviderUnavailable):
    """The vendor is too busy, or the account has used up its rate."""

    code = "provider_overloaded"


class ProviderExhausted(ProviderUnavailable):
    """The account has no credit left at this vendor. Top it up; waiting does not help."""

    code = "provider_exhausted"
    retryable = False


class ProviderInterrupted(ProviderUnavailable):
    """The connection broke after the request was sent, or the answer ended before its end."""

    code = "provider_interrupted"
    billed = True


class ProviderTimeout(ProviderError):
    """The whole answer did not come in time."""

    code = "provider_timeout"
    retryable = True
    billed = True


class ProviderMisspoke(ProviderError):
    """What came is not what this vendor's API says: a chunk that is no JSON, an event of the wrong shape."""

    code = "provider_misspoke"
    retryable = True
    billed = True


class ProviderRejected(ProviderError):
    """The vendor will not take this request, now or later. Mend the key, the model's name or the prompt."""

    code = "provider_rejected"


class ProviderMissing(ProviderError):
    """No vendor that may serve this tier has a key or a base URL. The message names the settings."""

    code = "provider_missing"
