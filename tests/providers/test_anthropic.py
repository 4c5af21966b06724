"""What is Anthropic's own: its blocks, its usage, its refusals and errors."""

from typing import Any

import pytest

from agents.providers.anthropic import AnthropicProvider
from agents.providers.base import (
    ModelMessage,
    ProviderError,
    ProviderExhausted,
    ProviderInterrupted,
    ProviderMisspoke,
    ProviderOverloaded,
    StopReason,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tests.providers.conftest import LOOK_UP, ask
from tests.providers.spoken import anthropic as spoken
from tests.providers.vendor_server import Answer, VendorServer, refuse, stream

TEXT = {"type": "text", "text": ""}


def text(said: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return TEXT, {"type": "text_delta", "text": said}


async def test_it_is_asked_without_a_temperature(anthropic: AnthropicProvider, vendor: VendorServer) -> None:
    vendor.add(spoken(text("Italy.")))
    assert (await anthropic.complete(ask())).message.text == "Italy."
    (asked,) = vendor.asked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/messages", "Bearer sk-canary-5f2a9c71d3")
    assert asked.body == {
        "model": "m-1",
        "system": "You look cities up.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Where is Paris?"}]}],
        "max_tokens": 200,
        "tools": [{"name": "look_up", "description": LOOK_UP.description, "input_schema": dict(LOOK_UP.input_schema)}],
        "stream": True,
    }


async def test_another_vendors_turns_are_rebuilt(anthropic: AnthropicProvider, vendor: VendorServer) -> None:
    vendor.add(spoken(text("Italy.")))
    calls = (
        ToolCall(id="call_1", name="look_up", arguments={"city": "Paris"}),
        ToolCall(id="functions.look_up:2", name="look_up", arguments=None, raw='{"city'),
    )
    said = (
        UserMessage(text="Where is Paris?"),
        ModelMessage(text="", tool_calls=calls, provider="openai", opaque=[{"type": "reasoning"}]),
        ToolMessage(call_id="call_1", name="look_up", content="France"),
        ToolMessage(call_id="functions.look_up:2", name="look_up", content="no JSON", is_error=True),
        UserMessage(text="Be brief."),
        ModelMessage(text=" ", provider="openai"),
        UserMessage(text="And Rome?"),
    )
    await anthropic.complete(ask(messages=said))
    _, called, results, empty, _ = vendor.asked[0].body["messages"]
    good, odd = called["content"]
    assert (good["id"], good["input"], odd["input"]) == ("call_1", {"city": "Paris"}, {"unreadable": '{"city'})
    assert odd["id"].isidentifier()
    assert results == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "France"},
            {"type": "tool_result", "tool_use_id": odd["id"], "content": "no JSON", "is_error": True},
            {"type": "text", "text": "Be brief."},
        ],
    }
    assert empty["content"] == [{"type": "text", "text": "(nothing)"}]


async def test_it_gets_its_own_blocks_back(anthropic: AnthropicProvider, vendor: VendorServer) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}
    vendor.add(
        spoken(
            (thought, None),
            (TEXT, None),
            text("Looking."),
            (call, {"type": "input_json_delta", "partial_json": '{"city": "P'}),
            stop="max_tokens",
        ),
        spoken(text("ok")),
    )
    first = await anthropic.complete(ask())
    assert first.stop is StopReason.MAX_TOKENS
    assert [call.raw for call in first.message.tool_calls] == ['{"city": "P']
    await anthropic.complete(ask(messages=(UserMessage(text="Where?"), first.message)))
    assert vendor.asked[1].body["messages"][1]["content"] == [
        thought,
        {"type": "text", "text": "Looking."},
        call | {"input": {"unreadable": '{"city": "P'}},
    ]


async def test_its_usage_is_told_with_the_cache_inside_the_input(
    anthropic: AnthropicProvider, vendor: VendorServer
) -> None:
    early = {"input_tokens": 10, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 7, "output_tokens": 1}
    vendor.add(spoken(text("a"), usage=early, late_usage={"output_tokens": 20, "input_tokens": None}))
    usage = (await anthropic.complete(ask())).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (77, 20)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (60, 7)
    assert usage.raw == early | {"output_tokens": 20}


async def test_a_refusal_is_an_answer(anthropic: AnthropicProvider, vendor: VendorServer) -> None:
    vendor.add(spoken(text("I will not."), stop="refusal"))
    reply = await anthropic.complete(ask())
    assert (reply.stop, reply.message.text) == (StopReason.REFUSED, "I will not.")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refuse(402, {"type": "error", "error": {"type": "billing_error", "message": "pay"}}), ProviderExhausted),
        (
            refuse(400, {"type": "error", "error": {
                "type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}),
            ProviderExhausted,
        ),
        (stream({"type": "error", "error": {"type": "overloaded_error"}}, named=True), ProviderOverloaded),
        (stream({"type": "error", "error": {"type": "api_error"}}, named=True), ProviderInterrupted),
        (spoken(text("a"), stop="bored"), ProviderMisspoke),
        (spoken(text("a"), stop=None), ProviderInterrupted),
        (Answer(body=b"<html>hello", content_type="text/html"), ProviderMisspoke),
        (stream({"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "x"}}, named=True),
         ProviderMisspoke),
    ],
)  # fmt: skip
async def test_a_fault_is_told_in_our_words(
    anthropic: AnthropicProvider, vendor: VendorServer, answer: Answer, kind: type[ProviderError]
) -> None:
    vendor.add(answer)
    with pytest.raises(ProviderError) as caught:
        await anthropic.complete(ask())
    assert type(caught.value) is kind
    assert caught.value.billed is (answer.status == 200)
    assert len(vendor.asked) == 1
