"""Which vendor is asked: the tier's own, or the one that takes over while its circuit is open.

One switchboard a worker; it keeps one provider and one circuit for each vendor that is configured.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agents.breaker import Breaker, CircuitState, Ticket
from agents.providers.base import (
    ModelReply,
    ModelRequest,
    Provider,
    ProviderError,
    ProviderMissing,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)

log = logging.getLogger(__name__)

VENDORS: Final = {"openai": "OPENAI", "anthropic": "ANTHROPIC"}  # with what their settings begin


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A vendor and its name for a model, written "openai:gpt-6-luna"."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"


def parse_ref(text: str) -> ModelRef:
    """Return what `text` names; a model's own name may hold colons.

    Raises: ValueError if it is no known vendor, a colon and a name.
    """
    provider, _, model = text.partition(":")
    if provider not in VENDORS or not model or model != model.strip():
        raise ValueError(f"{text!r} is no model such as openai:gpt-6-luna or anthropic:claude-haiku-5-5")
    return ModelRef(provider, model)


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitChange:
    """A vendor's circuit is no longer as it was; `why` is an error's code, empty where nothing went wrong."""

    provider: str
    state: CircuitState
    why: str


Tell = Callable[[CircuitChange], Awaitable[None]]


async def _tell_nobody(_: CircuitChange) -> None: ...


class Switchboard:
    """Ask vendors for whole answers, and leave alone those that keep failing."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        tiers: Mapping[str, Sequence[ModelRef]],
        *,
        tell: Tell = _tell_nobody,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tiers` holds each tier's models, the preferred first; `tell` is awaited once for each change."""
        self._providers = dict(providers)
        self._tiers = tiers
        self._tell = tell
        self._clock = clock
        self._breakers = {name: Breaker() for name in providers}
        self._told: dict[str, CircuitState] = {}

    def list_candidates(self, tier: str) -> list[ModelRef]:
        """Return the tier's models that may be asked now, the preferred first.

        Raises: ProviderMissing if none of their vendors is configured; ProviderUnavailable, with when to come
        back, if all their circuits are open.
        """
        refs = [ref for ref in self._tiers[tier] if ref.provider in self._providers]
        if not refs:
            raise ProviderMissing(_say_what_is_missing(tier, self._tiers[tier]))
        now = self._clock()
        waits = {ref: self._breakers[ref.provider].count_wait(now) for ref in refs}
        if all(waits.values()):
            names = " and ".join(sorted({ref.provider for ref in refs}))
            wait = min(waits.values())
            raise ProviderUnavailable(f"{names} kept failing and is left alone for a while.", retry_after_seconds=wait)
        return [ref for ref, wait in waits.items() if not wait]

    async def complete(self, ref: ModelRef, request: ModelRequest) -> ModelReply:
        """Return the answer of the model `ref`, whatever model the request names.

        Raises: ProviderError.
        """
        breaker = self._breakers[ref.provider]
        ticket = breaker.admit(self._clock())
        if ticket is None:
            wait = breaker.count_wait(self._clock())
            raise ProviderUnavailable(f"{ref.provider} is left alone for a while.", retry_after_seconds=wait)
        try:
            if breaker.state is CircuitState.HALF_OPEN:
                await self._tell_change(ref.provider, why="")
            reply = await self._providers[ref.provider].complete(replace(request, model=ref.model))
        except ProviderError as error:
            self._note(breaker, ticket, error)
            await self._tell_change(ref.provider, why=error.code)
            raise
        except BaseException:
            breaker.forget(ticket)
            raise
        breaker.succeed(ticket)
        await self._tell_change(ref.provider, why="")
        return reply

    def circuits(self) -> dict[str, str]:
        """Return the state of each configured vendor's circuit."""
        return {name: str(breaker.state) for name, breaker in self._breakers.items()}

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(provider.aclose() for provider in self._providers.values()))

    def _note(self, breaker: Breaker, ticket: Ticket, error: ProviderError) -> None:
        match error:
            case ProviderUnavailable() | ProviderTimeout():
                breaker.fail(ticket, now=self._clock(), wait_seconds=error.retry_after_seconds or 0.0)
            case ProviderRejected():
                breaker.succeed(ticket)  # it answers; what it minds is the request
            case _:
                breaker.forget(ticket)

    async def _tell_change(self, provider: str, *, why: str) -> None:
        """Tell the circuit's state if it was not told yet, also after the first answer: others remember longer."""
        state, told = self._breakers[provider].state, self._told.get(provider)
        proves_nothing = told is None and state is CircuitState.CLOSED and why  # a first call that failed
        if state is told or proves_nothing:
            return
        self._told[provider] = state
        try:
            await self._tell(CircuitChange(provider=provider, state=state, why=why))
        except Exception:  # an answer that was paid for must not be lost because a note of it could not be made
            del self._told[provider]
            log.exception("a circuit's change was not noted", extra={"action": "provider.note-failed"})


def _say_what_is_missing(tier: str, refs: Sequence[ModelRef]) -> str:
    settings = " or ".join(dict.fromkeys(f"{VENDORS[ref.provider]}_API_KEY" for ref in refs))
    return f"No model can be asked for the tier {tier}: set {settings}, or the base URL of a server beside it."
