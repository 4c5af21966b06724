"""What calls cost, by the list prices that the package carries, and that a bound is one."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from genai_prices.data import providers
from genai_prices.types import ModelPrice, TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from agents.money.pricing import PriceUnknown, bound_input_tokens, price_bound, price_usage, use_own_prices
from agents.providers.base import ModelMessage, ModelRequest, ToolCall, ToolMessage, ToolSpec, Usage, UserMessage
from orchestrator_site.env import read_prices

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
LUNA, HAIKU = "openai:gpt-6-luna", "anthropic:claude-haiku-5-5"
SONNET, TERRA = "anthropic:claude-sonnet-5-5", "openai:gpt-6.1-terra"


def usage(input_tokens: int, output_tokens: int = 0, read: int = 0, written: int = 0) -> Usage:
    return Usage(
        input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=read, cache_write_tokens=written
    )


@pytest.fixture
def own_prices() -> Iterator[None]:
    use_own_prices({"openai:llama3.2": (Decimal(0), Decimal(0)), "openai:house": (Decimal("0.30"), Decimal("1.5"))})
    yield
    use_own_prices({})


# --- prices -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "used", "micro"),
    [
        (LUNA, usage(1_000_000, 0), 200_000),  # past 272,000 the whole prompt costs 0.20
        (LUNA, usage(272_000, 1_000), 27_200 + 500),
        (LUNA, usage(272_001, 1_000), 54_401 + 750),  # 54,400.2 rounded up; the answer at the higher price, too
        (HAIKU, usage(100_000, 1_000), 10_000 + 500),
        (HAIKU, usage(100_001, 1_000), 50_001 + 2_500),
        (SONNET, usage(10_000, 500), 20_000 + 5_000),
        (SONNET, usage(10_000, 500, read=8_000), 4_000 + 800 + 5_000),
        (SONNET, usage(10_000, 500, written=8_000), 4_000 + 20_000 + 5_000),
        (SONNET, usage(10_000, 0, read=4_000, written=5_000), 2_000 + 400 + 12_500),
        (TERRA, usage(200_000, 2_000), 200_000 + 10_000),
        (TERRA, usage(300_000, 2_000), 600_000 + 15_000),
        (LUNA, usage(1, 0), 1),  # a tenth of a micro-dollar is charged as one
        (LUNA, usage(0, 0), 0),
    ],
)
def test_a_call_costs_what_the_list_says(model: str, used: Usage, micro: int) -> None:
    assert price_usage(model, used, at=AT) == micro


def test_a_prompt_is_never_smaller_than_what_was_cached_of_it() -> None:
    assert price_usage(SONNET, usage(10, read=5_000, written=1_000), at=AT) == 500 + 2_500


def test_the_bound_is_the_dearer_of_reading_and_caching_the_prompt() -> None:
    assert price_bound(SONNET, input_tokens=10_000, max_output_tokens=500, at=AT) == 25_000 + 5_000
    assert price_bound(HAIKU, input_tokens=100_001, max_output_tokens=100, at=AT) == 62_501 + 250


@pytest.mark.parametrize("model", [LUNA, HAIKU, SONNET, TERRA])
@given(st.data())
def test_no_usage_costs_more_than_its_bound(model: str, data: st.DataObject) -> None:
    most_in, most_out = data.draw(st.integers(0, 1_100_000)), data.draw(st.integers(0, 128_000))
    tokens = data.draw(st.integers(0, most_in))
    read = data.draw(st.integers(0, tokens))
    written = data.draw(st.integers(0, tokens - read))
    used = usage(tokens, data.draw(st.integers(0, most_out)), read, written)
    bound = price_bound(model, input_tokens=most_in, max_output_tokens=most_out, at=AT)
    assert price_usage(model, used, at=AT) <= bound


def prices_of(vendor: str) -> Iterator[tuple[str, ModelPrice]]:
    for model in next(provider for provider in providers if provider.id == vendor).models:
        listed = [entry.prices for entry in model.prices] if isinstance(model.prices, list) else [model.prices]
        for price in listed:
            yield model.id, price


def test_the_list_is_what_the_bound_rests_on() -> None:
    wrong, seen = [], 0
    for vendor in ("openai", "anthropic"):
        for name, price in prices_of(vendor):
            steps = {key: steps_of(getattr(price, f"{key}_mtok")) for key in ("input", "output", "cache_read")}
            wrong += [f"{name}: {key} falls" for key, values in steps.items() if values != sorted(values)]
            if steps["input"] and steps["cache_read"] and steps["cache_read"][0] > steps["input"][0]:
                wrong.append(f"{name}: reading the cache costs more than the prompt")
            seen += 1
    assert wrong == []
    assert seen > 50


def steps_of(price: Any) -> list[Decimal]:
    if price is None:
        return []
    return [price.base, *(tier.price for tier in price.tiers)] if isinstance(price, TieredPrices) else [price]


@pytest.mark.parametrize("model", ["openai:gpt-99", "nobody:gpt-6-luna", "gpt-6-luna", "openai:", ""])
def test_a_price_that_is_not_known_is_never_none(model: str) -> None:
    with pytest.raises(PriceUnknown, match="MODEL_PRICES"):
        price_usage(model, usage(1), at=AT)
    with pytest.raises(PriceUnknown):
        price_bound(model, input_tokens=1, max_output_tokens=1, at=AT)


@pytest.mark.usefixtures("own_prices")
def test_a_price_of_ones_own_is_taken() -> None:
    assert price_usage("openai:llama3.2", usage(10**6, 10**6), at=AT) == 0
    assert price_usage("openai:house", usage(10, 1), at=AT) == 5  # 4.5 rounded up
    assert price_bound("openai:house", input_tokens=1_000, max_output_tokens=1_000, at=AT) == 300 + 1_500


def test_prices_of_ones_own_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PRICES", "openai:llama3.2=0/0, openai:meta/llama-4:free=0.10/0.5")
    assert read_prices("MODEL_PRICES") == {
        "openai:llama3.2": (Decimal(0), Decimal(0)),
        "openai:meta/llama-4:free": (Decimal("0.10"), Decimal("0.5")),
    }


NO_PRICES = ["llama3.2=0/0", "openai:x=1", "openai:x=-1/0", "openai:x=a/b", "openai:x=1/2/3", "=0/0"]


@pytest.mark.parametrize("text", NO_PRICES)
def test_an_entry_that_is_no_price_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MODEL_PRICES", text)
    with pytest.raises(ImproperlyConfigured, match="MODEL_PRICES"):
        read_prices("MODEL_PRICES")


# --- how many tokens a request can be ---------------------------------------------------------------------------
def request(*messages: Any, system: str = "", tools: tuple[ToolSpec, ...] = ()) -> ModelRequest:
    return ModelRequest(
        model="m", system=system, messages=messages, tools=tools, max_output_tokens=100, timeout_seconds=1.0
    )


TEXTS = st.text(max_size=60)
MESSAGES = st.one_of(
    st.builds(UserMessage, text=TEXTS),
    st.builds(ToolMessage, call_id=TEXTS, name=TEXTS, content=TEXTS),
    st.builds(
        ModelMessage,
        text=TEXTS,
        tool_calls=st.lists(
            st.builds(ToolCall, id=TEXTS, name=TEXTS, arguments=st.none() | st.dictionaries(TEXTS, TEXTS), raw=TEXTS)
        ).map(tuple),
        opaque=st.none() | st.lists(st.dictionaries(TEXTS, TEXTS)),
    ),
)


@given(TEXTS, st.lists(MESSAGES, max_size=6))
def test_every_byte_that_is_sent_counts(system: str, messages: list[Any]) -> None:
    tool = ToolSpec(name="n", description=system, input_schema={"type": "object", "title": system})
    sent = [system, tool.description, json.dumps(tool.input_schema)]
    for message in messages:
        match message:
            case UserMessage():
                sent.append(message.text)
            case ToolMessage():
                sent += [message.call_id, message.name, message.content]
            case ModelMessage():
                sent += [message.text, json.dumps(message.opaque) if message.opaque is not None else ""]
                for call in message.tool_calls:
                    sent += [call.id, call.name, json.dumps(call.arguments), call.raw]
    bound = bound_input_tokens(request(*messages, system=system, tools=(tool,)))
    assert bound >= sum(len(text.encode(errors="surrogatepass")) for text in sent)


def test_a_text_that_grows_when_it_is_normalised_counts_as_grown() -> None:
    ligature = "\ufdfa"  # three bytes; eighteen letters once it is normalised
    assert bound_input_tokens(request(system=ligature)) - bound_input_tokens(request()) >= 33


def test_tools_bring_the_vendors_own_prompt() -> None:
    tool = ToolSpec(name="n", description="d", input_schema={})
    assert bound_input_tokens(request(tools=(tool,))) - bound_input_tokens(request()) > 2_000
