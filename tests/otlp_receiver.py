"""A collector of traces for tests: takes OTLP over HTTP, and keeps what it was sent; it may also be mute."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One span as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Receiver:
    """Keeps spans and the bytes that they came in."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        """Read a request."""
        self.raw.append(body)
        self.headers.append(headers)
        message = ExportTraceServiceRequest.FromString(body)
        for group in message.resource_spans:
            resource = _read(group.resource.attributes)
            self.spans += [_see(span, resource) for scope in group.scope_spans for span in scope.spans]

    def wait_for(self, is_there: Callable[[list[Seen]], bool], *, seconds: float = 30) -> list[Seen]:
        """Return the spans once they are there."""
        give_up_at = time.monotonic() + seconds
        while not is_there(self.spans):
            assert time.monotonic() < give_up_at, sorted(span.name for span in self.spans)
            time.sleep(0.05)
        return list(self.spans)


def _see(span: Any, resource: dict[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        failed=span.status.code == 2,
        attributes=_read(span.attributes),
        resource=resource,
    )


def _read(attributes: Any) -> dict[str, Any]:
    def value_of(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [value_of(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {pair.key: value_of(pair.value) for pair in attributes}


@contextmanager
def run_receiver(*, mute: bool = False) -> Iterator[Receiver]:
    """Run a collector; a mute one takes each request and never answers it."""
    receiver, released = Receiver(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(body, dict(self.headers))
            if mute:
                released.wait()
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        released.set()
        server.shutdown()
        server.server_close()
