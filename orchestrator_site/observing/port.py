"""The port of a process's own metrics and probes: /metrics, /health and /ready without a token.

Whoever reaches the port may read it, so it belongs on a private network, and is on loopback unless METRICS_HOST
says more. It has threads of its own: a loop that is stuck is told of, and a scrape holds nothing up.
"""

import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, override

import orjson
from django.conf import settings
from django.db import connection
from prometheus_client import CONTENT_TYPE_LATEST

from orchestrator_site.draining import LEAVING, is_draining
from orchestrator_site.exceptions import FigureUnread
from orchestrator_site.metrics import render_metrics
from orchestrator_site.observing.standing import Standing
from orchestrator_site.parts import Part
from orchestrator_site.preflight import listen
from orchestrator_site.system.figures import Figure, look

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 5.0  # with who connects and does not speak, or does not read
MAX_CONNECTIONS: Final = 32

Answer = tuple[HTTPStatus, str, bytes]


def open_port(standing: Standing) -> list[Part]:
    """Return the part that answers on METRICS_PORT, none if that is not set.

    Raises: PreflightError if the port cannot be had.
    """
    if not settings.METRICS_PORT:
        return []
    listener = listen(settings.METRICS_HOST, settings.METRICS_PORT, setting="METRICS_PORT")
    return [PortPart(listener, standing)]


class PortPart(Part):
    """Answers on a socket that listens, until it is told to stop; to be stopped after what it tells of."""

    def __init__(self, listener: socket.socket, standing: Standing) -> None:
        super().__init__("metrics")
        self._server = _Server(listener, _Answers(standing))

    @override
    def work(self) -> None:
        self._server.serve_forever(poll_interval=0.1)

    @override
    def stop(self) -> None:
        super().stop()
        threading.Thread(target=self._server.shutdown, daemon=True).start()  # it waits for the loop to end

    @override
    def join(self, timeout_seconds: float) -> bool:
        ended = super().join(timeout_seconds)
        self._server.server_close()
        return ended


class _Answers:
    """What the port answers, by path."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._lack = Figure(self._find_lack, apart=True)
        self.by_path: dict[str, Callable[[], Answer]] = {"/health": self._health, "/ready": self._ready}
        if settings.PROMETHEUS_ENABLED:
            self.by_path["/metrics"] = self._metrics

    def _health(self) -> Answer:
        faults = self._standing.find_faults()
        return _to_json(not faults, {"status": "failing" if faults else "healthy", "faults": faults})

    def _ready(self) -> Answer:
        seen = look({"lack": self._lack})["lack"]  # bounded: probes must not pile up behind a store that hangs
        lack = seen.fault or seen.value or (LEAVING if is_draining() else "")
        return _to_json(not lack, {"ready": not lack, "lack": lack or None})

    def _find_lack(self) -> str:
        try:
            if lack := self._standing.find_lack():
                raise FigureUnread(lack)
        finally:
            connection.close()
        return ""

    def _metrics(self) -> Answer:
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, render_metrics()


def _to_json(is_well: bool, members: dict[str, Any]) -> Answer:
    status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", orjson.dumps(members)


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_SECONDS
    server: "_Server"

    def do_GET(self) -> None:
        answer = self.server.answers.by_path.get(self.path.partition("?")[0])
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, "application/json", b'{"code":"not_found"}')
            return
        found = answer()
        try:
            self._send(*found)
        except OSError:  # who asked is gone
            log.debug("nobody waits for the answer", exc_info=True, extra={"action": "probe.abandoned"})

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args, extra={"action": "probe.asked"})


class _Server(ThreadingHTTPServer):
    """A thread for each connection, up to a bound; beyond it a connection is closed at once."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, answers: _Answers) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.answers = answers
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a question on METRICS_PORT was not answered", extra={"action": "metrics.failed"})  # noqa: LOG004
