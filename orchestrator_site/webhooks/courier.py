"""The loop that follows and sends. Any number of processes may run it; each delivery has one of them at a time."""

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import orjson
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from agents.skills.base import SkillStopped
from audit import bell
from orchestrator_site.webhooks import delivering, signing
from orchestrator_site.webhooks.following import follow
from orchestrator_site.webhooks.models import WebhookDelivery, WebhookSubscription
from orchestrator_site.webhooks.sending import ORPHANED, Answer, post
from orchestrator_site.webhooks.subscribing import list_secrets

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
THREADS: Final = 16
A_CHANNEL: Final = 4  # of them at most for one receiver, so that a slow one holds up nobody else
SWEEP_EVERY: Final = timedelta(hours=1)
# Between two looks: under load each event would else be looked at by itself, and tasks would wait for the store.
PACE_SECONDS: Final = 0.25
_END_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """A delivery on its way."""

    delivery: WebhookDelivery
    started_at: datetime
    answer: Future[Answer]


class Courier:
    """Follows the ledger and sends what is due. Threads do the sending alone: one connection to the store will do."""

    def __init__(
        self, *, clock: Callable[[], datetime] = timezone.now, draw: Callable[[], float] = random.random
    ) -> None:
        self._clock, self._draw = clock, draw
        self._threads = ThreadPoolExecutor(THREADS, "webhooks")
        self._sent: list[_Sent] = []
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._swept_at: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set and somebody wakes it; what is under way is then given back."""
        bell.shipped.listen(self.wake)
        try:
            while not stop.is_set():
                self._woken.clear()
                if not self._step_safely():
                    self._woken.wait(POLL_SECONDS)
                stop.wait(PACE_SECONDS)
        finally:
            bell.shipped.unlisten(self.wake)
            self.close()

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._woken.set()

    def _step_safely(self) -> bool:
        try:
            return self.step()
        except DatabaseError:
            log.warning("the store is away", extra={"action": "webhooks.store-away"})
            close_old_connections()
            return False

    def step(self) -> bool:
        """Do what there is to do now; tell whether there was anything. Sending goes on behind it."""
        now = self._clock()
        if self._swept_at is None or now >= self._swept_at + SWEEP_EVERY:
            self._swept_at = now if delivering.sweep(now=now) == 0 else None
        return any([self._settle(), follow(now=now), self._start()])

    def _settle(self) -> bool:
        """Write down what came of the attempts that are over."""
        over = [sent for sent in self._sent if sent.answer.done()]
        for sent in over:
            self._write_down(sent)
            self._sent.remove(sent)
        return bool(over)

    def _write_down(self, sent: _Sent) -> None:
        now = self._clock()
        try:
            answer = sent.answer.result()
        except SkillStopped:
            delivering.give_back(sent.delivery, now=now)
            return
        except Exception:  # a defect of ours: it counts as an attempt, or it would be made for ever
            log.exception("a webhook could not be sent", extra={"action": "webhooks.failed"})
            answer = Answer(code="internal_error", note="Something went wrong here. The log has it.")
        delivering.settle(sent.delivery, answer, started_at=sent.started_at, now=now, draw=self._draw())

    def _start(self) -> bool:
        """Send what is due, as far as there are threads for it."""
        started = False
        while free := THREADS - len(self._sent):
            running = Counter(sent.delivery.channel for sent in self._sent)
            due = delivering.claim_due(now=self._clock(), running=running, a_channel=A_CHANNEL, limit=free)
            if not due:
                break
            for delivery in due:
                self._send(delivery)
            started = True
        return started

    def _send(self, delivery: WebhookDelivery) -> None:
        now, payload = self._clock(), orjson.dumps(delivery.payload)
        subscription = WebhookSubscription.objects.filter(id=delivery.receiver).first()
        if subscription is None and not delivery.is_callback:
            # Deleted between the two looks of the follower, which made this afterwards: nobody else would end it.
            orphaned = Answer(code=ORPHANED, note="Its subscription was deleted.")
            delivering.settle(delivery, orphaned, started_at=now, now=now, draw=self._draw())
            return
        url = subscription.url if subscription else delivery.url
        headers = signing.sign(delivery.id, payload, list_secrets(subscription, now=now), now=now)
        work = partial(post, url, payload, headers, should_stop=self._stopping.is_set)
        answer = self._threads.submit(work)
        self._sent.append(_Sent(delivery=delivery, started_at=now, answer=answer))
        answer.add_done_callback(lambda _: self.wake())

    def wait(self, timeout_seconds: float = 30.0) -> bool:
        """Wait for what is under way and write it down; tell whether anything has come to something. For tests."""
        wait([sent.answer for sent in self._sent], timeout=timeout_seconds)
        return self._settle()

    def close(self) -> None:
        """Cut off what is under way and give it back."""
        self._stopping.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        wait([sent.answer for sent in self._sent], timeout=_END_SECONDS)
        try:
            for sent in self._sent:
                if sent.answer.cancelled() or not sent.answer.done():
                    delivering.give_back(sent.delivery, now=self._clock())
                else:
                    self._write_down(sent)
        except DatabaseError:
            log.warning("the store is away", extra={"action": "webhooks.store-away"})
        self._sent = []
