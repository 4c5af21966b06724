"""The cast of the webhooks' tests: a real receiver on loopback, a courier with its clock, and events to tell of."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.utils import timezone

from agents.queue import task_event
from audit.events import Event, EventType
from audit.ids import new_id
from audit.ledger import record
from audit.sequencer import Sequencer
from audit.transactions import write_transaction
from orchestrator_site.webhooks import subscribing
from orchestrator_site.webhooks.courier import Courier
from orchestrator_site.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookSubscription
from tests.integration.console_cast import make_task

LOOPBACK = "127.0.0.1"
Reply = tuple[int, dict[str, str], bytes]


@dataclass(kw_only=True)
class Receiver:
    """A running receiver: what it was sent, and what it answers, the last reply for ever."""

    port: int = 0
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=lambda: [(200, {}, b"ok")])
    hold: threading.Event | None = None  # it answers once this is set

    def url(self, path: str = "/hook", host: str = LOOPBACK) -> str:
        return f"http://{host}:{self.port}{path}"

    def answers(self, *statuses: int, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.replies = [(status, named, body) for status in statuses]


@contextmanager
def run_receiver() -> Iterator[Receiver]:
    """Give a receiver that listens on loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.seen.append((self.path, dict(self.headers), body))
            if receiver.hold is not None:
                receiver.hold.wait(20)
            status, headers, answer = receiver.replies[0] if len(receiver.replies) == 1 else receiver.replies.pop(0)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # the courier went away, as some of these tests make it do

    server = Server((LOOPBACK, 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Clock:
    """The time, which goes on when it is told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, wait: timedelta) -> None:
        self.now += wait


def number() -> None:
    """Number what is in the ledger; none of it is shipped, for webhooks need no audit store."""
    sequencer = Sequencer("hooks", steal=True)
    while sequencer._step(lambda: 0):
        pass
    sequencer.release()


def carry(courier: Courier) -> None:
    """Have a courier follow and send until there is nothing more to do now."""
    while courier.step() | courier.wait():
        pass


def end_task(type_: EventType = EventType.TASK_SUCCEEDED, *, reason: str = "", **columns: Any) -> Any:
    """Insert a task that has ended, and the event that says so."""
    task = make_task(state=type_.removeprefix("task."), **columns)
    bodies: dict[EventType, dict[str, Any]] = {
        EventType.TASK_SUCCEEDED: {"attempt": 1, "resultDigest": "0" * 64},
        EventType.TASK_FAILED: {"cause": "boom", "message": "the-message"},
    }
    with write_transaction():
        record(task_event(type_, task, actor="worker:w", now=timezone.now(), reason=reason, body=bodies.get(type_)))
    return task


def tell(type_: EventType, *, agent_id: str = "", **body: Any) -> Event:
    """Record an event that is told of."""
    event = Event(type=type_, at=timezone.now(), actor="system", agent_id=agent_id, body=body)
    with write_transaction():
        record(event)
    return event


def make_delivery(row: WebhookSubscription) -> WebhookDelivery:
    """Insert a delivery that was given up, with its attempt."""
    at = timezone.now()
    known = {"receiver": row.id, "event_id": "e1"}
    facts = {"id": new_id(), "channel": row.id, "kind": "task.ended", "type": "task.failed", "payload": {"a": 1}}
    more = {"state": "failed", "attempts": 1, "note": "It answered 500.", "created_at": at, "ended_at": at}
    delivery, is_new = WebhookDelivery.objects.get_or_create(**known, defaults=facts | more)
    if is_new:
        WebhookAttempt.objects.create(delivery=delivery, number=1, at=at, took_ms=3, status=500, body="no", note="no")
    return delivery


def subscribe(url: str, *kinds: str, name: str = "test", agents: tuple[str, ...] = ()) -> WebhookSubscription:
    """Subscribe to kinds of events from now on."""
    wanted = subscribing.Wanted(name=name, url=url, kinds=list(kinds or ["task.ended"]), agents=list(agents))
    return subscribing.create(wanted, actor="user:ada", now=timezone.now())
