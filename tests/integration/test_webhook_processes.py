"""Webhooks of more than one process, and of one that is killed."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from orchestrator_site.webhooks.courier import Courier
from orchestrator_site.webhooks.following import get_state
from orchestrator_site.webhooks.models import WebhookDelivery
from tests.integration.api_cast import ORDER
from tests.integration.webhook_cast import LOOPBACK, carry, end_task, number, run_receiver, subscribe
from tests.running import RunningServer


def wait_until(reached: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < give_up_at, "not reached in time"
        time.sleep(0.05)


@pytest.mark.django_db(transaction=True)
def test_several_couriers_make_one_delivery_of_each_event_and_send_it_once(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [f"{LOOPBACK}/32"]
    get_state()
    with run_receiver() as receiver:
        subscribe(receiver.url())
        for _ in range(20):
            end_task()
        number()
        barrier = threading.Barrier(3)

        def work() -> None:
            courier = Courier(clock=timezone.now)
            barrier.wait()
            carry(courier)
            courier.close()
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = [headers["webhook-id"] for _, headers, _ in receiver.seen]
    assert len(ids) == len(set(ids)) == 20
    assert WebhookDelivery.objects.filter(state="delivered", attempts=1).count() == 20


def test_a_server_that_is_killed_while_it_sends_sends_again(tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "var", WEBHOOK_ALLOWED_NETWORKS=f"{LOOPBACK}/32")
    with run_receiver() as receiver:
        receiver.hold = threading.Event()
        server.start()
        try:
            with server.client() as client:
                hook = client.post(
                    "/api/webhooks", json={"name": "a", "url": receiver.url("/a"), "kinds": ["task.ended"]}
                )
                secret = hook.json()["secret"]
                server.submit(client, **ORDER, callbackUrl=receiver.url("/b"))
            wait_until(lambda: len(receiver.seen) == 2)
            server.kill()
            receiver.hold.set()
            server.start()
            wait_until(lambda: len(receiver.seen) == 4)
            with server.client() as client:
                wait_until(lambda: len(client.get("/api/webhooks/deliveries?state=delivered").json()["results"]) == 2)
                assert len(client.get("/api/webhooks/deliveries").json()["results"]) == 2
                metrics = client.get("/metrics").text
            log = server.log()
        finally:
            server.stop()
    by_path = {path: [one for one in receiver.seen if one[0] == path] for path in ("/a", "/b")}
    for sent in by_path.values():
        assert len(sent) == 2
        assert sent[0][1]["webhook-id"] == sent[1][1]["webhook-id"]
        assert sent[0][2] == sent[1][2]
    Webhook(secret).verify(by_path["/a"][1][2], by_path["/a"][1][1])
    assert 'webhook_deliveries_total{outcome="delivered"} 2.0' in metrics
    assert "webhook_pending_deliveries 0.0" in metrics
    for text in (log, metrics):
        assert secret not in text
        assert secret.removeprefix("whsec_") not in text
