"""The vendors and tiers as the settings name them."""

from collections.abc import Callable, Mapping
from typing import cast

from django.conf import settings

from agents.providers.anthropic import AnthropicProvider
from agents.providers.base import Provider
from agents.providers.openai import Api, OpenAIProvider
from agents.providers.switchboard import ModelRef, Switchboard, Tell, parse_ref


def _make_openai() -> Provider:
    api = cast(Api, settings.OPENAI_API)
    return OpenAIProvider(api_key=settings.OPENAI_API_KEY, base_url=settings.OPENAI_BASE_URL, api=api)


def _make_anthropic() -> Provider:
    return AnthropicProvider(api_key=settings.ANTHROPIC_API_KEY, base_url=settings.ANTHROPIC_BASE_URL)


_MAKERS: Mapping[str, Callable[[], Provider]] = {"openai": _make_openai, "anthropic": _make_anthropic}


def list_configured() -> list[str]:
    """Return the vendors that can be asked: those with a key, or with the base URL of a server that needs none."""
    addresses = {
        "openai": settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL,
        "anthropic": settings.ANTHROPIC_API_KEY or settings.ANTHROPIC_BASE_URL,
    }
    return [name for name, address in addresses.items() if address]


def is_configured() -> bool:
    """Say whether any model can be asked at all."""
    return bool(list_configured())


def read_tiers() -> dict[str, tuple[ModelRef, ...]]:
    """Return each tier's models, the preferred first, then the one that takes over, if there is one.

    Raises: ValueError for a setting that names no model.
    """
    pairs = {tier: (model, settings.MODEL_FALLBACKS.get(tier, "")) for tier, model in settings.MODEL_TIERS.items()}
    return {tier: tuple(parse_ref(text) for text in texts if text) for tier, texts in pairs.items()}


def build_switchboard(tell: Tell) -> Switchboard:
    """Return a switchboard of the configured vendors; `tell` is awaited with each change of a circuit."""
    return Switchboard({name: _MAKERS[name]() for name in list_configured()}, read_tiers(), tell=tell)
