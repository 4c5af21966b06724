"""`/metrics`: what Prometheus scrapes, rendered off the request threads.

Counters and histograms live in the process that counts; what is a number of rows is read from the store at each
scrape, so it is right whichever process is asked. With PROMETHEUS_MULTIPROC_DIR the processes of one machine
count into files of one folder, and each answers for all.
"""

import asyncio
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

from django.conf import settings
from django.db import close_old_connections
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from audit.access import Refusal
from orchestrator_site.front import send_body, send_problem
from orchestrator_site.middleware import Receive, Scope, Send
from orchestrator_site.observing import gauges

_PID = re.compile(r"_(\d+)\.db$")


def render_metrics() -> bytes:
    """Return everything that is measured, in Prometheus' text format."""
    gauges.refresh()
    return generate_latest(find_registry())


def find_registry() -> CollectorRegistry:
    """Return what this process counts in, or what all processes of this machine do."""
    if not shared_folder():
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return shared


def shared_folder() -> Path | None:
    """Return the folder that the processes of this machine count into, None if each counts for itself."""
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(named) if named else None


def tidy_shared_folder() -> None:
    """Forget the live gauges of processes that are gone.

    Their counters stay: a counter that went down would look like a restart of everything.
    """
    folder = shared_folder()
    if folder is None:
        return
    pids = {int(found[1]) for path in folder.glob("*.db") if (found := _PID.search(path.name))}
    for pid in pids:
        if not Path("/proc", str(pid)).exists():
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


class MetricsApp:
    """ASGI: answer a scrape from a thread of its own. `find_refusal` judges the Authorization header."""

    def __init__(self, find_refusal: Callable[[str], Refusal | None]) -> None:
        self._find_refusal = find_refusal
        self._thread = ThreadPoolExecutor(1, "metrics")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal, body = _refuse_early(scope["method"]), b""
        if refusal is None:
            authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            loop = asyncio.get_running_loop()
            refusal, body = await loop.run_in_executor(self._thread, self._answer, authorization)
        if refusal is None:
            await send_body(send, HTTPStatus.OK, body=body, headers=[(b"content-type", CONTENT_TYPE_LATEST.encode())])
        else:
            await send_problem(send, refusal.status, code=refusal.code, detail=refusal.detail)

    def _answer(self, authorization: str) -> tuple[Refusal | None, bytes]:
        close_old_connections()
        try:
            refusal = self._find_refusal(authorization)
            return refusal, b"" if refusal else render_metrics()
        finally:
            close_old_connections()


def _refuse_early(method: str) -> Refusal | None:
    if not settings.PROMETHEUS_ENABLED:
        return Refusal(status=HTTPStatus.NOT_FOUND, code="not_found", detail="PROMETHEUS_ENABLED is off.")
    if method not in {"GET", "HEAD"}:
        return Refusal(
            status=HTTPStatus.METHOD_NOT_ALLOWED, code="method_not_allowed", detail="Only GET reads metrics."
        )
    return None
