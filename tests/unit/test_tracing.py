"""Which ids a span has, what is taken for a parent, and that all of it is nothing where no collector is named."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audit import tracing
from audit.ids import new_id
from audit.tracing import read_parent, span_of_task, trace_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_an_id_of_the_trail_is_the_trace() -> None:
    id_ = new_id()
    assert trace_of(id_) == id_
    assert trace_of("") == ""


@pytest.mark.parametrize("id_", ["nightly-import.7", "0" * 32, TRACE.upper(), TRACE + "0"])
def test_any_other_id_stands_for_one_trace(id_: str) -> None:
    assert trace_of(id_) == trace_of(id_) != trace_of(id_ + "x")
    assert trace_of(trace_of(id_)) == trace_of(id_)


def test_a_task_has_a_span_of_its_own() -> None:
    assert len({span_of_task(new_id()) for _ in range(100)}) == 100
    assert len(span_of_task("x")) == 16


@pytest.mark.parametrize("rest", ["01", "00", "01-what-a-later-version-adds"])
def test_a_parent_is_taken_over(rest: str) -> None:
    assert read_parent(f"00-{TRACE}-{SPAN}-{rest}") == (TRACE, SPAN)


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}{SPAN}-01",
        "x" * 10_000,
    ],
)
def test_a_malformed_parent_is_ignored(traceparent: str | None) -> None:
    assert read_parent(traceparent) == ("", "")


def test_a_span_costs_next_to_nothing_where_nobody_collects() -> None:
    assert not tracing.is_on()
    started = time.perf_counter()
    for _ in range(10_000):
        with tracing.span("chat", {"gen_ai.operation.name": "chat"}) as span:
            span.tell({"gen_ai.usage.input_tokens": 1})
    assert (time.perf_counter() - started) / 10_000 < 20e-6  # 0.3 µs on an idle machine


def ask_what_is_loaded(var: Path, **environment: str) -> str:
    script = "import django, sys; django.setup(); print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    given = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "orchestrator_site.settings"}
    command = [sys.executable, "-c", script]
    environment = given | {"ORCHESTRATOR_VAR": str(var)} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_sdk_is_loaded_only_for_a_collector(tmp_path: Path) -> None:
    assert ask_what_is_loaded(tmp_path) == "[]\n"
    assert ask_what_is_loaded(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") != "[]\n"
