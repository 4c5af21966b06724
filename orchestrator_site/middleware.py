"""What is done to every request and answer; above all its id: taken from the client if it is sane, made otherwise,
returned and logged.

It is done on both sides of the server: `RequestIds` wraps the ASGI application, so that streams, sockets and
refusals carry an id too, and hands the id down as a header; `RequestIdMiddleware` takes it up inside Django.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers

from audit import tracing
from audit.context import acting, name_actor
from audit.ids import new_id
from audit.tracing import read_parent
from orchestrator_site.logs import log_context
from orchestrator_site.people.profiles import read_profile
from orchestrator_site.people.zones import showing_in

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
_RAW_HEADER = HEADER.lower().encode()
_META = "HTTP_X_REQUEST_ID"
UNTRACED = frozenset({"/health", "/ready"})
_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def choose_request_id(offered: str | None) -> str:
    """Return the offered id if it is 8 to 64 letters, digits, dots, dashes or underscores; else a new one."""
    return offered if offered and _SANE.fullmatch(offered) else new_id()


class RequestIds:
    """ASGI: give every request and socket an id, before anything else sees it."""

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != _RAW_HEADER]
        offered = next((value.decode("latin-1") for name, value in scope["headers"] if name == _RAW_HEADER), None)
        request_id = choose_request_id(offered)
        pair = (_RAW_HEADER, request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start" and all(name != _RAW_HEADER for name, _ in message["headers"]):
                message["headers"] = [*message["headers"], pair]
            await send(message)

        with log_context(request_id=request_id):
            await self.app({**scope, "headers": [*headers, pair]}, receive, send_with_id)


class RequestIdMiddleware:
    """Django: set `request.request_id`, return it as a header and log the answer.

    Reads that succeed are logged at DEBUG, everything that changes something or fails at INFO.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.META.get("CONTENT_LENGTH", "").isdecimal():
            request.META["CONTENT_LENGTH"] = ""  # the metrics' middleware takes it for a number
        request_id = choose_request_id(request.META.get(_META))
        request.request_id = request_id  # type: ignore[attr-defined]
        started = time.perf_counter()
        trace_id, parent_id = read_parent(request.META.get("HTTP_TRACEPARENT"))
        with log_context(request_id=request_id), acting(trace_id=trace_id or request_id):
            response = self._answer(request, request_id=request_id, parent_id=parent_id)
            _log_answer(request, response, seconds=time.perf_counter() - started)
        response[HEADER] = request_id
        return response

    def _answer(self, request: HttpRequest, *, request_id: str, parent_id: str) -> HttpResponse:
        """Answer within a span that is named by the route, which is known afterwards; probes have none."""
        if not tracing.is_on() or request.path in UNTRACED:
            return self.get_response(request)
        attributes = {"http.request.method": str(request.method), "orchestrator.request.id": request_id}
        with tracing.span(f"{request.method}", attributes, kind="server", parent_id=parent_id) as span:
            response = self.get_response(request)
            route = f"/{request.resolver_match.route}" if request.resolver_match else ""
            span.rename(f"{request.method} {route}".rstrip())
            span.tell({"http.route": route, "http.response.status_code": response.status_code})
            if response.status_code >= 500:
                span.fail(str(response.status_code))
        return response


class PrivateMiddleware:
    """Django: keep whatever is answered, refusals too, out of every cache, unless the view says otherwise."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


class ActorMiddleware:
    """Django: name who acts to whatever is recorded below. A token's owner is named where the token is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            name_actor(f"user:{request.user.get_username()}")
        return self.get_response(request)


class ProfileMiddleware:
    """Django: set `request.profile` of who is signed in, and show times in the zone that it names."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return self.get_response(request)
        profile = read_profile(request.user)
        request.profile = profile  # type: ignore[attr-defined]
        with showing_in(profile.time_zone):
            return self.get_response(request)


def _log_answer(request: HttpRequest, response: HttpResponse, *, seconds: float) -> None:
    quiet = request.method in {"GET", "HEAD", "OPTIONS"} and response.status_code < 400
    level = logging.DEBUG if quiet else logging.INFO
    if log.isEnabledFor(level):
        extra = {
            "action": "http.answered",
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "duration_ms": round(seconds * 1000, 1),
        }
        log.log(level, "%s %s %d", request.method, request.path, response.status_code, extra=extra)
