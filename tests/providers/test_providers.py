"""What every vendor must do, on each of them: real HTTP servers behind the SDKs, and the provider in memory."""

import asyncio
import time
import traceback
from typing import Any

import pytest

from agents.providers.base import (
    ModelReply,
    ProviderError,
    ProviderInterrupted,
    ProviderMisspoke,
    ProviderOverloaded,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    StopReason,
    ToolMessage,
    UserMessage,
)
from tests.providers.conftest import ask
from tests.providers.worlds import KEY, LlmockWorld, World


async def fault_of(world: World, **changes: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await world.provider.complete(ask(**changes))
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    assert "Where is Paris?" not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or not isinstance(world, LlmockWorld)
    assert world.count_requests() == 1, "the SDK tried again by itself"
    return caught.value


# --- answers --------------------------------------------------------------------------------------------------
async def test_it_returns_the_text(world: World) -> None:
    world.say("Paris is in France. Ça va, 🙂")
    reply = await world.provider.complete(ask())
    assert reply.message.text == "Paris is in France. Ça va, 🙂"
    assert (reply.message.tool_calls, reply.stop) == ((), StopReason.FINISHED)
    assert reply.response_id


async def test_it_reports_the_usage(world: World) -> None:
    world.say("Paris is in France.")
    usage = (await world.provider.complete(ask())).usage
    assert usage is not None
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    wire = usage.to_wire()
    assert wire["cacheReadTokens"] == wire["cacheWriteTokens"] == 0


async def test_it_returns_a_tool_call_with_its_arguments(world: World) -> None:
    world.call(("look_up", {"city": "Paris", "deep": {"list": [1, None, "x" * 40]}}), text="I look it up.")
    reply = await world.provider.complete(ask())
    (call,) = reply.message.tool_calls
    assert (call.name, call.raw) == ("look_up", "")
    assert call.arguments == {"city": "Paris", "deep": {"list": [1, None, "x" * 40]}}
    assert call.id
    assert (reply.message.text, reply.stop) == ("I look it up.", StopReason.TOOL_CALLS)


async def test_it_returns_parallel_tool_calls_in_order(world: World) -> None:
    world.call(("look_up", {"city": "Paris"}), ("look_up", {"city": "Rome"}), ("look_up", {}))
    calls = (await world.provider.complete(ask())).message.tool_calls
    assert [call.arguments for call in calls] == [{"city": "Paris"}, {"city": "Rome"}, {}]
    assert len({call.id for call in calls}) == 3


async def test_arguments_that_are_no_object_are_kept_as_written(world: World) -> None:
    world.call_wrongly("malformed_arguments")
    (call,) = (await world.provider.complete(ask())).message.tool_calls
    assert call.arguments is None
    assert call.raw.startswith('{"city')


async def test_an_unknown_tool_is_passed_on(world: World) -> None:
    world.call_wrongly("unknown_tool")
    (call,) = (await world.provider.complete(ask())).message.tool_calls
    assert call.name == "llmock_unknown_tool"


async def test_it_says_when_the_limit_on_tokens_cut_the_answer(world: World) -> None:
    world.say("Paris is", stop=StopReason.MAX_TOKENS)
    reply = await world.provider.complete(ask())
    assert (reply.message.text, reply.stop) == ("Paris is", StopReason.MAX_TOKENS)
    assert reply.usage is not None


async def take_turns(world: World) -> ModelReply:
    """Let the model call two tools, one in vain, hand it the results, and let it answer."""
    world.call(("look_up", {"city": "Paris"}), ("look_up", {"city": "Rome"}), text="One moment.")
    first = (await world.provider.complete(ask())).message
    paris, rome = first.tool_calls
    results = (
        ToolMessage(call_id=paris.id, name="look_up", content='{"country": "France"}'),
        ToolMessage(call_id=rome.id, name="look_up", content="refused", is_error=True),
    )
    world.say("In France.")
    said = UserMessage(text="Where is Paris?")
    return await world.provider.complete(ask(messages=(said, first, *results, UserMessage(text="Be brief."))))


async def test_it_goes_on_with_the_results_of_tools(world: World) -> None:
    assert (await take_turns(world)).message.text == "In France."


# --- faults ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, ProviderRejected, "not accepted"),
        (401, ProviderRejected, "KEY"),
        (403, ProviderRejected, "may not"),
        (404, ProviderRejected, "no such model"),
        (413, ProviderRejected, "too long"),
        (429, ProviderOverloaded, "too busy"),
        (500, ProviderUnavailable, "failed on its side"),
        (502, ProviderUnavailable, "failed on its side"),
        (503, ProviderOverloaded, "too busy"),
        (504, ProviderTimeout, "in time"),
        (529, ProviderOverloaded, "too busy"),
    ],
)
async def test_a_status_says_what_may_be_done(
    world: World, status: int, kind: type[ProviderError], advice: str
) -> None:
    world.fail(status)
    fault = await fault_of(world)
    assert type(fault) is kind
    assert f" {status}" in fault.message
    assert advice in fault.message
    assert fault.billed is (status == 504)


