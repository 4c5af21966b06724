"""One fetch: at most three redirects, each judged anew, within one deadline and one size."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

import requests

from agents.outbound.calling import Deadline, call_within, translate_errors
from agents.outbound.guard import Guard
from agents.skills.base import LimitExceeded, SkillError, SkillRefused
from agents.skills.source_fetch.target import FetchPolicy, Target, is_allowed_host, parse_url

MAX_REDIRECTS = 3
MAX_BYTES = 5_000_000
MAX_RETRY_AFTER_SECONDS = 3_600
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TYPES = frozenset({"application/json", "application/xml", "application/xhtml+xml", "application/pdf"})
ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
HEADERS = {
    "User-Agent": "orchestrator-sourceFetch/1.0",
    "Accept": "text/html, text/*;q=0.9, application/json;q=0.9, application/xml;q=0.8, application/pdf;q=0.7",
    "Accept-Encoding": "gzip, deflate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a source answered in the end."""

    url: str
    status: int
    content_type: str  # lower case, without parameters
    charset: str  # as the header names it, or ""
    body: bytes


def fetch(
    url: str,
    *,
    domains: tuple[str, ...],
    policy: FetchPolicy,
    timeout_seconds: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> Answer:
    """Return what a URL answers, within the time, name resolution and TLS included.

    Raises: SkillStopped; SkillRefused `domain_not_allowed` or `address_not_allowed`; LimitExceeded `bytes` or
    `redirects`; SkillError `timeout`, `dns_failed`, `connection_failed`, `tls_failed`, `server_error`,
    `rate_limited_by_source`, `content_type_not_allowed`, `bad_response`.
    """

    def work(guard: Guard, deadline: Deadline) -> Answer:
        return _follow(url, domains, policy, guard, deadline)

    return call_within(policy, work, timeout_seconds=timeout_seconds, should_stop=should_stop)


def _follow(url: str, domains: tuple[str, ...], policy: FetchPolicy, guard: Guard, deadline: Deadline) -> Answer:
    for _ in range(MAX_REDIRECTS + 1):
        target = parse_url(url, port=policy.port)
        if not is_allowed_host(target.host, domains):
            raise SkillRefused(
                "domain_not_allowed", f"{target.host} is not a host that the rules allow. It was not asked."
            )
        with (
            translate_errors(target.host),
            guard.session.get(
                target.url,
                headers=HEADERS,
                allow_redirects=False,
                stream=True,
                timeout=min(deadline.get_left_seconds(), 10.0),
            ) as response,
        ):
            location = response.headers.get("Location")
            if response.status_code not in REDIRECTS or not location:
                return _read(response, target, deadline)
        url = _join(target, location)
    raise LimitExceeded("redirects", f"The source redirected more than {MAX_REDIRECTS} times. Nothing was kept.")


def _join(target: Target, location: str) -> str:
    try:
        return urljoin(target.url, location.encode("latin-1").decode())  # headers arrive as Latin-1
    except ValueError:
        raise SkillError("bad_response", f"{target.host} redirected to something that is no address.") from None


def _read(response: requests.Response, target: Target, deadline: Deadline) -> Answer:
    _check_status(response)
    content_type, _, parameters = response.headers.get("Content-Type", "").lower().partition(";")
    content_type = content_type.strip()
    if not _is_readable(content_type):
        message = f"The source sent {content_type[:100] or 'no content type'!r}; only texts and PDF are read."
        raise SkillError("content_type_not_allowed", message)
    if response.headers.get("Content-Encoding", "").strip().lower() not in ENCODINGS:
        raise SkillError("bad_response", "The source packed its answer in a way that was not asked for.")
    charset = next(
        (part.partition("=")[2] for part in parameters.split(";") if part.strip().startswith("charset=")), ""
    )
    return Answer(
        url=target.url,
        status=response.status_code,
        content_type=content_type,
        charset=charset.strip(" \"'"),
        body=_read_body(response, deadline),
    )


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status != 429 and status < 500:
        return
    code = "rate_limited_by_source" if status == 429 else "server_error"
    message = f"The source answered {status}. Nothing was kept."
    written = response.headers.get("Retry-After", "")
    wait = min(int(written), MAX_RETRY_AFTER_SECONDS) if written.isascii() and written.isdigit() else None
    raise SkillError(code, message, retryable=True, retry_after_seconds=wait)


def _is_readable(content_type: str) -> bool:
    return content_type.startswith("text/") or content_type in TYPES or content_type.endswith(("+json", "+xml"))


def _read_body(response: requests.Response, deadline: Deadline) -> bytes:
    """Return the unpacked body; what is over the bound is never unpacked."""
    body = bytearray()
    for block in response.iter_content(65_536):
        body += block
        deadline.get_left_seconds()
        if len(body) > MAX_BYTES:
            raise LimitExceeded("bytes", f"The source is over {MAX_BYTES:,} bytes, unpacked. Nothing was kept.")
    return bytes(body)
