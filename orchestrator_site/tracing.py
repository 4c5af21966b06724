"""Traces by OpenTelemetry, if a collector is named: `audit.tracing` says what is done, and this sends it.

The SDK is imported only where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, and takes every other `OTEL_…` variable as its own
documentation has it. Spans go out in batches from a thread of the SDK's; a collector that is away or hangs costs spans
and nothing else, also at the end of the process.
"""

import atexit
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured

from agents.border import find_redactor
from audit import tracing
from audit.tracing import Attributes, Span
from orchestrator_site.env import read_text

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
FLUSH_SECONDS: Final = 1.0  # of a process that ends
_EXPORT_SECONDS: Final = 5.0  # of one batch, unless a variable says otherwise

_shut_down: Callable[[], None] | None = None


def begin() -> None:
    """Send spans from now on, if a collector is named.

    Raises: ImproperlyConfigured where the packages are missing, or a file of headers cannot be read.
    """
    global _shut_down
    if _shut_down is not None or not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        maker, _shut_down = _build()
    except ImportError as error:
        what = f"a collector of traces is named, but {error.name} is not installed"
        raise ImproperlyConfigured(f"{what}: install requirements-tracing.lock, or unset {ENDPOINTS[0]}") from error
    tracing.install(maker)
    atexit.register(end)


def end() -> None:
    """Send what is waiting, for at most a second."""
    global _shut_down
    shut_down, _shut_down = _shut_down, None
    tracing.install(None)
    if shut_down is not None:
        thread = threading.Thread(target=shut_down, name="last-spans", daemon=True)
        thread.start()
        thread.join(FLUSH_SECONDS)


def _build() -> "tuple[_SdkMaker, Callable[[], None]]":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.util.re import parse_env_headers

    class Ids(RandomIdGenerator):
        """Gives the ids that were chosen for the span that this thread is about to begin, else random ones."""

        chosen = threading.local()

        def generate_trace_id(self) -> int:
            return int(getattr(self.chosen, "trace_id", "") or "0", 16) or super().generate_trace_id()

        def generate_span_id(self) -> int:
            return int(getattr(self.chosen, "span_id", "") or "0", 16) or super().generate_span_id()

        def is_trace_id_random(self) -> bool:
            return False

    headers = parse_env_headers(read_text(HEADERS), liberal=True)
    seconds = None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else _EXPORT_SECONDS
    resource = Resource.create()  # of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "orchestrator"}))
    # Shut down by us: by itself it would wait half a minute for a collector that is away.
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(headers=headers, timeout=seconds)))
    return _SdkMaker(provider.get_tracer("orchestrator"), Ids.chosen), provider.shutdown


class _SdkMaker:
    """Makes spans with the SDK; all of a span's text passes the redactor, as a line of the log does."""

    def __init__(self, tracer: "Tracer", chosen: threading.local) -> None:
        self._tracer = tracer
        self._chosen = chosen

    @contextmanager
    def __call__(
        self, name: str, attributes: Attributes, *, kind: str, trace_id: str, span_id: str, parent_id: str
    ) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind, use_span

        self._chosen.trace_id, self._chosen.span_id = trace_id, span_id
        try:
            made = self._tracer.start_span(
                name, _context(trace_id, parent_id), kind=SpanKind[kind.upper()], attributes=_clean(attributes)
            )
        finally:
            self._chosen.trace_id = self._chosen.span_id = ""
        span = _SdkSpan(made)
        with use_span(made, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise


class _SdkSpan:
    def __init__(self, made: Any) -> None:
        self._made = made

    def rename(self, name: str) -> None:
        self._made.update_name(name)

    def tell(self, attributes: Attributes) -> None:
        self._made.set_attributes(_clean(attributes))

    def fail(self, error_type: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._made.set_status(Status(StatusCode.ERROR))
        self._made.set_attributes(_clean({"error.type": error_type}))


def _context(trace_id: str, parent_id: str) -> "Context | None":
    """Return the context of a parent in another process; None: whatever span is around."""
    if not (trace_id and parent_id):
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = SpanContext(int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _clean(attributes: Attributes) -> Attributes:
    redact = find_redactor().text
    return {name: redact(value) if isinstance(value, str) else value for name, value in attributes.items()}
