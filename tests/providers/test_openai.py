"""What is OpenAI's own: its two APIs, what it is sent, and what local servers do instead."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agents.providers.base import (
    ModelMessage,
    ProviderError,
    ProviderExhausted,
    ProviderInterrupted,
    ProviderMisspoke,
    ProviderOverloaded,
    ProviderRejected,
    StopReason,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from agents.providers.openai import OpenAIProvider
from tests.providers.conftest import LOOK_UP, ask
from tests.providers.spoken import CALL, chat, message, responses, said
from tests.providers.vendor_server import Answer, VendorServer, refuse, stream

Make = Callable[..., OpenAIProvider]
USAGE = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 7},
         "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 15}, "total_tokens": 120}  # fmt: skip
CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
              "prompt_tokens_details": {"cached_tokens": 60}}  # fmt: skip
DIALOGUE = (
    UserMessage(text="Where is Paris?"),
    ModelMessage(
        text="One moment.",
        tool_calls=(
            ToolCall(id="toolu_1", name="look_up", arguments={"city": "Paris"}),
            ToolCall(id="toolu_2", name="look_up", arguments=None, raw='{"city'),
        ),
        provider="anthropic",
        opaque=[{"type": "text", "text": "One moment."}],
    ),
    ToolMessage(call_id="toolu_1", name="look_up", content="France"),
    ToolMessage(call_id="toolu_2", name="look_up", content="no JSON", is_error=True),
    ModelMessage(text="France.", provider="anthropic"),
    UserMessage(text="And Rome?"),
)


# --- Responses ------------------------------------------------------------------------------------------------
async def test_responses_are_asked_to_keep_nothing(openai: Make, vendor: VendorServer) -> None:
    vendor.add(responses(message(said("Italy.")), usage=USAGE))
    reply = await openai("responses").complete(ask(messages=DIALOGUE))
    assert reply.message.text == "Italy."
    (asked,) = vendor.asked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/responses", "Bearer sk-canary-5f2a9c71d3")
    told = {name: asked.body[name] for name in ("store", "stream", "max_output_tokens", "include", "instructions")}
    assert told == {
        "store": False, "stream": True, "max_output_tokens": 200, "include": ["reasoning.encrypted_content"],
        "instructions": "You look cities up.",
    }  # fmt: skip
    assert asked.body["tools"] == [
        {"type": "function", "name": "look_up", "description": LOOK_UP.description,
         "parameters": dict(LOOK_UP.input_schema), "strict": False}
    ]  # fmt: skip
    assert "temperature" not in asked.body


async def test_responses_get_another_vendors_turns_rebuilt(openai: Make, vendor: VendorServer) -> None:
    vendor.add(responses(message(said("Italy."))))
    await openai("responses").complete(ask(messages=DIALOGUE))
    assert vendor.asked[0].body["input"] == [
        {"role": "user", "content": "Where is Paris?"},
        {"role": "assistant", "content": "One moment."},
        {"type": "function_call", "call_id": "toolu_1", "name": "look_up", "arguments": '{"city":"Paris"}'},
        {"type": "function_call", "call_id": "toolu_2", "name": "look_up", "arguments": '{"unreadable":"{\\"city"}'},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "France"},
        {"type": "function_call_output", "call_id": "toolu_2", "output": "no JSON"},
        {"role": "assistant", "content": "France."},
        {"role": "user", "content": "And Rome?"},
    ]


async def test_responses_get_their_own_reasoning_back_without_ids(openai: Make, vendor: VendorServer) -> None:
    secret = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    bare = {"type": "reasoning", "id": "rs_2", "summary": []}
    call = CALL | {"arguments": '{"city": "Paris"}'}
    vendor.add(responses(secret, bare, message(said("Looking."), phase="commentary"), call), responses())
    provider = openai("responses")
    first = (await provider.complete(ask())).message
    json.dumps(first.opaque)
    await provider.complete(ask(messages=(UserMessage(text="Where?"), first)))
    assert vendor.asked[1].body["input"][1:] == [
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {"role": "assistant", "content": "Looking.", "phase": "commentary"},
        {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"city": "Paris"}'},
    ]


async def test_a_model_without_reasoning_is_asked_once_too_often(openai: Make, vendor: VendorServer) -> None:
    fault = {"error": {"message": "Encrypted content is not supported with this model.", "param": "include"}}
    vendor.add(refuse(400, fault), responses(message(said("a"))), responses(message(said("b"))))
    provider = openai("responses")
    assert [(await provider.complete(ask())).message.text for _ in "ab"] == ["a", "b"]
    assert ["include" in asked.body for asked in vendor.asked] == [True, False, False]


async def test_responses_usage_includes_what_came_from_the_cache(openai: Make, vendor: VendorServer) -> None:
    vendor.add(responses(message(said("Italy.")), usage=USAGE))
    usage = (await openai("responses").complete(ask())).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (100, 20)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (60, 7)
    assert usage.raw == USAGE


async def test_items_that_the_last_event_leaves_out_are_taken_from_their_own(
    openai: Make, vendor: VendorServer
) -> None:
    done = {"type": "response.output_item.done", "output_index": 0, "item": message(said("Italy."))}
    ended = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}
    vendor.add(stream(done, ended))
    assert (await openai("responses").complete(ask())).message.text == "Italy."


# --- refusals -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("api", "answer", "text"),
    [
        ("responses", responses(message({"type": "refusal", "refusal": "I will not."})), "I will not."),
        ("responses", responses(status="incomplete", incomplete_details={"reason": "content_filter"}), ""),
        ("responses", responses(status="failed", error={"code": "cyber_policy", "message": "no"}), ""),
        ("responses", refuse(400, {"error": {"code": "invalid_prompt", "message": "flagged"}}), ""),
        ("chat", chat({"refusal": "I will "}, {"refusal": "not."}), "I will not."),
        ("chat", chat({"content": "Well"}, finish="content_filter"), "Well"),
        ("chat", refuse(400, {"error": {"code": "content_filter", "message": "filtered"}}), ""),
    ],
)
async def test_a_refusal_is_an_answer(openai: Make, vendor: VendorServer, api: Any, answer: Answer, text: str) -> None:
    vendor.add(answer)
    reply = await openai(api).complete(ask())
    assert (reply.stop, reply.message.text) == (StopReason.REFUSED, text)
    assert len(vendor.asked) == 1


async def test_a_prompt_that_the_filter_stopped_costs_nothing(openai: Make, vendor: VendorServer) -> None:
    vendor.add(refuse(400, {"error": {"code": "content_filter", "message": "filtered"}}))
    usage = (await openai("chat").complete(ask())).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (0, 0)


# --- Chat Completions -----------------------------------------------------------------------------------------
async def test_chat_gets_another_vendors_turns_rebuilt(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "Italy."}))
    await openai("chat").complete(ask(messages=DIALOGUE))
    (asked,) = vendor.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body["stream_options"] == {"include_usage": True}
    system, _, called, *rest = asked.body["messages"]
    assert system == {"role": "system", "content": "You look cities up."}
    assert [call["function"]["arguments"] for call in called["tool_calls"]] == [
        '{"city":"Paris"}', '{"unreadable":"{\\"city"}'
    ]  # fmt: skip
    assert rest[0] == {"role": "tool", "tool_call_id": "toolu_1", "content": "France"}
    assert rest[2:] == [{"role": "assistant", "content": "France."}, {"role": "user", "content": "And Rome?"}]


async def test_chat_bounds_the_output_by_the_name_that_local_servers_know(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "Italy."}))
    await openai("chat").complete(ask())
    assert vendor.asked[0].body["max_tokens"] == 200
    assert "max_completion_tokens" not in vendor.asked[0].body


async def test_chat_learns_the_newer_name_where_the_older_is_refused(openai: Make, vendor: VendorServer) -> None:
    told = "Unsupported parameter: 'max_tokens' is not supported with this model."
    vendor.add(refuse(400, {"error": {"message": told, "code": "unsupported_parameter", "param": "max_tokens"}}))
    vendor.add(chat({"content": "a"}), chat({"content": "b"}))
    provider = openai("chat")
    assert [(await provider.complete(ask())).message.text for _ in "ab"] == ["a", "b"]
    names = [[name for name in asked.body if name.startswith("max_")] for asked in vendor.asked]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


async def test_chat_usage_includes_what_came_from_the_cache(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "Italy."}, usage=CHAT_USAGE))
    usage = (await openai("chat").complete(ask())).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (100, 20, 60)


async def test_a_server_that_never_reports_usage_is_believed(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "a"}), chat({"content": "b"}))
    provider = openai("chat")
    assert [(await provider.complete(ask())).usage for _ in "ab"] == [None, None]


async def test_usage_that_is_missing_where_it_was_before_means_a_cut(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "a"}, usage=CHAT_USAGE), chat({"content": "b"}))
    provider = openai("chat")
    await provider.complete(ask())
    with pytest.raises(ProviderInterrupted):
        await provider.complete(ask())


async def test_calls_that_share_an_index_or_an_id_stay_apart(openai: Make, vendor: VendorServer) -> None:
    def part(name: str, **more: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": "{}"}} | more

    vendor.add(
        chat({"tool_calls": [part("a", index=0, id="1"), part("b", index=0, id="2")]}),
        chat({"tool_calls": [part("a", index=0, id="1"), part("b", index=1, id="1"), part("c", index=2)]}),
    )
    provider = openai("chat")
    reply = await provider.complete(ask())
    assert [(call.name, call.id) for call in reply.message.tool_calls] == [("a", "1"), ("b", "2")]
    assert reply.stop is StopReason.TOOL_CALLS
    calls = (await provider.complete(ask())).message.tool_calls
    assert [call.name for call in calls] == ["a", "b", "c"]
    assert len({call.id for call in calls}) == 3


async def test_a_character_that_the_stream_cut_in_two_is_joined(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "a \ud83d"}, {"content": "\ude42 b \ud800"}))
    assert (await openai("chat").complete(ask())).message.text == "a 🙂 b �"


# --- which of the two -----------------------------------------------------------------------------------------
async def test_a_server_with_chat_only_is_found_out_once(openai: Make, vendor: VendorServer) -> None:
    vendor.without = ("/responses",)
    vendor.add(chat({"content": "a"}), chat({"content": "b"}))
    provider = openai("auto")
    assert [(await provider.complete(ask())).message.text for _ in "ab"] == ["a", "b"]
    paths = [asked.path.removeprefix("/v1/") for asked in vendor.asked]
    assert paths == ["responses", "chat/completions", "chat/completions"]


@pytest.mark.parametrize("status", [405, 501])
async def test_other_ways_to_lack_responses_are_understood(openai: Make, vendor: VendorServer, status: int) -> None:
    vendor.add(refuse(status, "no"), chat({"content": "a"}))
    assert (await openai("auto").complete(ask())).message.text == "a"


async def test_a_model_that_is_unknown_to_both_decides_nothing(openai: Make, vendor: VendorServer) -> None:
    unknown = refuse(404, {"error": {"code": "model_not_found", "message": "no m-1"}})
    vendor.add(unknown, unknown, responses(message(said("a"))), responses(message(said("b"))))
    provider = openai("auto")
    with pytest.raises(ProviderRejected, match="MODEL_TIER_"):
        await provider.complete(ask())
    assert [(await provider.complete(ask())).message.text for _ in "ab"] == ["a", "b"]


async def test_responses_that_fail_otherwise_are_not_chat(openai: Make, vendor: VendorServer) -> None:
    vendor.add(refuse(503, "busy"))
    with pytest.raises(ProviderOverloaded):
        await openai("auto").complete(ask())
    assert len(vendor.asked) == 1


async def test_a_base_url_needs_no_key(openai: Make, vendor: VendorServer) -> None:
    vendor.add(chat({"content": "a"}))
    await openai("chat", api_key="").complete(ask())
    assert vendor.asked[0].headers["authorization"] == "Bearer none"


# --- faults ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("api", "answer", "kind"),
    [
        ("responses", refuse(429, {"error": {"code": "insufficient_quota", "message": "pay"}}), ProviderExhausted),
        ("responses", stream({"type": "error", "code": "server_error", "message": "x"}), ProviderInterrupted),
        ("responses", stream({"type": "error", "code": "rate_limit_exceeded", "message": "x"}), ProviderOverloaded),
        ("responses", responses(status="failed", error={"code": "server_error", "message": "x"}), ProviderInterrupted),
        ("responses", Answer(body=b"<html>hello", content_type="text/html"), ProviderMisspoke),
        ("responses", Answer(body=b'data: "text"\n\n'), ProviderMisspoke),
        ("responses", stream({"type": "response.completed", "response": {"id": "r"}}), ProviderMisspoke),
        ("responses", responses({"type": "function_call", "name": "x"}), ProviderMisspoke),
        ("chat", stream({"error": {"code": "server_error", "message": "x"}}), ProviderInterrupted),
        ("chat", chat({"content": "a"}, finish="bored"), ProviderMisspoke),
        ("chat", chat({"content": "a"}, finish=None), ProviderInterrupted),
        ("chat", stream({"choices": [{"delta": "x"}]}), ProviderMisspoke),
    ],
)
async def test_a_fault_is_told_in_our_words(
    openai: Make, vendor: VendorServer, api: Any, answer: Answer, kind: type[ProviderError]
) -> None:
    vendor.add(answer)
    with pytest.raises(ProviderError) as caught:
        await openai(api).complete(ask())
    assert type(caught.value) is kind
    assert len(vendor.asked) == 1


async def test_an_account_without_credit_leaves_the_other_vendor(openai: Make, vendor: VendorServer) -> None:
    vendor.add(refuse(429, {"error": {"code": "insufficient_quota", "message": "pay"}}))
    with pytest.raises(ProviderExhausted) as caught:
        await openai("responses").complete(ask())
    assert (caught.value.retryable, caught.value.elsewhere, caught.value.billed) == (False, True, False)


async def test_a_key_with_a_strange_character_is_named(openai: Make) -> None:
    with pytest.raises(ProviderRejected, match="OPENAI_API_KEY is malformed"):
        await openai("chat", api_key="sk-canary…").complete(ask())
