"""The vendors of these tests, each closed after its test."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from agents.providers.anthropic import AnthropicProvider
from agents.providers.base import ModelRequest, ToolSpec, UserMessage
from agents.providers.openai import Api, OpenAIProvider
from tests.providers.vendor_server import VendorServer, run_vendor
from tests.providers.worlds import KEY, WORLDS, World

LOOK_UP = ToolSpec(
    name="look_up",
    description="Look a city up.",
    input_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


@pytest.fixture(params=sorted(WORLDS))
async def world(request: pytest.FixtureRequest, llmock: LLMock) -> AsyncIterator[World]:
    """Give each vendor in turn."""
    made = WORLDS[request.param](llmock)
    yield made
    await made.provider.aclose()


def ask(text: str = "Where is Paris?", **changes: Any) -> ModelRequest:
    """Return a request; the defaults wait long enough for a busy machine."""
    values: dict[str, Any] = {
        "model": "m-1", "system": "You look cities up.", "messages": (UserMessage(text=text),),
        "tools": (LOOK_UP,), "max_output_tokens": 200, "timeout_seconds": 15.0,
    }  # fmt: skip
    return ModelRequest(**(values | changes))


@pytest.fixture
async def vendor() -> AsyncIterator[VendorServer]:
    """Run a vendor that answers what the test scripts."""
    async with run_vendor() as running:
        yield running


@pytest.fixture
async def openai(vendor: VendorServer) -> AsyncIterator[Callable[..., OpenAIProvider]]:
    """Make providers that ask the scripted vendor by one of OpenAI's APIs."""
    made: list[OpenAIProvider] = []

    def _make(api: Api, **changes: Any) -> OpenAIProvider:
        made.append(OpenAIProvider(**({"api_key": KEY, "base_url": vendor.url, "api": api} | changes)))
        return made[-1]

    yield _make
    for provider in made:
        await provider.aclose()


@pytest.fixture
async def anthropic(vendor: VendorServer) -> AsyncIterator[AnthropicProvider]:
    """Ask the scripted vendor as if it were Anthropic."""
    provider = AnthropicProvider(api_key=KEY, base_url=vendor.url.removesuffix("/v1"))
    yield provider
    await provider.aclose()
