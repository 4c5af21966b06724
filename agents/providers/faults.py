"""What went wrong with a call to a vendor, told in our words.

A vendor's own message is never passed on: it may quote the prompt or the key. Of its error codes only those are
shown that are known here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from agents.providers.base import (
    ProviderError,
    ProviderExhausted,
    ProviderInterrupted,
    ProviderMisspoke,
    ProviderOverloaded,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    Usage,
)

MAX_RETRY_AFTER_SECONDS: Final = 3600.0

_OVERLOADED: Final = {429, 503, 529}
_TOO_LATE: Final = {504, 524}  # a gateway gave up; the vendor behind it may have done the work
_WORTH_A_RETRY: Final = {408, 409, 425}
_EXHAUSTED: Final = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
_BUSY: Final = {"rate_limit_exceeded", "rate_limit_error", "overloaded_error", "slow_down"}
_REFUSED: Final = {
    "content_filter", "content_policy_violation", "cyber_policy", "bio_policy", "invalid_prompt",
    "misalignment_policy_violation",
}  # fmt: skip
_TOO_LONG: Final = {"context_length_exceeded", "string_above_max_length", "request_too_large"}
_KNOWN: Final = (
    _EXHAUSTED | _BUSY | _TOO_LONG
    | {"invalid_api_key", "model_not_found", "unsupported_parameter", "unsupported_value", "unknown_parameter",
       "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "invalid_value",
       "invalid_function_parameters", "server_error", "api_error", "timeout_error"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A vendor as our messages name it, and the settings that reach it."""

    name: str
    title: str
    key_setting: str
    url_setting: str

    @property
    def subject(self) -> str:
        """The title as a sentence begins with it."""
        return self.title[0].upper() + self.title[1:]


class PromptRefused(Exception):
    """The vendor's filter turned the prompt down: for who asked that is an answer, not an error."""

    def __init__(self, usage: Usage | None) -> None:
        super().__init__()
        self.usage = usage


Fault = ProviderError | PromptRefused


def judge_status(vendor: Vendor, status: int, *, codes: set[str], headers: Mapping[str, str]) -> Fault:
    """Return what an answer with this status means; it came before any work, so nothing is billed."""
    if status < 500 and codes & _REFUSED:
        return PromptRefused(Usage(input_tokens=0, output_tokens=0))
    told = f"{vendor.subject} answered {status}{_name(codes)}"
    wait = read_retry_after(headers, now=datetime.now(UTC))
    if codes & _EXHAUSTED or status == 402:
        return ProviderExhausted(f"{told}: the account has no credit left. Top it up, or name another vendor.")
    if status in _OVERLOADED:
        return ProviderOverloaded(
            f"{told}: it is too busy, or the account's rate is used up.", retry_after_seconds=wait
        )
    if status in _TOO_LATE:
        return ProviderTimeout(f"{told}: no answer in time.", retry_after_seconds=wait)
    if status >= 500 or status in _WORTH_A_RETRY:
        return ProviderUnavailable(f"{told}: it failed on its side.", retry_after_seconds=wait)
    return ProviderRejected(f"{told}: {_advise(vendor, status, codes)}")


def _advise(vendor: Vendor, status: int, codes: set[str]) -> str:
    if status == 413 or codes & _TOO_LONG:
        return "the conversation is too long for the model. Give the agent a shorter input, or fewer steps."
    if status == 401:
        return f"the key is not accepted. Set {vendor.key_setting} to one that is."
    if status == 403:
        return f"the key may not do this. Give it the right to use the model, or set another {vendor.key_setting}."
    if status == 404:
        return f"it has no such model, or no such address. Check MODEL_TIER_… and {vendor.url_setting}."
    return "the request is not accepted. Check that the model takes tools and this many output tokens."


def _name(codes: set[str]) -> str:
    known = sorted(codes & _KNOWN)
    return f" ({', '.join(known)})" if known else ""


def judge_event(vendor: Vendor, codes: set[str]) -> Fault:
    """Return what an error means that came inside an answer already begun; it may be billed."""
    if codes & _REFUSED:
        return PromptRefused(None)
    told = f"{vendor.subject} broke off its answer{_name(codes)}."
    if codes & _EXHAUSTED:
        return ProviderExhausted(told, billed=True)
    if codes & _BUSY:
        return ProviderOverloaded(told, billed=True)
    return ProviderInterrupted(told)


def judge_transport(vendor: Vendor, error: BaseException | None) -> ProviderError:
    """Return what an error of the connection, or of reading the answer, means."""
    import httpx2

    kind = type(error).__name__
    match error:
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.PoolTimeout() | httpx2.ProxyError():
            return ProviderUnavailable(f"{vendor.subject} cannot be reached ({kind}). Nothing was sent.")
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError() | httpx2.InvalidURL() | UnicodeEncodeError():
            return ProviderRejected(
                f"{vendor.subject} cannot be asked ({kind}): {vendor.url_setting} or {vendor.key_setting} is malformed."
            )
        case httpx2.TimeoutException():
            return ProviderTimeout(f"{vendor.subject} fell silent ({kind}).")
        case httpx2.HTTPError() | OSError():
            return ProviderInterrupted(f"The connection to {vendor.title} broke ({kind}).")
    return ProviderMisspoke(f"What {vendor.title} answered cannot be read ({kind}).")


def judge_ending(vendor: Vendor, content_type: str) -> ProviderError:
    """Return what it means that a stream came to its end without saying why the model stopped."""
    if "text/event-stream" not in content_type:
        return ProviderMisspoke(
            f"{vendor.subject} answered with something else than a stream. Check {vendor.url_setting}."
        )
    return ProviderInterrupted(f"The answer of {vendor.title} ended before its end.")


def read_retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that the vendor wants to be left alone, at most an hour; None if it does not say."""
    try:
        if text := headers.get("retry-after-ms"):
            seconds = float(text) / 1000
        else:
            seconds = _read_seconds(headers.get("retry-after", ""), now)
    except (TypeError, ValueError):
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if math.isfinite(seconds) and seconds >= 0 else None


def _read_seconds(text: str, now: datetime) -> float:
    try:
        return float(text)
    except ValueError:
        at = parsedate_to_datetime(text)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
