"""What a model call costs, and the most that it can cost, in millionths of a US dollar rounded up. PURE.

List prices come from the snapshot that the package genai-prices carries; it is never updated over the network. A
model without a list price needs one in the setting MODEL_PRICES, or it is refused: a price that is not known is
never taken for none.
"""

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from agents.providers.base import Message, ModelMessage, ModelRequest, ToolMessage, ToolSpec, Usage

MILLION: Final = Decimal(1_000_000)


class PriceUnknown(LookupError):
    """There is no price for this model, so it is not called. Name one in MODEL_PRICES, or choose another model."""

    code = "price_unknown"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"There is no price for {model}, so it is not called; nothing was spent. Set MODEL_PRICES to "
            f"{model}=IN/OUT (US dollars a million tokens, 0/0 for one that is free), or choose another model."
        )


# US dollars a million tokens in and out, by "provider:name": what the operator says wins over a list price.
_own: dict[str, tuple[Decimal, Decimal]] = {}


def use_own_prices(prices: Mapping[str, tuple[Decimal, Decimal]]) -> None:
    """Set this process's own prices, US dollars a million tokens in and out, in place of those set before."""
    _own.clear()
    _own.update(prices)


# --- prices ---------------------------------------------------------------------------------------------------
def price_usage(model: str, usage: Usage, *, at: datetime) -> int:
    """Return what a call cost; `model` is "provider:name", `at` the time of the call.

    Tokens read from and written to a cache are charged as such, and past a vendor's threshold the whole prompt and
    the answer at the higher price.

    Raises: PriceUnknown.
    """
    read, written = max(usage.cache_read_tokens, 0), max(usage.cache_write_tokens, 0)
    return _price(
        model,
        input_tokens=max(usage.input_tokens, read + written),  # a vendor that leaves the cached ones out
        output_tokens=max(usage.output_tokens, 0),
        read=read,
        written=written,
        at=at,
    )


def price_bound(model: str, *, input_tokens: int, max_output_tokens: int, at: datetime) -> int:
    """Return the most that a call of at most so many tokens can cost.

    The dearer of a prompt that is read plainly and one that is written to a cache for five minutes, which is the
    only way that we cache. A test holds the list prices to what this rests on: none falls with the length of the
    prompt, and reading a cache never costs more than reading the prompt.

    Raises: PriceUnknown.
    """
    return max(
        _price(model, input_tokens=input_tokens, output_tokens=max_output_tokens, read=0, written=written, at=at)
        for written in (0, input_tokens)
    )


def _price(model: str, *, input_tokens: int, output_tokens: int, read: int, written: int, at: datetime) -> int:
    if own := _own.get(model):
        usd = (own[0] * input_tokens + own[1] * output_tokens) / MILLION
    else:
        usd = _list_price(
            model, at, input_tokens=input_tokens, output_tokens=output_tokens,
            cache_read_tokens=read, cache_write_tokens=written,
        )  # fmt: skip
    return int((usd * MILLION).to_integral_value(ROUND_CEILING))


def _list_price(model: str, at: datetime, **tokens: int) -> Decimal:
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    vendor, _, name = model.partition(":")
    try:
        price = calc_price(Tokens(**tokens), name, provider_id=vendor, genai_request_timestamp=at)
    except LookupError as error:
        raise PriceUnknown(model) from error
    if price.model_price.input_mtok is None or price.model_price.output_mtok is None:
        raise PriceUnknown(model)  # it is listed, but not by the token
    return price.total_price


# --- how many tokens a request can be -------------------------------------------------------------------------
# What a vendor writes around our text, in tokens, each far above what was seen or documented.
REQUEST_OVERHEAD: Final = 64
MESSAGE_OVERHEAD: Final = 32  # role marks, turn marks, block types
CALL_OVERHEAD: Final = 64  # of one tool call or tool result
TOOL_OVERHEAD: Final = 128  # of one tool's description
TOOLS_PROMPT: Final = 2_048  # the vendor's own instructions, once there are tools: 313 to 804 are documented
JSON_GROWTH: Final = 2  # JSON may reach the model laid out with spaces and line breaks, or with its quotes escaped


def bound_input_tokens(request: ModelRequest) -> int:
    """Return a number of tokens that the prompt cannot exceed.

    Every vendor here tokenises with a byte-level BPE: its smallest token is one byte and none is empty, so a text
    has at most as many tokens as UTF-8 bytes. A tokeniser may normalise first, so the longer of the text and its
    NFKC form counts. Where the vendor lays our data out anew (schemas, arguments, its own opaque items), the JSON in
    ASCII is counted twice. Encrypted reasoning is longer than what it encrypts, for it is base64. What the vendor
    adds is bounded by the overheads above. English has about four bytes a token, so the bound is some four times the
    truth; the difference is given back as soon as the call is settled.
    """
    tools = sum(_bound_tool(tool) for tool in request.tools)
    return (
        REQUEST_OVERHEAD
        + _bound_text(request.system)
        + sum(_bound_message(message) for message in request.messages)
        + (tools + TOOLS_PROMPT if request.tools else 0)
    )


def _bound_text(text: str) -> int:
    plain = len(text.encode(errors="surrogatepass"))
    if plain == len(text):  # ASCII, which normalises to itself
        return plain
    return max(plain, len(unicodedata.normalize("NFKC", text).encode(errors="surrogatepass")))


def _bound_json(value: Any) -> int:
    return JSON_GROWTH * len(json.dumps(value, default=str))


def _bound_tool(tool: ToolSpec) -> int:
    texts = _bound_text(tool.name) + _bound_text(tool.description)
    return TOOL_OVERHEAD + texts + _bound_json(dict(tool.input_schema))


def _bound_message(message: Message) -> int:
    match message:
        case ModelMessage():
            calls = sum(
                CALL_OVERHEAD + _bound_json([call.id, call.name, dict(call.arguments or {}), call.raw])
                for call in message.tool_calls
            )
            opaque = 0 if message.opaque is None else _bound_json(message.opaque)
            return MESSAGE_OVERHEAD + _bound_text(message.text) + calls + opaque
        case ToolMessage():
            texts = _bound_text(message.content) + _bound_text(message.name) + _bound_text(message.call_id)
            return MESSAGE_OVERHEAD + CALL_OVERHEAD + texts
    return MESSAGE_OVERHEAD + _bound_text(message.text)