async def test_a_busy_vendor_says_when_to_come_back(world: World) -> None:
    world.fail(429, retry_after=7)
    fault = await fault_of(world)
    assert (fault.retryable, fault.elsewhere, fault.retry_after_seconds) == (True, True, 7.0)


@pytest.mark.parametrize("kind", ["disconnect", "truncate"])
@pytest.mark.parametrize("after_chunks", [0, 1, 4])
async def test_an_answer_that_is_cut_off_is_none(world: World, kind: str, after_chunks: int) -> None:
    world.cut(kind, after_chunks=after_chunks)
    if isinstance(world, LlmockWorld):
        world.say("A long answer of many words, so that it comes in many pieces.")
    fault = await fault_of(world)
    assert type(fault) is ProviderInterrupted
    assert (fault.retryable, fault.elsewhere, fault.billed) == (True, True, True)


async def test_a_tool_call_that_is_cut_off_is_never_made(world: World) -> None:
    world.cut("truncate", after_chunks=5)
    if isinstance(world, LlmockWorld):
        world.call(("look_up", {"city": "Paris" * 40}))
    assert type(await fault_of(world)) is ProviderInterrupted


async def test_a_malformed_chunk_is_no_answer(world: World) -> None:
    world.cut("malformed", after_chunks=3)  # the third of Anthropic's is a ping, which nobody reads
    if isinstance(world, LlmockWorld):
        world.say("A long answer of many words.")
    fault = await fault_of(world)
    assert type(fault) is ProviderMisspoke
    assert (fault.retryable, fault.billed) == (True, True)


async def test_a_stalled_answer_ends_at_the_deadline(world: World) -> None:
    world.stall(20)
    started = time.monotonic()
    fault = await fault_of(world, timeout_seconds=1.0)
    assert type(fault) is ProviderTimeout
    assert (fault.retryable, fault.elsewhere, fault.billed) == (True, False, True)
    assert time.monotonic() - started < 3


async def test_an_answer_that_drips_on_ends_at_the_deadline(world: World) -> None:
    world.drip(10)  # never silent for long
    started = time.monotonic()
    assert type(await fault_of(world, timeout_seconds=1.0)) is ProviderTimeout
    assert time.monotonic() - started < 3


async def test_a_slow_first_token_within_the_time_is_an_answer(world: World) -> None:
    world.dawdle(0.4)
    assert (await world.provider.complete(ask())).message.text


async def test_a_cancelled_call_ends_at_once(world: World) -> None:
    world.stall(20)
    call = asyncio.create_task(world.provider.complete(ask()))
    await asyncio.sleep(0.6)
    started = time.monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - started < 1
    if isinstance(world, LlmockWorld):
        async with asyncio.timeout(5):
            while not (seen := await asyncio.to_thread(lambda: world.llmock.requests)):
                await asyncio.sleep(0.05)
        assert seen[0].stall_waited is not None
        assert seen[0].stall_waited < 3, "the connection was left open"


async def test_it_answers_after_a_fault(world: World) -> None:
    world.fail(500)
    await fault_of(world)
    world.say("Paris is in France.")
    assert (await world.provider.complete(ask())).message.text == "Paris is in France."
