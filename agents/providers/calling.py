"""How a vendor is called through its SDK: imported late, one client, one deadline, errors in our words."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from agents.providers.base import ModelMessage, ModelReply, ModelRequest, ProviderError, ProviderTimeout, StopReason
from agents.providers.faults import Fault, PromptRefused, Vendor

PLACEHOLDER_KEY: Final = "none"  # a local server needs none, but the SDKs want one
_CONNECT_SECONDS: Final = 5.0
_DRAIN_SECONDS: Final = 0.5  # how long an answer may go on after its last event


class _Client(Protocol):
    async def close(self) -> None: ...


@asynccontextmanager
async def open_stream(
    client: Any, path: str, body: Mapping[str, Any], *, stream_class: Any, timeout_seconds: float
) -> AsyncIterator[Any]:
    """Post `body`, and give the stream of events as they come over the wire.

    By the SDK's `post`, because its methods for each API look through the whole conversation for names to change and
    make a model of every event: most of a call's work, and all of it is undone here.
    """
    import httpx2

    stream = await client.post(
        path,
        cast_to=object,
        body={**body, "stream": True},
        options={"timeout": httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_SECONDS))},
        stream=True,
        stream_cls=stream_class[object],
    )
    async with stream:
        yield stream
        await _drain(stream)


async def _drain(stream: Any) -> None:
    """Read an answer to its end: only then can its connection serve the next call."""
    with suppress(Exception):  # the answer is there; how its stream ends takes nothing from it
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in stream:
                pass


class SdkProvider[Client: _Client](ABC):
    """A vendor reached through its SDK. Bound to the event loop of its first call."""

    def __init__(self, vendor: Vendor, make_client: Callable[[], Client]) -> None:
        self._vendor = vendor
        self._make_client = make_client
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def complete(self, request: ModelRequest) -> ModelReply:
        """Return the whole answer to one turn.

        Raises: ProviderError.
        """

        async def ask() -> ModelReply:
            return await self._ask(await self._open(), request)

        return await self._keep_to_terms(ask, request.timeout_seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    @abstractmethod
    async def _ask(self, client: Client, request: ModelRequest) -> ModelReply:
        """Return the answer. Raises: whatever the SDK raises; ProviderError; PromptRefused."""

    @abstractmethod
    def _judge(self, error: Exception) -> Fault:
        """Return what an error of the SDK means."""

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                # Up to a second of imports, which must not hold up the other runs of this loop.
                self._client = await asyncio.to_thread(self._make_client)
        return self._client

    async def _keep_to_terms(self, ask: Callable[[], Awaitable[ModelReply]], timeout_seconds: float) -> ModelReply:
        """Return what `ask` returns, within the time, or raise what its error means.

        That has no cause and no context: the SDKs' errors carry the request, and with it key and prompt.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await ask()
        except (ProviderError, PromptRefused) as error:
            fault: Fault = error
        except TimeoutError:
            told = f"{self._vendor.subject} did not answer whole within {timeout_seconds:g} s."
            fault = ProviderTimeout(told)
        except Exception as error:  # the edge to an SDK that raises whatever its libraries raise
            fault = self._judge(error)
        if isinstance(fault, ProviderError):
            raise fault
        message = ModelMessage(text="", provider=self._vendor.name)
        return ModelReply(message=message, stop=StopReason.REFUSED, usage=fault.usage)
