"""What never reached a vendor, and what no error may tell."""

import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.providers.anthropic import AnthropicProvider
from agents.providers.base import Provider, ProviderError, ProviderRejected, ProviderUnavailable
from agents.providers.faults import MAX_RETRY_AFTER_SECONDS, read_retry_after
from agents.providers.openai import OpenAIProvider
from tests.providers.conftest import ask
from tests.providers.vendor_server import VendorServer, refuse, stream
from tests.providers.worlds import KEY
from tests.servers import find_free_port

MAKERS: dict[str, Callable[[str, str], Provider]] = {
    "responses": lambda key, url: OpenAIProvider(api_key=key, base_url=f"{url}/v1", api="responses"),
    "chat": lambda key, url: OpenAIProvider(api_key=key, base_url=f"{url}/v1", api="chat"),
    "anthropic": lambda key, url: AnthropicProvider(api_key=key, base_url=url),
}
PROMPT = "canary-prompt-8841"


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[str, str], Provider]:
    """Give each vendor in turn, to be made with a key and an address."""
    return MAKERS[request.param]


async def fault_of(provider: Provider) -> ProviderError:
    try:
        with pytest.raises(ProviderError) as caught:
            await provider.complete(ask(PROMPT, system=PROMPT))
    finally:
        await provider.aclose()
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_a_vendor_that_cannot_be_reached_costs_nothing(make: Any, host: str) -> None:
    fault = await fault_of(make(KEY, f"http://{host}:{find_free_port()}"))
    assert type(fault) is ProviderUnavailable
    assert (fault.retryable, fault.elsewhere, fault.billed) == (True, True, False)
    assert "Nothing was sent" in fault.message


@pytest.mark.parametrize(("key", "url"), [(KEY, "gopher://x"), (f"{KEY}\nx: y", "")])
async def test_a_malformed_setting_is_named(make: Any, vendor: VendorServer, key: str, url: str) -> None:
    fault = await fault_of(make(key, url or vendor.url.removesuffix("/v1")))
    assert type(fault) is ProviderRejected
    assert "_BASE_URL or " in fault.message
    assert KEY not in "".join(traceback.format_exception(fault))


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
async def test_a_vendor_that_echoes_key_and_prompt_is_not_quoted(make: Any, vendor: VendorServer, status: int) -> None:
    told = {"message": f"{KEY} {PROMPT}", "code": KEY, "type": KEY, "param": PROMPT, "details": {"error_code": KEY}}
    body = {"type": "error", "error": told}
    answer = refuse(status, body, **{"retry-after": KEY, "x-request-id": KEY, "request-id": KEY})
    vendor.add(stream(body, named=True) if status == 200 else answer)
    fault = await fault_of(make(KEY, vendor.url.removesuffix("/v1")))
    seen = "".join(traceback.format_exception(fault)) + repr(fault) + repr(vars(fault))
    assert KEY not in seen
    assert PROMPT not in seen
    assert fault.__cause__ is fault.__context__ is None


async def test_no_log_tells_key_or_prompt(make: Any, vendor: VendorServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vendor.add(refuse(400, {"error": {"message": f"{KEY} {PROMPT}"}}))
    await fault_of(make(KEY, vendor.url.removesuffix("/v1")))
    assert vendor.asked, "nothing was sent"
    assert KEY not in caplog.text
    assert PROMPT not in caplog.text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Tue, 24 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 09:00:00 GMT"}, 0.0),
        ({"retry-after": "999999"}, MAX_RETRY_AFTER_SECONDS),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, now=datetime(2026, 11, 24, 10, 0, tzinfo=UTC)) == seconds
