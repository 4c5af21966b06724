"""One connection serves call after call, and an answer that does not end costs no more than a moment."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from agents.providers.openai import Api, OpenAIProvider
from tests.bench.provider import run_provider
from tests.bench.spoken import Script, speak_responses
from tests.providers.conftest import ask
from tests.running import free_port


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_connection_is_kept(api: Api) -> None:
    with run_provider(free_port()) as standin:
        await asyncio.to_thread(standin.play, Script(answer="In France."))
        provider = OpenAIProvider(api_key="k", base_url=standin.base_url, api=api)
        said = [(await provider.complete(ask())).message.text for _ in range(3)]
        await provider.aclose()
        seen = await asyncio.to_thread(standin.seen)
    assert said == ["In France."] * 3
    assert len(seen) == 3
    assert {request.connection for request in seen} == {seen[0].connection}


@pytest.fixture
async def endless_url() -> AsyncIterator[str]:
    """Run a vendor that says all it has to say and then holds the line."""
    spoken = speak_responses(Script(answer="In France."), 0, model="m-1", stream=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + spoken.first + spoken.rest)
        await reader.read()  # until the client hangs up
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_an_answer_is_there_although_its_stream_does_not_end(endless_url: str) -> None:
    provider = OpenAIProvider(api_key="k", base_url=endless_url, api="responses")
    started = time.monotonic()
    reply = await provider.complete(ask(timeout_seconds=30.0))
    await provider.aclose()
    assert reply.message.text == "In France."
    assert time.monotonic() - started < 15  # far below the call's own time
